"""Frames: the word of each axis and sign. A dataset declares its frame.

    robot                    official_libero
      front +x                 front +x
        ^                        ^
        |                        |
 left +y o---- right      left ----o +y right        (up is +z in both)

The two differ in the sign of y alone, so confusing them swaps left and right.
"""

from dataclasses import dataclass

from inspire_vla.errors import InspireError, did_you_mean

WORD_PAIRS: tuple[tuple[str, str], ...] = (("back", "front"), ("right", "left"), ("down", "up"))
"""The three pairs of opposite words. A frame gives each axis one pair, in either order."""


@dataclass(frozen=True)
class Frame:
    """The words of an axis-aligned frame: for each axis the pair (negative word, positive word).

    Raises:
        InspireError: the words are not the three pairs back/front, right/left, down/up.
    """

    name: str
    x: tuple[str, str] = ("back", "front")
    y: tuple[str, str] = ("right", "left")
    z: tuple[str, str] = ("down", "up")

    def __post_init__(self) -> None:
        for axis in "xyz":
            object.__setattr__(self, axis, tuple(getattr(self, axis)))
        words = sorted(sorted(pair) for pair in self.axes)
        if words != sorted(sorted(pair) for pair in WORD_PAIRS):
            raise InspireError(
                f"Frame {self.name!r} must give x, y and z one pair each of {list(WORD_PAIRS)}, "
                f"in either order; found x={self.x}, y={self.y}, z={self.z}."
            )

    @property
    def axes(self) -> tuple[tuple[str, str], tuple[str, str], tuple[str, str]]:
        """The pairs (negative, positive) of x, y, z."""
        return self.x, self.y, self.z

    def __str__(self) -> str:
        return f"{self.name}: " + ", ".join(
            f"+{axis} {pair[1]}" for axis, pair in zip("xyz", self.axes, strict=True)
        )


ROBOT = Frame("robot")
"""The right-handed base frame of an arm: +x front, +y left, +z up."""

OFFICIAL_LIBERO = Frame("official_libero", y=("left", "right"))
"""The frame of the paper's released LIBERO labels: +y right, since their images are mirrored."""

FRAMES: dict[str, Frame] = {frame.name: frame for frame in (ROBOT, OFFICIAL_LIBERO)}


def get_frame(frame: str | Frame) -> Frame:
    """Return a frame by name, or by its words at +x, +y and +z ("right,front,up"), or a `Frame` unchanged.

    Raises:
        InspireError: an unknown name, or words that are not one of each pair.
    """
    if isinstance(frame, Frame):
        return frame
    if "," in frame:
        return _from_words(frame)
    if frame not in FRAMES:
        raise InspireError(
            f"Unknown frame {frame!r}.{did_you_mean(str(frame), FRAMES)} Or give the words at +x, +y and +z: "
            "front,left,up."
        )
    return FRAMES[frame]


def _from_words(text: str) -> Frame:
    opposite = {word: other for pair in WORD_PAIRS for word, other in (pair, pair[::-1])}
    words = [word.strip() for word in text.split(",")]
    if len(words) != 3 or any(word not in opposite for word in words):
        raise InspireError(
            f"frame {text!r} must be three of {', '.join(opposite)}: the words at +x, +y and +z, as in front,left,up."
        )
    x, y, z = ((opposite[word], word) for word in words)
    return Frame(",".join(words), x, y, z)
