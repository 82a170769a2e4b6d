"""Import LIBERO's HDF5 demonstrations as a labelled LeRobot dataset. An interrupted import can be resumed.

    *.hdf5 ── workers: set each recorded state, read poses, render ──▶ one shard per demonstration ──▶ NAME/

The simulation is stepped only with `replay`, which resets it first. An episode depends on its demonstration only. So a
demonstration that does not say where the scene's fixtures stood (attribute `model_file`) is left out: a reset places
cabinets, stoves and racks again, up to 2 cm away, and a state does not hold their places. Images and labels would show
another scene than the actions were recorded in. A scene without fixtures needs no `model_file`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from inspire_vla.errors import GO_ON, InspireError, MachineFault, counted, some_of
from inspire_vla.files import machine_faults
from inspire_vla.labels import ModeRule
from inspire_vla.labels.collected_dataset import check_numbers
from inspire_vla.labels.dataset_writer import ACTION_NAMES
from inspire_vla.labels.demonstration import Demonstration, finite_as_stored
from inspire_vla.labels.imported_dataset import import_dataset
from inspire_vla.libero.dataset import (
    DATASET,
    LARGEST_IMAGE,
    GroundingOverrides,
    check_cameras,
    label_info,
    make_demonstration,
)
from inspire_vla.libero.grounding import check_mapping
from inspire_vla.libero.installation import bddl_folder, require_libero
from inspire_vla.libero.rendering import Rendering, check_rendering
from inspire_vla.libero.simulation import (
    SETTLING_STEPS,
    GroundTruth,
    observe,
    place_fixtures,
    shared_simulation,
)
from inspire_vla.libero.tasks import SUITES, instruction_of
from inspire_vla.spatial import Frame

NOOP_BELOW = 1e-4
"""An action with a smaller motion and the same gripper command as before is a no-op (OpenVLA's rule)."""


@dataclass(frozen=True)
class Settings:
    """Everything that determines an imported episode, except its demonstration."""

    image_size: int | None
    cameras: tuple[str, ...]
    drop_noops: bool
    replay: bool
    mapping: GroundingOverrides = field(default_factory=dict)
    render: Rendering = "full"


@dataclass
class ImportReport:
    """Result of an import. skipped: demonstration → why. tasks: of each episode its suite and its task."""

    root: Path
    episodes: int = 0
    frames: int = 0
    noops: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    tasks: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        size = f"{counted(self.episodes, 'episode')}, {counted(self.frames, 'frame')}"
        lines = [f"{self.root}: {size}; {counted(self.noops, 'no-op')} dropped"]
        return "\n".join([*lines, *(f"  skipped: {why}" for why in self.reasons())])

    def reasons(self) -> list[str]:
        """Why demonstrations are skipped, each with how many they are and the first of them."""
        first = {why: name for name, why in reversed(self.skipped.items())}
        counts = Counter(self.skipped.values()).most_common()
        return [f"{count} × {why} (the first: {first[why]})" for why, count in counts]


def import_demonstrations(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    image_size: int | None = 128,
    cameras: Sequence[str] = ("image", "image2"),
    drop_noops: bool = True,
    replay: bool = False,
    modes: Sequence[str] = ("direction",),
    frame: str | Frame = "robot",
    rule: ModeRule = ModeRule(),  # noqa: B008  frozen
    mapping: GroundingOverrides | None = None,
    render: Rendering = "full",
    processes: int = 1,
    progress: bool = False,
    announce: Callable[[str], None] | None = None,
) -> ImportReport:
    """Write `out`, a LeRobot dataset with labels and the privileged state that they come from.

    Args:
        sources: HDF5 files, or folders of them.
        image_size: of the rendered images in pixels; None for no images. Images are rotated by 180°, as LeRobot's are.
        replay: execute the actions in the simulator again, as is usual, and skip failures. Otherwise the recorded
            states are used.
        mapping: instruction → mention → name(s), which take precedence over grounding.
        render: how images are drawn, see rendering.py.
        processes: 0 or 1 imports in this process.
        announce: called with which demonstrations are left out because they cannot be read, and with what an
            interrupted call with other settings has left, which is removed.

    Raises:
        MachineFault: LIBERO does not load, a file cannot be read, or the disk is full.
        InspireError: no HDF5 file, `out` exists and is not the finished dataset of the same call, an image size out of
            range, a mapping of something that no task has, LIBERO is not installed, or what `render` needs, or nothing
            could be imported.
    """
    check_numbers(image_size=image_size, largest_image=LARGEST_IMAGE, probabilities={})
    require_libero()
    if image_size:
        check_rendering(render)
    if mapping:
        check_mapping(mapping)
    out = Path(out).absolute()
    cameras = check_cameras(cameras) if image_size else ()
    settings = Settings(image_size, cameras, drop_noops, replay, dict(mapping or {}), render)
    report = ImportReport(out)
    jobs = _jobs(sources, report)
    if not jobs:
        raise InspireError(f"nothing could be imported: {some_of(report.reasons())}.")
    if report.skipped and announce is not None:
        announce(f"Left out, because they cannot be read: {some_of(report.reasons())}.")
    labels = label_info(
        [job.task_file for job in jobs], settings.mapping, modes, frame, rule,
        {"source": "LIBERO HDF5", "replay": replay, "drop_noops": drop_noops, "render": render,
         "suites": sorted({job.suite for job in jobs})},
    )  # fmt: skip
    files = sorted({job.file for job in jobs})
    stats = {name: Path(name).stat() for name in files}
    inputs = {name: {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns} for name, stat in stats.items()}
    plan = {"files": inputs, "demonstrations": [job.key for job in jobs], "mentions": labels.tasks}

    def add(number: int, one: Demonstration | str) -> None:
        if isinstance(one, str):
            report.skipped[jobs[number].key] = one
        else:
            report.episodes += 1
            report.frames += len(one)
            report.noops += one.dropped
            report.tasks.append((jobs[number].suite, jobs[number].task))

    return import_dataset(
        out,
        asdict(settings) | plan,
        len(jobs),
        partial(_read, jobs, settings),
        labels,
        report,
        add,
        what="demonstrations",
        announce=announce,
        name=out.name,
        image_size=image_size,
        cameras=cameras,
        processes=processes,
        progress=progress,
        **DATASET,
    )


# --- the demonstrations in the files


@dataclass(frozen=True)
class Job:
    """One demonstration."""

    number: int
    file: str
    name: str
    task_file: str

    @property
    def key(self) -> str:
        """The name in reports."""
        return f"{Path(self.file).name}:{self.name}"

    @property
    def suite(self) -> str:
        return Path(self.task_file).parent.name

    @property
    def task(self) -> str:
        return Path(self.task_file).stem


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise InspireError(
            "LIBERO's demonstrations are HDF5 files, and h5py is not installed: `make libero`."
        ) from error
    return h5py


def _jobs(sources: Sequence[str | Path], report: ImportReport) -> list[Job]:
    _h5py()  # where it is missing, that is no fault of a file
    files: list[Path] = []
    for source in map(Path, sources):
        files += sorted(source.rglob("*.hdf5")) if source.is_dir() else [source]
    if not files:
        raise InspireError(f"there is no .hdf5 file in {[str(source) for source in sources]}.")
    jobs: list[Job] = []
    for path in files:
        try:
            with _opened(path) as file:
                task_file = _task_file(path, file.attrs.get("bddl_file_name", ""))
                for name in sorted(file, key=_number):
                    job = Job(len(jobs), str(path.absolute()), name, str(task_file))
                    try:
                        _check_layout(_group(file, name))
                    except MachineFault:
                        raise
                    except InspireError as error:
                        report.skipped[job.key] = str(error)
                    else:
                        jobs.append(job)
        except MachineFault:
            raise
        except InspireError as error:
            report.skipped[path.name] = str(error)
    return jobs


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """The group of the demonstrations of a file.

    Raises:
        MachineFault: the file cannot be read.
        InspireError: it is damaged, or has no such group.
    """
    try:
        with machine_faults(path), _h5py().File(path, "r") as file:
            yield _group(file, "data")
    except InspireError:
        raise
    except Exception as error:  # h5py has many for a damaged file
        raise InspireError(f"damaged or truncated HDF5 ({type(error).__name__})") from None


def _group(parent: Any, name: str) -> Any:
    group = parent.get(name)
    if not isinstance(group, _h5py().Group):
        raise InspireError(f"{name!r} is {'missing' if group is None else 'no group'}; a group is needed")
    return group


def _check_layout(demo: Any) -> None:
    """Check what the arrays of a demonstration are, without reading them. Raises InspireError."""
    h5py = _h5py()
    for name, needed in (("states", "(T, n)"), ("actions", f"(T, {len(ACTION_NAMES)})")):
        array = demo.get(name)
        found = ""
        if not isinstance(array, h5py.Dataset):
            found = "missing" if array is None else "no array"
        elif array.dtype.kind not in "fiu":
            found = "no array of numbers" if array.dtype.kind in "OSUV" else str(array.dtype)
        elif array.ndim != 2 or (name == "actions" and array.shape[1] != len(ACTION_NAMES)):
            found = f"of shape {array.shape}"
        elif not len(array):
            found = "empty"
        if found:
            raise InspireError(f"{name!r} is {found}; finite numbers of shape {needed} are needed")
    if len(demo["states"]) != len(demo["actions"]):
        raise InspireError(
            f"'states' has {counted(len(demo['states']), 'row')} and 'actions' {len(demo['actions'])}; equally "
            "many are needed"
        )


def _number(name: str) -> tuple[int, str]:
    digits = name.rpartition("_")[2]
    return (int(digits) if digits.isdigit() else 1 << 30, name)


def _task_file(path: Path, recorded: Any) -> Path:
    """The task file of the installed LIBERO that has the name of the recorded one."""
    names = [Path(str(recorded).replace("\\", "/")).name, path.stem.removesuffix("_demo") + ".bddl"]
    folder = bddl_folder()
    suites = [suite for suite in SUITES if suite in Path(str(recorded)).parts or suite in path.parts]
    for suite in (*suites, *SUITES):
        for name in names:
            if name.endswith(".bddl") and (folder / suite / name).is_file():
                return folder / suite / name
    raise InspireError(f"unknown task {names[0] or names[1]!r}: LIBERO's installation has no such task file")


# --- one demonstration


def _read(jobs: Sequence[Job], settings: Settings, number: int) -> Demonstration:
    """Read the demonstration of a number.

    Raises:
        MachineFault: LIBERO does not load, or the file cannot be read.
        InspireError: the reason for which it is skipped.
    """
    job = jobs[number]
    states, actions, model_xml = _recorded(job)
    env = shared_simulation(job.task_file, settings.image_size, settings.render)
    inner = env.env
    if settings.replay:  # else controller and gripper go on from the commands of the demonstration before
        env.seed(0)
        env.reset()
        inner.ignore_done = True  # a demonstration may be longer than robosuite's 1000 steps
    size = len(inner.sim.get_state().flatten())
    if states.shape[1] != size:
        raise InspireError(f"states of {states.shape[1]} numbers, this LIBERO's scene has {size}")
    if unplaced := place_fixtures(inner, model_xml):
        raise InspireError(f"no place of the fixtures in its model_file: {', '.join(unplaced)}")
    instruction = instruction_of(job.task_file)
    truth = GroundTruth(inner, job.task_file, instruction, overrides=settings.mapping.get(instruction))
    kept = _kept(actions) if settings.drop_noops else np.arange(len(actions))
    rows = list(_replayed(env, states[0], actions[kept], truth, settings)) if settings.replay else [
        observe(inner, truth, settings.cameras, settings.image_size, states[row]) for row in kept
    ]  # fmt: skip
    dropped = len(actions) - len(kept)
    return make_demonstration(rows, actions[kept], truth, job.task, settings.cameras, dropped=dropped)


def _recorded(job: Job) -> tuple[np.ndarray, np.ndarray, str]:
    """Return states (T, n), actions (T, 7) and the model file, "" for none. Raises InspireError if invalid."""
    if not Path(job.file).exists():  # it was there before the work, perhaps on a drive that is gone
        raise MachineFault(f"{job.file} is gone. {GO_ON}")
    with _opened(job.file) as file:
        demo = _group(file, job.name)
        _check_layout(demo)
        states, actions = np.asarray(demo["states"], dtype=np.float64), np.asarray(demo["actions"])
        model_xml = demo.attrs.get("model_file", "")
    for name, array in (("states", states), ("actions", actions)):
        finite = finite_as_stored(array)
        if not finite.all():
            row = int(finite.all(axis=1).argmin())
            raise InspireError(f"row {row} of {name!r} is not finite; finite numbers are needed")
    if isinstance(model_xml, bytes):  # a string of fixed length
        model_xml = model_xml.decode("utf-8", errors="replace")
    return states, actions, str(model_xml)


def _kept(actions: np.ndarray) -> np.ndarray:
    """Rows that are not no-ops: the arm moves, or the gripper command changes."""
    moves = np.linalg.norm(actions[:, :6], axis=1) >= NOOP_BELOW
    changed = np.concatenate([[True], actions[1:, 6] != actions[:-1, 6]])
    return np.flatnonzero(moves | changed)


def _replayed(env: Any, first: np.ndarray, actions: np.ndarray, truth: GroundTruth, settings: Settings):
    """Execute the actions from the first state. Raises InspireError if the goal is not reached."""
    env.set_state(first)
    env.env.sim.forward()
    for _ in range(SETTLING_STEPS):
        env.step([0, 0, 0, 0, 0, 0, -1])
    success = False
    for action in actions:
        yield observe(env.env, truth, settings.cameras, settings.image_size)
        env.step(action.tolist())
        success = success or bool(env.check_success())
    if not success:
        raise InspireError("its replay does not reach the goal")
