"""Imports CALVIN's recordings into a labelled LeRobot dataset. Importer only: never run on real CALVIN data.

    SPLIT ── workers: read the frames of a sequence ──▶ one shard per annotated sequence ──▶ NAME/

    training/episode_0000123.npz    a frame: robot_obs (15), scene_obs (24), rel_actions (7), rgb_static, rgb_gripper
    training/lang_annotations/auto_lang_ann.npy      {"language": {"ann": […]}, "info": {"indx": [(first, last), …]}}

scene_obs: 0 sliding door, 1 drawer, 2 button, 3 switch, 4 bulb, 5 LED, then three blocks (xyz, euler each) in the order
of the scene. robot_obs: 0:3 the point between the fingers, 3:6 euler angles, 6 gripper width, 14 gripper command
(+1 open). A mention without a known position ("the table") has no label.

Written from the repositories mees/calvin at fa03f01 and mees/calvin_env at 797142c. Its 423 sentences were parsed;
the recordings themselves were not available.
"""

import os
import pickle
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, counted, did_you_mean, reason_of
from inspire_vla.instruction import NoObjectFound, find_mentions
from inspire_vla.jobs import ResumableJob
from inspire_vla.labels.columns import LabelInfo, ModeRule
from inspire_vla.labels.dataset_writer import (
    Demonstration,
    build_dataset,
    finite_as_stored,
    import_shard,
    png,
)
from inspire_vla.labels.labeller import Tracks
from inspire_vla.labels.simulator_state import LABELLER
from inspire_vla.spatial import Frame

_STATE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper_width", "gripper_command")
CAMERAS = {"image": "rgb_static", "image2": "rgb_gripper"}
"""Camera of the dataset, with the name that LIBERO's has → array of a frame."""
_ARRAYS = {"robot_obs": 15, "scene_obs": 24, "rel_actions": 7}
_HELD_M = 0.035
_CLOSED_M, _OPEN_M = 0.005, 0.075


# --- the four scenes

Positions = dict[str, NDArray[np.float64]]
"""Name → (T, 3) metres, world axes, which are those of the robot's base."""

_FIRST_BLOCK, _BLOCK_SIZE = 6, 6
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
"""Words for a fixture. If a mention has words of two ("the light switch"), the first fixture is meant."""


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


# --- the import


@dataclass
class CalvinReport:
    """The result of an import.

    cameras: those of the dataset. not_imported: arrays of the frames that it does not hold. skipped: reason →
    sequences. first_files: reason → the first file that it is about. unplaced: mention without a position → sequences.
    """

    root: Path
    cameras: tuple[str, ...] = ()
    not_imported: tuple[str, ...] = ()
    episodes: int = 0
    frames: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    first_files: dict[str, str] = field(default_factory=dict)
    unplaced: Counter[str] = field(default_factory=Counter)

    def skip(self, reason: str) -> None:
        """Count a sequence that is left out. reason: "FILE: why", or why alone."""
        file, colon, why = reason.partition(": ")
        self.skipped[why if colon else reason] += 1
        if colon:
            self.first_files.setdefault(why, file)

    def __str__(self) -> str:
        cameras = ", ".join(f"{camera} ({CAMERAS[camera]})" for camera in self.cameras)
        size = f"{counted(self.episodes, 'episode')}, {counted(self.frames, 'frame')}"
        lines = [f"{self.root}: {size}; cameras: {cameras or 'none'}"]
        if self.not_imported:
            lines.append(f"  arrays of the frames that are not imported: {', '.join(self.not_imported)}")
        for why, count in self.skipped.most_common():
            file = f" (the first: {self.first_files[why]})" if why in self.first_files else ""
            lines.append(f"  left out: {count} × {why}{file}")
        lines += [
            f"  no place known for {what!r}: {counted(n, 'episode')}"
            for what, n in self.unplaced.most_common()
        ]
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
    processes: int = 1,
    progress: bool = False,
    announce: Callable[[str], None] | None = None,
) -> CalvinReport:
    """Write `out` from the folder of a split (`training`, `validation`), with one episode per annotated sequence.

    An interrupted call, made again, reads only the sequences that it had not finished.

    Args:
        scene: A to D; None: what the split says.
        images: of the static camera, and of the gripper's if the frames have it.
        processes: 0 or 1 imports in this process.
        announce: called with what an interrupted call with other settings has left, which is removed.

    Raises:
        InspireError: no annotations, `out` exists, the scene is not known, the first frame is not CALVIN's or has no
            image of the static camera, or nothing could be imported.
    """
    split, out = Path(split).absolute(), Path(out).absolute()
    if out.exists():
        raise InspireError(f"{out} exists; choose another folder.")
    scenes = ScenesOfSplit(split, scene, read_scene_info(split))
    report = CalvinReport(out)
    sequences = []
    for text, first, last in read_annotations(split):
        try:
            sequences.append(AnnotatedSequence(text, find_mentions(text), first, last))
        except NoObjectFound:
            report.skip("its instruction names no object")
    if not sequences:
        why = "no instruction names an object" if report.skipped else "it has no annotated sequence"
        raise InspireError(f"nothing could be imported from {split}: {why}.")
    labels = LabelInfo(
        frame=frame,  # type: ignore[arg-type]  # LabelInfo looks a name up
        modes=dict.fromkeys(modes, rule),
        tasks={sequence.instruction: sequence.mentions for sequence in sequences},
        max_objects=max(len(sequence.mentions) for sequence in sequences),
        labeller=LABELLER,
        extra={"source": "CALVIN", "scene": scene or "as the split says"},
    )
    sizes, names = _layout(split, [sequence.first for sequence in sequences], images)
    report.cameras = tuple(sizes)
    report.not_imported = tuple(sorted(names - {*_ARRAYS, *(CAMERAS[camera] for camera in sizes)}))
    settings = {
        "split": str(split),
        **scenes.settings,
        "image_sizes": sizes,
        "sequences": [asdict(sequence) | _files(split, sequence) for sequence in sequences],
    }
    job = ResumableJob(out, settings, "importing")
    with job.started(restart_if_changed=True) as changed:
        if changed and announce is not None:
            announce(f"{changed}: all sequences are imported again.")
        made = build_dataset(
            job,
            len(sequences),
            partial(import_shard, job, partial(_read, split, scenes, sizes, sequences)),
            labels,
            name=out.name,
            fps=30,
            robot_type="panda",
            image_size=sizes,
            cameras=report.cameras,
            state_names=_STATE_NAMES,
            processes=processes,
            progress=progress,
        )
    for one in made:
        if isinstance(one, str):
            report.skip(one)
            continue
        unknown = ~np.isfinite(one.gripper_to_object_m).all(axis=(0, 2))
        report.unplaced.update(m for m, missing in zip(one.mentions, unknown, strict=True) if missing)
        report.episodes += 1
        report.frames += len(one)
    return report


