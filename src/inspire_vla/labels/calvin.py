"""What stands where on CALVIN's four tables, and in which order its states name the blocks.

The order of the blocks in scene_obs is that of the environment's configuration, and differs between A to D; so do the
places of all that is fixed to the table. Both are facts of the repository mees/calvin_env at 797142c (conf/scene,
data/calvin_table_*/urdf): a fixture's place is the centre of mass of its link, times the global scaling 0.8.
"""

import pickle
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.instruction import NoObjectFound, find_mentions
from inspire_vla.labels.columns import LabelInfo, ModeRule
from inspire_vla.labels.dataset_writer import LabelledDatasetWriter
from inspire_vla.labels.labeller import Tracks
from inspire_vla.labels.simulator_state import LABELLER
from inspire_vla.spatial import Frame

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


_HELD_M = 0.035
_SHUT_M, _WIDE_M = 0.005, 0.075


@dataclass
class CalvinReport:
    """What came out. `skipped`: why → sequences left out; `unplaced`: mention → sequences that name it."""

    root: Path
    episodes: int = 0
    frames: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    unplaced: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        lines = [f"{self.root}: {self.episodes} episodes, {self.frames} frames"]
        lines += [f"  left out: {count} × {why}" for why, count in self.skipped.most_common()]
        lines += [f"  no place known for {what!r}: {n} episodes" for what, n in self.unplaced.most_common()]
        return "\n".join(lines)


def import_calvin(
    split: str | Path,
    out: str | Path,
    *,
    scene: str | None = None,
    images: bool = True,
    modes: Sequence[str] = ("direction",),
    frame: str | Frame = "robot",
    rule: ModeRule = ModeRule(),  # noqa: B008  frozen
    limit: int | None = None,
) -> CalvinReport:
    """Write `out` from a split's folder (`training`, `validation`): an episode per annotated sequence.

    Args:
        scene: A to D; default: what the split says of itself.
        limit: at most so many sequences.

    Raises:
        InspireError: no annotations, `out` exists, no scene is known, or nothing could be imported.
    """
    split, out = Path(split), Path(out).absolute()
    if out.exists():
        raise InspireError(f"{out} exists; choose another folder.")
    scenes = ScenesOfSplit(split, scene, read_scene_info(split))
    report = CalvinReport(out)
    sequences = []
    for text, first, last in read_annotations(split)[:limit]:
        try:
            sequences.append((text, find_mentions(text), first, last))
        except NoObjectFound:
            report.skipped["its instruction names no object"] += 1
    if not sequences:
        raise InspireError(f"nothing could be imported from {split}: {dict(report.skipped)}.")
    labels = LabelInfo(
        frame=frame,  # type: ignore[arg-type]  # LabelInfo looks a name up
        modes=dict.fromkeys(modes, rule),
        tasks={text: mentions for text, mentions, _, _ in sequences},
        max_objects=max(len(mentions) for _, mentions, _, _ in sequences),
        labeller=LABELLER,
        extra={"source": "CALVIN", "scene": scene or "as the split says"},
    )
    size = _image_size(split, sequences[0][2]) if images else None
    building = out.with_name(f".{out.name}.assembling")
    shutil.rmtree(building, ignore_errors=True)  # of a call that was killed
    with LabelledDatasetWriter(
        building,
        labels,
        name=out.name,
        fps=30,
        robot_type="panda",
        image_size=size,
        cameras=("image",) if size else (),
        state_names=("x", "y", "z", "roll", "pitch", "yaw", "gripper_width", "gripper_command"),
    ) as dataset:
        for text, mentions, first, last in sequences:
            try:
                table = scenes.of(first)
                frames = [read_frame(split, number, size) for number in range(first, last + 1)]
            except InspireError as error:
                report.skipped[str(error)] += 1
                continue
            robot = np.stack([f["robot_obs"] for f in frames]).astype(np.float64)
            state = np.stack([f["scene_obs"] for f in frames]).astype(np.float64)
            if not (np.isfinite(robot).all() and np.isfinite(state).all()):
                report.skipped["poses that are no numbers"] += 1
                continue
            tracks = track(robot, state, mentions, table)
            unknown = ~np.isfinite(tracks.gripper_to_object_m).all(axis=(0, 2))
            report.unplaced.update(m for m, missing in zip(mentions, unknown, strict=True) if missing)
            dataset.add(
                text,
                np.concatenate([robot[:, :7], robot[:, 14:15]], axis=1),
                np.stack([f["rel_actions"] for f in frames]),
                tracks.gripper_to_object_m,
                tracks.grasped,
                {"image": [f["rgb_static"] for f in frames]} if size else {},
            )
            report.episodes += 1
            report.frames += len(frames)
        if not report.episodes:
            raise InspireError(f"nothing could be imported from {split}: {dict(report.skipped)}.")
    building.rename(out)
    return report


