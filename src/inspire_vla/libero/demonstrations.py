"""LIBERO's HDF5 demonstrations into a labelled LeRobot dataset.

    *.hdf5 ──worker: set each recorded state, read poses, render──▶ .NAME.importing/00012.npz
           ──one writer──▶ .NAME.assembling/ ──rename──▶ NAME/

Nothing is stepped unless `replay` is wanted. Each episode depends on its demonstration alone, so an import that was
killed goes on where it was and ends the same.
"""

import hashlib
import io
import json
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from inspire_vla.errors import InspireError
from inspire_vla.labels import LabelInfo, ModeRule
from inspire_vla.labels.simulator_state import LABELLER
from inspire_vla.libero.bddl import SUITES, bddl_folder, instruction_of, read_problem
from inspire_vla.libero.grounding import ground
from inspire_vla.libero.simulation import (
    CONTROL_HZ,
    SETTLING_STEPS,
    Truth,
    make_simulation,
    place_fixtures,
    require_libero,
)
from inspire_vla.spatial import Frame

CAMERAS = {"image": "agentview", "image2": "robot0_eye_in_hand"}
NOOP_BELOW = 1e-4
"""An action whose motion is smaller, with the gripper told as before, is a no-op (OpenVLA's rule)."""


@dataclass(frozen=True)
class Settings:
    """What fixes an imported episode, besides its demonstration."""

    image_size: int | None
    cameras: tuple[str, ...]
    drop_noops: bool
    replay: bool
    mapping: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)


@dataclass
class ImportReport:
    """What came out. `skipped`: demonstration → why it was left out."""

    root: Path
    episodes: int = 0
    frames: int = 0
    noops: int = 0
    skipped: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.root}: {self.episodes} episodes, {self.frames} frames; {self.noops} no-ops dropped"]
        for why, count in Counter(self.skipped.values()).most_common():
            lines.append(f"  left out: {count} × {why}")
        return "\n".join(lines)


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
    mapping: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    processes: int = 1,
    progress: bool = False,
) -> ImportReport:
    """Write `out`: a LeRobot dataset with labels and the privileged truth they come from.

    Args:
        sources: HDF5 files, or folders of them.
        image_size: pixels of rendered pictures, turned by 180° as LeRobot's LIBERO pictures are; None for none.
        replay: carry the actions out in the simulator again, as the field does, and leave failures out; else the
            recorded states are used as they are.
        mapping: instruction → mention → name(s), overrules grounding.
        processes: 0 to import in this process.

    Raises:
        InspireError: no HDF5 file, `out` exists, LIBERO is not installed, or nothing could be imported.
    """
    require_libero()
    out = Path(out).absolute()
    if out.exists():
        raise InspireError(f"{out} exists; choose another folder.")
    unknown = [camera for camera in cameras if camera not in CAMERAS]
    if unknown:
        raise InspireError(f"unknown camera {unknown[0]!r}. Possible: {list(CAMERAS)}.")
    settings = Settings(
        image_size, tuple(cameras) if image_size else (), drop_noops, replay, dict(mapping or {})
    )
    report = ImportReport(out)
    jobs = _jobs(sources, report)
    staging = out.with_name(f".{out.name}.importing")
    _begin(staging, settings, jobs)
    waiting = [job for job in jobs if not (staging / f"{job.number:05d}.npz").exists()]
    with tqdm(
        total=len(jobs), initial=len(jobs) - len(waiting), desc="importing", disable=not progress
    ) as bar:
        if processes == 0 or len(waiting) < 2:
            for job in waiting:
                _import(job, settings, staging)
                bar.update()
        else:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(processes, mp_context=context) as pool:
                for future in [pool.submit(_import, job, settings, staging) for job in waiting]:
                    future.result()
                    bar.update()
    _assemble(jobs, staging, out, settings, modes, frame, rule, report)
    shutil.rmtree(staging)
    return report


# --- which demonstrations there are


@dataclass(frozen=True)
class Job:
    """One demonstration."""

    number: int
    file: str
    name: str
    task_file: str

    @property
    def key(self) -> str:
        return f"{Path(self.file).name}:{self.name}"


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise InspireError(
            "LIBERO's demonstrations are HDF5 files, and h5py is not installed: "
            "pip install 'lerobot_policy_inspire_vla[libero]'."
        ) from error
    return h5py


def _jobs(sources: Sequence[str | Path], report: ImportReport) -> list[Job]:
    h5py = _h5py()

    files: list[Path] = []
    for source in map(Path, sources):
        files += sorted(source.rglob("*.hdf5")) if source.is_dir() else [source]
    if not files:
        raise InspireError(f"there is no .hdf5 file in {[str(source) for source in sources]}.")
    jobs: list[Job] = []
    for path in files:
        try:
            with h5py.File(path, "r") as file:
                task_file = _task_file(path, file["data"].attrs.get("bddl_file_name", ""))
                for name in sorted(file["data"], key=_number):
                    jobs.append(Job(len(jobs), str(path.absolute()), name, str(task_file)))
        except (OSError, KeyError, RuntimeError) as error:
            report.skipped[path.name] = f"damaged or truncated HDF5 ({type(error).__name__})"
        except InspireError as error:
            report.skipped[path.name] = str(error)
    return jobs


