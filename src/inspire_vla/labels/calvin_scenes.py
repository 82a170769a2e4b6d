"""What stands where on CALVIN's four tables, and in which order its states name the blocks.

The order of the blocks in scene_obs is that of the environment's configuration, and differs between A to D; so do the
places of all that is fixed to the table. Both are facts of the repository mees/calvin_env at 797142c (conf/scene,
data/calvin_table_*/urdf): a fixture's place is the centre of mass of its link, times the global scaling 0.8.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError

Places = dict[str, NDArray[np.float64]]
"""Name → (T, 3) metres, world axes, which are those of the robot's base."""

_FIRST_BLOCK, _BLOCK = 6, 6
_TRAVEL = {
    "door": (0, (-1.0, 0.0, 0.0)),
    "drawer": (1, (0.0, -1.0, 0.0)),
    "button": (2, (0.0, 0.0, -1.0)),
    "switch": (3, (0.0, 0.5, 0.866)),
}
"""What moves: the index of its joint in scene_obs, metres, and the way it goes."""

_SAID = {
    "door": ("door",),
    "drawer": ("drawer",),
    "button": ("button",),
    "switch": ("switch", "lever"),
    "led": ("led", "green"),
    "bulb": ("bulb", "lightbulb", "lamp", "light", "yellow"),
    "shelf": ("shelf", "cabinet", "slider"),
}
"""The words of a fixture; of two in a mention ("the drawer handle", "the light switch", "the led light") the first."""


@dataclass(frozen=True)
class CalvinScene:
    """One of the environments A to D: the blocks in the order of scene_obs, and where fixtures are at rest."""

    blocks: tuple[str, str, str]
    fixtures: Mapping[str, tuple[float, float, float]]

    def places(self, scene_obs: NDArray[np.float64]) -> Places:
        """Where blocks (by colour) and fixtures are, for scene_obs (T, 24)."""
        found = {}
        for i, colour in enumerate(self.blocks):
            start = _FIRST_BLOCK + _BLOCK * i
            found[colour] = scene_obs[:, start : start + 3]
        for name, place in self.fixtures.items():
            rest = np.tile(np.asarray(place), (len(scene_obs), 1))
            if name in _TRAVEL:
                joint, way = _TRAVEL[name]
                rest = rest + scene_obs[:, joint, None] * np.asarray(way)
            found[name] = rest
        return found

    def name_of(self, mention: str, places: Places) -> str | None:
        """What of `places` a mention means; None for what has no place (the table).

        "the block" is the one that goes furthest in the sequence, "another block" the one it ends nearest to.
        """
        words = set(re.findall(r"[a-z]+", mention.lower()))
        colour = next((colour for colour in self.blocks if colour in words), None)
        if colour is not None:
            return colour
        if words & {"block", "blocks", "object"}:
            return self._colourless(words, places)
        if words == {"the", "handle"}:  # "the door handle" is called that; "the handle" is the drawer's
            return "drawer"
        return next((name for name, said in _SAID.items() if words & set(said)), None)

    def _colourless(self, words: set[str], places: Places) -> str:
        moved = max(self.blocks, key=lambda colour: float(np.linalg.norm(np.ptp(places[colour], axis=0))))
        if not words & {"another", "other", "top"}:
            return moved
        others = [colour for colour in self.blocks if colour != moved]
        return min(others, key=lambda c: float(np.linalg.norm(places[c][-1] - places[moved][-1])))


def _scene(
    blocks: tuple[str, str, str], *, button: float, drawer: float, door: float, switch: float, shelf: float
) -> CalvinScene:
    """A table by the x of what is on it: the LED is above the button, the bulb above the switch."""
    return CalvinScene(
        blocks,
        {
            "door": (door, 0.061, 0.543),
            "drawer": (drawer, -0.079, 0.347),
            "button": (button, -0.120, 0.472),
            "switch": (switch, 0.030, 0.522),
            "led": (button, 0.160, 0.656),
            "bulb": (switch, 0.160, 0.670),
            "shelf": (shelf, 0.090, 0.430),
        },
    )


SCENES: dict[str, CalvinScene] = {
    "A": _scene(("pink", "blue", "red"), button=-0.28, drawer=0.10, door=-0.240, switch=0.30, shelf=-0.10),
    "B": _scene(("red", "blue", "pink"), button=0.28, drawer=0.18, door=0.228, switch=-0.32, shelf=0.08),
    "C": _scene(("blue", "red", "pink"), button=-0.12, drawer=0.10, door=0.200, switch=-0.32, shelf=0.08),
    "D": _scene(("red", "blue", "pink"), button=-0.12, drawer=0.18, door=-0.240, switch=0.30, shelf=-0.10),
}


def get_scene(name: str) -> CalvinScene:
    """A scene by its letter, or as CALVIN names it (calvin_scene_A). Raises InspireError for another name."""
    letter = name.removeprefix("calvin_scene_").upper()
    if letter not in SCENES:
        raise InspireError(f"unknown scene {name!r} of CALVIN. Possible: {', '.join(SCENES)}.")
    return SCENES[letter]


class ScenesOfSplit:
    """Which scene a frame of a split was recorded in: as said, else by scene_info.npy, else by its configuration.

    Args:
        intervals: CALVIN's name of a scene → (first frame, last frame), what scene_info.npy holds.

    Raises:
        InspireError: an unknown scene, or nothing tells which it is.
    """

    def __init__(
        self, split: Path, said: str | None = None, intervals: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        self._one = get_scene(said) if said is not None else None
        self._intervals = [(get_scene(name), int(i[0]), int(i[-1])) for name, i in (intervals or {}).items()]
        configuration = split / ".hydra" / "merged_config.yaml"
        if self._one is None and not self._intervals and configuration.is_file():
            found = re.search(r"calvin_table_([A-D])\b", configuration.read_text(encoding="utf-8"))
            self._one = get_scene(found[1]) if found else None
        if self._one is None and not self._intervals:
            raise InspireError(
                f"nothing in {split} tells which of CALVIN's tables it shows (scene_info.npy, "
                ".hydra/merged_config.yaml), and the order of the blocks depends on it: --scene A, B, C or D."
            )

    def of(self, frame: int) -> CalvinScene:
        """The scene of a frame. Raises InspireError for one outside all intervals."""
        if self._one is not None:
            return self._one
        for scene, first, last in self._intervals:
            if first <= frame <= last:
                return scene
        raise InspireError(
            "scene_info.npy does not say the scene of a frame "
            f"(it knows {', '.join(f'{first} to {last}' for _, first, last in self._intervals)}; --scene overrules it)"
        )