@dataclass(frozen=True)
class AnnotatedSequence:
    """An annotated sequence of frames, `first` to `last`."""

    instruction: str
    mentions: tuple[str, ...]
    first: int
    last: int


def _files(split: Path, sequence: AnnotatedSequence) -> dict[str, int]:
    """What tells that the files of a sequence have changed: number up to the first that is missing, bytes, newest."""
    count, size, newest = 0, 0, 0
    for number in range(sequence.first, sequence.last + 1):
        try:
            stat = os.stat(_frame_file(split, number))
        except OSError:
            break
        count, size, newest = count + 1, size + stat.st_size, max(newest, stat.st_mtime_ns)
    return {"frames": count, "bytes": size, "modified_ns": newest}


def _read(
    split: Path,
    scenes: ScenesOfSplit,
    image_sizes: Mapping[str, int],
    sequences: Sequence[AnnotatedSequence],
    number: int,
) -> Demonstration:
    """Read the sequence of a number. Raises InspireError with the reason for which it is left out."""
    sequence = sequences[number]
    scene = scenes.of(sequence.first)
    if sequence.last < sequence.first:
        raise InspireError("it has no frames")
    frames = [read_frame(split, i, image_sizes) for i in range(sequence.first, sequence.last + 1)]
    robot = np.stack([f["robot_obs"] for f in frames]).astype(np.float64)
    state = np.stack([f["scene_obs"] for f in frames]).astype(np.float64)
    tracks = track(robot, state, sequence.mentions, scene)
    return Demonstration(
        task_name=sequence.instruction,
        instruction=sequence.instruction,
        mentions=sequence.mentions,
        images={camera: tuple(png(f[CAMERAS[camera]]) for f in frames) for camera in image_sizes},
        state=np.concatenate([robot[:, :7], robot[:, 14:15]], axis=1).astype(np.float32),
        action=np.stack([f["rel_actions"] for f in frames]).astype(np.float32),
        gripper_to_object_m=tracks.gripper_to_object_m,
        grasped=tracks.grasped,
    )


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


# --- its files


def read_annotations(split: Path) -> list[tuple[str, int, int]]:
    """Return (instruction, first frame, last frame) of each annotated sequence.

    Raises:
        InspireError: there are none.
    """
    path = split / "lang_annotations" / "auto_lang_ann.npy"
    record = _load_plain(path, "language annotations")
    try:
        texts, spans = record["language"]["ann"], record["info"]["indx"]
        return [(str(text), int(a), int(b)) for text, (a, b) in zip(texts, spans, strict=True)]
    except (LookupError, ValueError, TypeError, OverflowError) as error:
        raise InspireError(f"{path} holds no language annotations of CALVIN: {reason_of(error)}.") from None