def _number(name: str) -> tuple[int, str]:
    digits = name.rpartition("_")[2]
    return (int(digits) if digits.isdigit() else 1 << 30, name)


def _task_file(path: Path, said: Any) -> Path:
    """The task file of the installed LIBERO that a demonstration was made with, by its name alone."""
    names = [Path(str(said).replace("\\", "/")).name, path.stem.removesuffix("_demo") + ".bddl"]
    folder = bddl_folder()
    suites = [suite for suite in SUITES if suite in Path(str(said)).parts or suite in path.parts]
    for suite in (*suites, *SUITES):
        for name in names:
            if name.endswith(".bddl") and (folder / suite / name).is_file():
                return folder / suite / name
    raise InspireError(f"unknown task {names[0] or names[1]!r}: LIBERO's installation has no such task file")


# --- one demonstration


def _import(job: Job, settings: Settings, staging: Path) -> None:
    """Write the job's file: arrays, or why there are none."""
    try:
        arrays = _read(job, settings)
    except InspireError as error:
        arrays = {"skipped": np.array(str(error))}
    path = staging / f"{job.number:05d}.npz"
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def _read(job: Job, settings: Settings) -> dict[str, np.ndarray]:
    h5py = _h5py()

    try:
        with h5py.File(job.file, "r") as file:
            demo = file["data"][job.name]
            if "states" not in demo or "actions" not in demo:
                raise InspireError("no states or no actions")
            states, actions = np.asarray(demo["states"], dtype=np.float64), np.asarray(demo["actions"])
            model_xml = demo.attrs.get("model_file", "")
    except (OSError, KeyError, RuntimeError) as error:
        raise InspireError(f"damaged or truncated HDF5 ({type(error).__name__})") from None
    if len(states) == 0 or states.ndim != 2:
        raise InspireError("an empty episode")
    if len(states) != len(actions) or actions.ndim != 2 or actions.shape[1] != 7:
        raise InspireError(f"{states.shape} states do not go with {actions.shape} actions")
    if not (np.isfinite(states).all() and np.isfinite(actions).all()):
        raise InspireError("states or actions that are no numbers")
    env = _simulation(job.task_file, settings.image_size)
    inner = env.env
    if states.shape[1] != len(inner.sim.get_state().flatten()):
        wanted = len(inner.sim.get_state().flatten())
        raise InspireError(f"states of {states.shape[1]} numbers, this LIBERO's scene has {wanted}")
    if isinstance(model_xml, str) and model_xml:
        place_fixtures(inner, model_xml)
    instruction = instruction_of(job.task_file)
    truth = Truth(inner, job.task_file, instruction, overrule=settings.mapping.get(instruction))
    kept = _kept(actions) if settings.drop_noops else np.arange(len(actions))
    rows = list(_replayed(env, states[0], actions[kept], truth, settings)) if settings.replay else [
        _observe(inner, truth, settings, states[row]) for row in kept
    ]  # fmt: skip
    return {
        "state": np.stack([row["state"] for row in rows]).astype(np.float32),
        "action": actions[kept].astype(np.float32),
        "gripper_to_object_m": np.stack([row["offsets"] for row in rows]).astype(np.float32),
        "grasped": np.stack([row["grasped"] for row in rows]),
        "noops": np.array(len(actions) - len(kept)),
        **{f"png.{camera}": _packed([row[camera] for row in rows]) for camera in settings.cameras},
    }


def _kept(actions: np.ndarray) -> np.ndarray:
    """Rows that are no no-ops: something moves, or the gripper is told something new."""
    moves = np.linalg.norm(actions[:, :6], axis=1) >= NOOP_BELOW
    told = np.concatenate([[True], actions[1:, 6] != actions[:-1, 6]])
    return np.flatnonzero(moves | told)


def _replayed(env: Any, first: np.ndarray, actions: np.ndarray, truth: Truth, settings: Settings):
    """Carry the actions out from the first state. Raises InspireError if the goal is not reached."""
    env.set_state(first)
    env.env.sim.forward()
    for _ in range(SETTLING_STEPS):
        env.step([0, 0, 0, 0, 0, 0, -1])
    success = False
    for action in actions:
        yield _observe(env.env, truth, settings, None)
        env.step(action.tolist())
        success = success or bool(env.check_success())
    if not success:
        raise InspireError("its replay does not reach the goal")


