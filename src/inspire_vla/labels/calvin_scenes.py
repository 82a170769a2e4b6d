"""CALVIN's four tables: where their blocks and fixtures are, and which of them an instruction means.

scene_obs: 0 sliding door, 1 drawer, 2 button, 3 switch, 4 bulb, 5 LED, then three blocks (xyz, euler each) in the order
of the scene. Facts from mees/calvin_env at 797142c.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.labels.labeller import Tracks

Positions = dict[str, NDArray[np.float64]]
"""Name → (T, 3) metres, world axes, which are those of the robot's base."""

_FIRST_BLOCK, _BLOCK_SIZE = 6, 6
"""Where the blocks begin in scene_obs, and how many numbers each has."""
_HELD_M = 0.035
"""From the point between the fingers to the middle of a block that they hold."""
_CLOSED_M, _OPEN_M = 0.005, 0.075
"""Widths of the gripper at which it holds nothing."""
_MOTION = {
    "door": (0, (-1.0, 0.0, 0.0)),
    "drawer": (1, (0.0, -1.0, 0.0)),
    "button": (2, (0.0, 0.0, -1.0)),
    "switch": (3, (0.0, 0.5, 0.866)),
}
"""Fixtures that move: index of the joint in scene_obs, metres; direction of the motion."""
_FIXTURE_WORDS = {
    "door": ("door",),
    "drawer": ("drawer",),
    "button": ("button",),
    "switch": ("switch", "lever"),
    "led": ("led", "green"),
    "bulb": ("bulb", "lightbulb", "lamp", "light", "yellow"),
    "shelf": ("shelf", "cabinet", "slider"),
}
"""Fixture → its words. If a mention has words of two ("the light switch"), the first fixture is meant."""


@dataclass(frozen=True)
class CalvinScene:
    """One of the environments. name: A to D. blocks: in the order of scene_obs. fixtures: name → position at rest.

    The order of the blocks and the positions of the fixtures differ between the environments (conf/scene and
    data/calvin_table_*/urdf of calvin_env). A fixture's position is its link's centre of mass, times the scaling 0.8.
    """

    name: str
    blocks: tuple[str, str, str]
    fixtures: Mapping[str, tuple[float, float, float]]

    def positions(self, scene_obs: NDArray[np.float64]) -> Positions:
        """Positions of the blocks (by colour) and of the fixtures, for scene_obs (T, 24)."""
        positions = {}
        for i, colour in enumerate(self.blocks):
            start = _FIRST_BLOCK + _BLOCK_SIZE * i
            positions[colour] = scene_obs[:, start : start + 3]
        for name, at_rest in self.fixtures.items():
            positions[name] = np.tile(np.asarray(at_rest), (len(scene_obs), 1))
            if name in _MOTION:
                joint, direction = _MOTION[name]
                positions[name] = positions[name] + scene_obs[:, joint, None] * np.asarray(direction)
        return positions

    def name_of(self, mention: str, positions: Positions) -> str | None:
        """Return which of `positions` a mention means; None for what has no position (the table).

        "the block" is the block that moves furthest in the sequence, "another block" the one it ends nearest to.
        """
        words = set(re.findall(r"[a-z]+", mention.lower()))
        colour = next((colour for colour in self.blocks if colour in words), None)
        if colour is not None:
            return colour
        if words & {"block", "blocks", "object"}:
            return self._block_without_colour(words, positions)
        if words == {"the", "handle"}:  # of the drawer; the door's is called "the door handle"
            return "drawer"
        return next(
            (name for name, fixture_words in _FIXTURE_WORDS.items() if words & set(fixture_words)), None
        )

    def _block_without_colour(self, words: set[str], positions: Positions) -> str:
        moved = max(self.blocks, key=lambda colour: float(np.linalg.norm(np.ptp(positions[colour], axis=0))))
        if not words & {"another", "other", "top"}:
            return moved
        others = [colour for colour in self.blocks if colour != moved]
        end = positions[moved][-1]
        return min(others, key=lambda colour: float(np.linalg.norm(positions[colour][-1] - end)))