def read_scene_info(split: Path) -> dict[str, tuple[int, int]]:
    """Return scene → (first frame, last frame), {} without such a file. Raises InspireError for other content."""
    path = split / "scene_info.npy"
    if not path.exists():
        return {}
    record = _load_plain(path, "scenes")
    try:
        return {str(name): (int(span[0]), int(span[-1])) for name, span in record.items()}
    except (AttributeError, LookupError, ValueError, TypeError, OverflowError) as error:
        raise InspireError(f"{path} holds no scenes of CALVIN: {reason_of(error)}.") from None


class _PlainUnpickler(pickle.Unpickler):
    """Loads numpy arrays and nothing else: a pickle could run any code."""

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


def _load_plain(path: Path, what: str) -> Any:
    """Load a pickled Python object from an .npy file. Raises InspireError if there is none, or it is unsafe."""
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            if version[0] == 1:
                np.lib.format.read_array_header_1_0(file)
            else:
                np.lib.format.read_array_header_2_0(file)
            return np.asarray(_PlainUnpickler(file).load()).item()
    except Exception as error:  # whatever a damaged pickle leads to
        raise InspireError(f"{path} holds no {what} of CALVIN: {reason_of(error)}.") from None


def _frame_file(split: Path, number: int) -> Path:
    return split / f"episode_{number:07d}.npz"


def read_frame(
    split: Path,
    number: int,
    image_sizes: Mapping[str, int | None] = {},
) -> dict[str, NDArray[Any]]:
    """Read arrays of one frame: robot_obs (15,), scene_obs (24,), rel_actions (7,), images uint8 (side, side, 3).

    Args:
        image_sizes: camera → side of the image that the frame must have of it; None for any. Of others none is read.

    Raises:
        InspireError: the frame is missing or damaged, or an array is missing or is not CALVIN's. The message begins
            with the name of the file.
    """
    path = _frame_file(split, number)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            frame = {name: _numbers(arrays, name, size) for name, size in _ARRAYS.items()}
            for camera, side in image_sizes.items():
                frame[CAMERAS[camera]] = _image(arrays, CAMERAS[camera], side)
            return frame
    except FileNotFoundError:
        raise InspireError(f"{path.name}: the frame is missing") from None
    except InspireError as error:
        raise InspireError(f"{path.name}: {error}") from None
    except Exception as error:  # zip, zlib and numpy have their own
        raise InspireError(f"{path.name}: the file is damaged ({type(error).__name__})") from None


def _numbers(arrays: Mapping[str, NDArray[Any]], name: str, size: int) -> NDArray[Any]:
    needed = f"{size} finite numbers are needed"
    array = _array(arrays, name, needed)
    if array.shape != (size,) or array.dtype.kind not in "fiu":
        raise InspireError(f"{name} is {_described(array)}; {needed}")
    finite = finite_as_stored(array)
    if not finite.all():
        raise InspireError(f"number {int(finite.argmin())} of {name} is {array[finite.argmin()]}; {needed}")
    return array


def _image(arrays: Mapping[str, NDArray[Any]], name: str, side: int | None) -> NDArray[Any]:
    needed = f"a uint8 image of shape {(side, side, 3) if side else '(side, side, 3)'} is needed"
    array = _array(arrays, name, needed)
    side = side or (len(array) if array.ndim else 0)
    if array.dtype != np.uint8 or not side or array.shape != (side, side, 3):
        raise InspireError(f"{name} is {_described(array)}; {needed}")
    return array


def _array(arrays: Mapping[str, NDArray[Any]], name: str, needed: str) -> NDArray[Any]:
    if name not in arrays:
        raise InspireError(f"{name} is missing; {needed}")
    try:
        return arrays[name]
    except ValueError as error:  # an array of Python objects, which could run any code
        raise InspireError(f"{name} cannot be read ({reason_of(error)}); {needed}") from None


def _described(array: NDArray[Any]) -> str:
    return f"{'text' if array.dtype.kind in 'US' else array.dtype} of shape {array.shape}"


def _layout(split: Path, numbers: Sequence[int], images: bool) -> tuple[dict[str, int], set[str]]:
    """Return camera → side of its images, and the names of all arrays, of the first of these frames that can be read.

    Raises:
        InspireError: none can, or the static camera is missing and not left out.
    """
    why = ""
    for number in numbers:
        path = _frame_file(split, number)
        try:
            names = _array_names(path)
            cameras = {camera: None for camera, name in CAMERAS.items() if images and name in names}
            frame = read_frame(split, number, cameras)
        except InspireError as error:
            why = str(error) if not why or path.exists() else why
            continue
        if images and CAMERAS["image"] not in names:
            raise InspireError(
                f"{path} has no image {CAMERAS['image']}; --image-size 0 imports the frames without images."
            )
        return {camera: len(frame[CAMERAS[camera]]) for camera in cameras}, names
    raise InspireError(
        f"nothing could be imported from {split}: of no sequence the first frame can be read. {why}."
    )


def _array_names(path: Path) -> set[str]:
    """The names of the arrays of a frame, none where the file cannot be read: `read_frame` says why."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return set(arrays.files)
    except Exception:
        return set()