def _observe(inner: Any, truth: Truth, settings: Settings, state: np.ndarray | None) -> dict[str, Any]:
    """What is seen and true, at a recorded state or as things are."""
    from inspire_vla.libero.benchmark import axis_angle

    if state is not None:
        inner.sim.set_state_from_flattened(state)
        inner.sim.forward()
    offsets, grasped = truth.offsets()
    robot, data = inner.robots[0], inner.sim.data
    w, x, y, z = data.get_body_xquat(robot.robot_model.eef_name)
    fingers = data.qpos[robot._ref_gripper_joint_pos_indexes]
    row: dict[str, Any] = {
        "offsets": offsets,
        "grasped": grasped,
        "state": np.concatenate([truth.hand(), axis_angle(np.array([x, y, z, w])), fingers]),
    }
    for camera in settings.cameras:
        size = settings.image_size
        picture = inner.sim.render(camera_name=CAMERAS[camera], width=size, height=size)[::-1, ::-1]
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG")
        row[camera] = buffer.getvalue()
    return row


@lru_cache(maxsize=1)
def _simulation_cached(task_file: str, pixels: int | None) -> Any:
    return make_simulation(task_file, pixels=pixels)


_current: list[tuple[str, int | None]] = []


def _simulation(task_file: str, pixels: int | None) -> Any:
    """One simulation at a time: the last is closed before another is made."""
    import gc

    key = (task_file, pixels)
    if _current and _current[0] != key:
        _simulation_cached(*_current[0]).close()
        _simulation_cached.cache_clear()
        gc.collect()
    _current[:] = [key]
    return _simulation_cached(*key)


def _packed(pictures: list[bytes]) -> np.ndarray:
    """Pictures of several lengths in one array: their number, their lengths, their bytes."""
    sizes = np.array([len(pictures), *map(len, pictures)], dtype=np.int64)
    return np.concatenate([sizes.view(np.uint8), np.frombuffer(b"".join(pictures), dtype=np.uint8)])


def _unpacked(packed: np.ndarray) -> list[bytes]:
    count = int(packed[:8].view(np.int64)[0])
    sizes = packed[8 : 8 * (count + 1)].view(np.int64)
    ends = sizes.cumsum() + 8 * (count + 1)
    return [packed[end - size : end].tobytes() for size, end in zip(sizes, ends, strict=True)]


# --- the dataset


def _begin(staging: Path, settings: Settings, jobs: list[Job]) -> None:
    """Go on in the folder that an interrupted call with the same settings left, else begin anew."""
    files = sorted({job.file for job in jobs})
    inputs = [(name, Path(name).stat().st_size, Path(name).stat().st_mtime_ns) for name in files]
    text = json.dumps([asdict(settings), inputs, [job.key for job in jobs]], default=str, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    marker = staging / "settings"
    if marker.is_file() and marker.read_text() == digest:
        return
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    marker.write_text(digest)


def _assemble(
    jobs: list[Job],
    staging: Path,
    out: Path,
    settings: Settings,
    modes: Sequence[str],
    frame: str | Frame,
    rule: ModeRule,
    report: ImportReport,
) -> None:
    """Write the LeRobot dataset from the staged episodes."""
    from inspire_vla.labels.new_dataset import NewDataset

    tasks: dict[str, tuple[str, ...]] = {}
    for job in jobs:
        instruction = instruction_of(job.task_file)
        if instruction not in tasks:
            problem = read_problem(Path(job.task_file))
            tasks[instruction] = tuple(
                ground(problem, instruction, overrule=settings.mapping.get(instruction))
            )
    if not tasks:
        raise InspireError(f"nothing could be imported: {report.skipped}.")
    labels = LabelInfo(
        frame=frame,  # type: ignore[arg-type]  # LabelInfo looks a name up
        modes=dict.fromkeys(modes, rule),
        tasks=tasks,
        max_objects=max(map(len, tasks.values())),
        labeller=LABELLER,
        extra={"source": "LIBERO HDF5", "replay": settings.replay, "drop_noops": settings.drop_noops},
    )
    building = out.with_name(f".{out.name}.assembling")
    shutil.rmtree(building, ignore_errors=True)
    with NewDataset(
        building,
        labels,
        fps=CONTROL_HZ,
        robot_type="panda",
        image_size=settings.image_size,
        cameras=settings.cameras,
        state_names=(
            "x",
            "y",
            "z",
            "axis_angle_x",
            "axis_angle_y",
            "axis_angle_z",
            "finger_left",
            "finger_right",
        ),
        action_names=("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper"),
    ) as dataset:
        for job in jobs:
            with np.load(staging / f"{job.number:05d}.npz", allow_pickle=False) as arrays:
                if "skipped" in arrays:
                    report.skipped[job.key] = str(arrays["skipped"])
                    continue
                dataset.add(
                    instruction_of(job.task_file),
                    arrays["state"],
                    arrays["action"],
                    arrays["gripper_to_object_m"],
                    arrays["grasped"],
                    {camera: _unpacked(arrays[f"png.{camera}"]) for camera in settings.cameras},
                )
                report.episodes += 1
                report.frames += len(arrays["action"])
                report.noops += int(arrays["noops"])
        if not report.episodes:
            raise InspireError(f"nothing could be imported: {report.skipped}.")
    building.rename(out)