def _scene(
    name: str,
    blocks: tuple[str, str, str],
    *,
    button: float,
    drawer: float,
    door: float,
    switch: float,
    shelf: float,
) -> CalvinScene:
    """A scene by the x of its fixtures. The LED is above the button, the bulb above the switch."""
    return CalvinScene(
        name,
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


SCENES = {
    scene.name: scene
    for scene in (
        _scene(
            "A", ("pink", "blue", "red"), button=-0.28, drawer=0.10, door=-0.240, switch=0.30, shelf=-0.10
        ),
        _scene("B", ("red", "blue", "pink"), button=0.28, drawer=0.18, door=0.228, switch=-0.32, shelf=0.08),
        _scene("C", ("blue", "red", "pink"), button=-0.12, drawer=0.10, door=0.200, switch=-0.32, shelf=0.08),
        _scene(
            "D", ("red", "blue", "pink"), button=-0.12, drawer=0.18, door=-0.240, switch=0.30, shelf=-0.10
        ),
    )
}


def get_scene(name: str) -> CalvinScene:
    """Return a scene by its letter, or by CALVIN's name (calvin_scene_A). Raises InspireError for another name."""
    letter = name.removeprefix("calvin_scene_").upper()
    if letter not in SCENES:
        raise InspireError(f"unknown scene {name!r} of CALVIN.{did_you_mean(name, SCENES)}")
    return SCENES[letter]


class ScenesOfSplit:
    """Knows in which scene each frame of a split was recorded.

    Args:
        scene: name of the scene of all frames; None reads scene_info.npy, else the split's configuration.
        intervals: content of scene_info.npy: CALVIN's name of a scene → (first frame, last frame).

    Raises:
        InspireError: an unknown scene, the scene is not known, or scene_info.npy and the configuration contradict each
            other.
    """

    def __init__(
        self, split: Path, scene: str | None = None, intervals: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        self._one = get_scene(scene) if scene is not None else None
        self._intervals = [(get_scene(name), int(i[0]), int(i[-1])) for name, i in (intervals or {}).items()]
        configuration = split / ".hydra" / "merged_config.yaml"
        configured = _configured_scene(configuration) if self._one is None else None
        if configured is not None and intervals:
            named = sorted({name.removeprefix("calvin_scene_").upper() for name in intervals})
            if configured not in named:
                raise InspireError(
                    f"{split / 'scene_info.npy'} says scene {', '.join(named)}, and {configuration} says scene "
                    f"{configured}. The order of the blocks depends on it: say which is right, --scene A, B, C or D."
                )
        elif configured is not None:
            self._one = SCENES[configured]
        if self._one is None and not self._intervals:
            raise InspireError(
                f"nothing in {split} tells which of CALVIN's tables it shows (scene_info.npy, "
                ".hydra/merged_config.yaml), and the order of the blocks depends on it: --scene A, B, C or D."
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What `of` depends on, as JSON values."""
        intervals = [[scene.name, first, last] for scene, first, last in self._intervals]
        return {"scene": self._one and self._one.name, "scene_intervals": intervals}

    def of(self, frame: int) -> CalvinScene:
        """Return the scene of a frame. Raises InspireError for a frame outside all intervals."""
        if self._one is not None:
            return self._one
        for scene, first, last in self._intervals:
            if first <= frame <= last:
                return scene
        raise InspireError(
            "scene_info.npy does not say the scene of a frame "
            f"(it knows {', '.join(f'{first} to {last}' for _, first, last in self._intervals)}; --scene overrules it)"
        )


def _configured_scene(configuration: Path) -> str | None:
    """The letter of the scene in a split's configuration; None if it says none."""
    if not configuration.is_file():
        return None
    found = re.search(r"calvin_table_([A-D])\b", configuration.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else None


def track(
    robot: NDArray[np.float64], state: NDArray[np.float64], mentions: Sequence[str], scene: CalvinScene
) -> Tracks:
    """Return where the mentions are. robot: robot_obs (T, 15). state: scene_obs (T, 24).

    A block is grasped while the gripper is commanded to close, is neither open nor closed, and its point between the
    fingers is within 3.5 cm of the block's middle.
    """
    gripper, width = robot[:, :3], robot[:, 6]
    gripping = (width > _CLOSED_M) & (width < _OPEN_M) & (robot[:, 14] < 0)
    offsets = np.full((len(robot), len(mentions), 3), np.nan)
    grasped = np.zeros((len(robot), len(mentions)), dtype=bool)
    positions = scene.positions(state)
    for i, mention in enumerate(mentions):
        name = scene.name_of(mention, positions)
        if name is None:
            continue
        offsets[:, i] = positions[name] - gripper
        if name in scene.blocks:
            grasped[:, i] = gripping & (np.linalg.norm(offsets[:, i], axis=1) < _HELD_M)
    return Tracks(offsets.astype(np.float32), grasped)
