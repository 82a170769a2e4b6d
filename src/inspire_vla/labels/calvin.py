"""CALVIN's recordings into a labelled LeRobot dataset.

    training/episode_0000123.npz    a frame: robot_obs (15), scene_obs (24), rel_actions (7), rgb_static
    training/lang_annotations/auto_lang_ann.npy      {"language": {"ann": […]}, "info": {"indx": [(first, last), …]}}

scene_obs: 0 slider, 1 drawer, 2 button, 3 switch, 4 bulb, 5 LED, 6–11 red, 12–17 blue, 18–23 pink block (xyz, euler).
robot_obs: 0:3 the point between the fingers, 3:6 euler angles, 6 gripper width, 14 gripper command (+1 open).
Blocks have a place in scene_obs. Slider, drawer, button, switch and lights are fixtures: give their places with
`fixtures`; a mention without any place has no label.
"""

import pickle
import re
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
from inspire_vla.labels.labeller import Tracks
from inspire_vla.labels.new_dataset import NewDataset
from inspire_vla.labels.simulator_state import LABELLER
from inspire_vla.spatial import Frame

BLOCKS = {"red": 6, "blue": 12, "pink": 18}
_HELD_M = 0.035
_SHUT_M, _WIDE_M = 0.005, 0.075
_FIXTURES = {
    "slider": ("slider", "sliding", "door", "cabinet", "handle"),
    "drawer": ("drawer",),
    "button": ("button",),
    "switch": ("switch", "lever"),
    "light": ("bulb", "lightbulb", "lamp", "yellow"),
    "led": ("led", "green"),
}


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
    fixtures: Mapping[str, Sequence[float]] | None = None,
    pictures: bool = True,
    modes: Sequence[str] = ("direction",),
    frame: str | Frame = "robot",
    rule: ModeRule = ModeRule(),  # noqa: B008  frozen
    limit: int | None = None,
) -> CalvinReport:
    """Write `out` from a split's folder (`training`, `validation`): an episode per annotated sequence.

    Args:
        fixtures: slider, drawer, button, switch, light, led → (x, y, z) metres, in the axes of robot_obs; they differ
            between CALVIN's environments A to D.
        limit: at most so many sequences.

    Raises:
        InspireError: no annotations, `out` exists, an unknown fixture, or nothing could be imported.
    """
    split, out = Path(split), Path(out).absolute()
    if out.exists():
        raise InspireError(f"{out} exists; choose another folder.")
    places = {name: np.asarray(place, dtype=np.float64) for name, place in (fixtures or {}).items()}
    wrong = [name for name, place in places.items() if name not in _FIXTURES or place.shape != (3,)]
    if wrong:
        raise InspireError(f"fixture {wrong[0]!r} must be one of {list(_FIXTURES)} with x, y, z.")
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
        extra={"source": "CALVIN", "fixtures": {name: place.tolist() for name, place in places.items()}},
    )
    size = _picture_size(split, sequences[0][2]) if pictures else None
    building = out.with_name(f".{out.name}.assembling")
    with NewDataset(
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
                frames = [read_frame(split, number) for number in range(first, last + 1)]
            except InspireError as error:
                report.skipped[str(error)] += 1
                continue
            robot = np.stack([f["robot_obs"] for f in frames]).astype(np.float64)
            scene = np.stack([f["scene_obs"] for f in frames]).astype(np.float64)
            if not (np.isfinite(robot).all() and np.isfinite(scene).all()):
                report.skipped["poses that are no numbers"] += 1
                continue
            tracks = track(robot, scene, mentions, places)
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


def read_frame(split: Path, number: int) -> dict[str, NDArray[Any]]:
    """One frame. Raises InspireError if it is missing, damaged, or lacks an array."""
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
    return found


def track(
    robot: NDArray[np.float64],
    scene: NDArray[np.float64],
    mentions: Sequence[str],
    fixtures: Mapping[str, NDArray[np.float64]],
) -> Tracks:
    """Where the mentions are. robot (T, 15), scene (T, 24).

    A block is held while the hand around it is neither wide open nor shut and its middle is within 3.5 cm.
    "the block" is the one that moves most in the sequence.
    """
    hand, width = robot[:, :3], robot[:, 6]
    gripping = (width > _SHUT_M) & (width < _WIDE_M) & (robot[:, 14] < 0)
    place = np.full((len(robot), len(mentions), 3), np.nan)
    grasped = np.zeros((len(robot), len(mentions)), dtype=bool)
    travelled = {
        colour: float(np.linalg.norm(scene[-1, at : at + 3] - scene[0, at : at + 3]))
        for colour, at in BLOCKS.items()
    }
    for i, mention in enumerate(mentions):
        words = set(re.findall(r"[a-z]+", mention))
        block = next((colour for colour in BLOCKS if colour in words), None)
        if block is None and words & {"block", "blocks", "object"}:
            block = max(travelled, key=lambda colour: travelled[colour])
        if block is not None:
            at = BLOCKS[block]
            place[:, i] = scene[:, at : at + 3]
            grasped[:, i] = gripping & (np.linalg.norm(place[:, i] - hand, axis=1) < _HELD_M)
            continue
        fixture = next((name for name, said in _FIXTURES.items() if words & {name, *said}), None)
        if fixture is not None and fixture in fixtures:
            place[:, i] = fixtures[fixture]
    return Tracks((place - hand[:, None]).astype(np.float32), grasped)


def _picture_size(split: Path, number: int) -> int | None:
    frame = read_frame(split, number)
    picture = frame.get("rgb_static")
    return int(picture.shape[0]) if picture is not None and picture.ndim == 3 else None