def read_annotations(split: Path) -> list[tuple[str, int, int]]:
    """(instruction, first frame, last frame) of each annotated sequence. Raises InspireError if there are none."""
    path = split / "lang_annotations" / "auto_lang_ann.npy"
    try:
        with open(path, "rb") as file:
            record = _load_plain(file)
        texts, spans = record["language"]["ann"], record["info"]["indx"]
        return [(str(text), int(a), int(b)) for text, (a, b) in zip(texts, spans, strict=True)]
    except (OSError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise InspireError(f"{path} holds no language annotations of CALVIN: {error}.") from None


def read_scene_info(split: Path) -> dict[str, Sequence[int]]:
    """Scene → (first frame, last frame), {} without such a file. Raises InspireError if it holds something else."""
    path = split / "scene_info.npy"
    if not path.exists():
        return {}
    try:
        with open(path, "rb") as file:
            return {str(name): [int(number) for number in span] for name, span in _load_plain(file).items()}
    except (OSError, AttributeError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise InspireError(f"{path} holds no scenes of CALVIN: {error}.") from None


class _Plain(pickle.Unpickler):
    """The file is a pickle, which could run anything: only what numpy arrays are made of is allowed."""

    _ALLOWED = frozenset(
        (module, name)
        for core in ("numpy.core", "numpy._core")
        for module, name in (
            (f"{core}.multiarray", "_reconstruct"),
            (f"{core}.multiarray", "scalar"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        )
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of annotations")
        return super().find_class(module, name)


def _load_plain(file: Any) -> Any:
    version = np.lib.format.read_magic(file)
    reader = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}.get(version[0])
    if reader is None:
        raise ValueError(f"unknown npy version {version}")
    reader(file)
    return np.asarray(_Plain(file).load()).item()


def read_frame(split: Path, number: int, image_size: int | None = None) -> dict[str, NDArray[Any]]:
    """One frame. Raises InspireError if it is missing, damaged, or lacks an array.

    image_size: side of the image that it must have; None: it need have none.
    """
    path = split / f"episode_{number:07d}.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise InspireError("a frame is missing") from None
    except Exception as error:  # zip, zlib and numpy each have their own
        raise InspireError(f"a frame is damaged ({type(error).__name__})") from None
    for name, size in (("robot_obs", 15), ("scene_obs", 24), ("rel_actions", 7)):
        if name not in found or found[name].shape != (size,):
            raise InspireError(f"a frame lacks {name} of {size} numbers")
    wanted = (image_size, image_size, 3)
    shape = found["rgb_static"].shape if "rgb_static" in found else None
    if image_size is not None and shape != wanted:
        raise InspireError(f"{path.name} needs an image rgb_static of {wanted}, found {shape or 'none'}")
    return found


def track(
    robot: NDArray[np.float64], state: NDArray[np.float64], mentions: Sequence[str], scene: CalvinScene
) -> Tracks:
    """Where the mentions are. robot: robot_obs (T, 15), state: scene_obs (T, 24).

    A block is held while the hand around it is neither wide open nor shut and its middle is within 3.5 cm.
    """
    hand, width = robot[:, :3], robot[:, 6]
    gripping = (width > _SHUT_M) & (width < _WIDE_M) & (robot[:, 14] < 0)
    offsets = np.full((len(robot), len(mentions), 3), np.nan)
    grasped = np.zeros((len(robot), len(mentions)), dtype=bool)
    places = scene.places(state)
    for i, mention in enumerate(mentions):
        name = scene.name_of(mention, places)
        if name is None:
            continue
        offsets[:, i] = places[name] - hand
        if name in scene.blocks:
            grasped[:, i] = gripping & (np.linalg.norm(offsets[:, i], axis=1) < _HELD_M)
    return Tracks(offsets.astype(np.float32), grasped)


def _image_size(split: Path, number: int) -> int | None:
    frame = read_frame(split, number)
    image = frame.get("rgb_static")
    return int(image.shape[0]) if image is not None and image.ndim == 3 else None
