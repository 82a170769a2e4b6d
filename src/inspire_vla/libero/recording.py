"""What a demonstration in LIBERO looks like, from states of the simulation: images, hand, truth; and its dataset."""

import gc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from inspire_vla.errors import InspireError
from inspire_vla.labels import LabelInfo, ModeRule
from inspire_vla.labels.dataset_writer import (
    Demonstration,
    LabelledDatasetWriter,
    SkippedDemonstration,
    load_or_make,
    png,
)
from inspire_vla.labels.simulator_state import LABELLER
from inspire_vla.libero.bddl import instruction_of, read_problem
from inspire_vla.libero.grounding import ground
from inspire_vla.libero.simulation import CONTROL_HZ, Truth, axis_angle, make_simulation
from inspire_vla.spatial import Frame

CAMERAS = {"image": "agentview", "image2": "robot0_eye_in_hand"}
Overrule = Mapping[str, Mapping[str, Sequence[str]]]
"""instruction → mention → name(s) of the scene."""


def check_cameras(cameras: Sequence[str]) -> tuple[str, ...]:
    """Raises InspireError for an unknown one."""
    unknown = [camera for camera in cameras if camera not in CAMERAS]
    if unknown:
        raise InspireError(f"unknown camera {unknown[0]!r}. Possible: {list(CAMERAS)}.")
    return tuple(cameras)


def observe(
    inner: Any, truth: Truth, cameras: Sequence[str], image_size: int | None, state: np.ndarray | None = None
) -> dict[str, Any]:
    """What is seen and true, at a recorded state or as things are. Images are turned by 180° as LeRobot's are."""
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
    for camera in cameras:
        image = inner.sim.render(camera_name=CAMERAS[camera], width=image_size, height=image_size)
        row[camera] = png(image[::-1, ::-1])
    return row


def demonstration_of(
    rows: Sequence[Mapping[str, Any]],
    actions: np.ndarray,
    truth: Truth,
    task: str,
    cameras: Sequence[str],
    **more: Any,
) -> Demonstration:
    """Rows of `observe` and the action (T, 7) that followed each."""
    return Demonstration(
        task_name=task,
        instruction=truth.instruction,
        mentions=truth.mentions,
        images={camera: tuple(row[camera] for row in rows) for camera in cameras},
        state=np.stack([row["state"] for row in rows]).astype(np.float32),
        action=np.asarray(actions, dtype=np.float32),
        gripper_to_object_m=np.stack([row["offsets"] for row in rows]).astype(np.float32),
        grasped=np.stack([row["grasped"] for row in rows]),
        **more,
    )


_kept: dict[tuple[str, int | None], Any] = {}


def simulation(task_file: str, pixels: int | None) -> Any:
    """One simulation at a time, kept: the last is closed before another is made."""
    key = (task_file, pixels)
    if key not in _kept:
        if _kept:
            _kept.popitem()[1].close()
            gc.collect()
        _kept[key] = make_simulation(task_file, pixels=pixels)
    return _kept[key]


def labels_for(
    task_files: Sequence[str | Path],
    mapping: Overrule,
    modes: Sequence[str],
    frame: str | Frame,
    rule: ModeRule,
    extra: Mapping[str, Any],
) -> LabelInfo:
    """What the labels of these tasks mean. Raises InspireError: no task, a mention that fits nothing."""
    tasks: dict[str, tuple[str, ...]] = {}
    for path in dict.fromkeys(map(str, task_files)):
        instruction = instruction_of(path)
        if instruction not in tasks:
            tasks[instruction] = tuple(
                ground(read_problem(Path(path)), instruction, overrule=mapping.get(instruction))
            )
    if not tasks:
        raise InspireError("there is no task.")
    return LabelInfo(
        frame=frame,  # type: ignore[arg-type]  # LabelInfo looks a name up
        modes=dict.fromkeys(modes, rule),
        tasks=tasks,
        max_objects=max(map(len, tasks.values())),
        labeller=LABELLER,
        extra=extra,
    )


def write_dataset(
    folder: Path,
    labels: LabelInfo,
    pieces: Sequence[Path],
    *,
    name: str,
    image_size: int | None,
    cameras: Sequence[str],
    make_again: Callable[[int], Any],
    progress: bool = False,
) -> list[Demonstration | str]:
    """Write a LeRobot dataset of the pieces; a damaged one is made again.

    Returns each piece's demonstration without its images, or why it was left out.

    Raises:
        InspireError: every piece was left out.
    """
    found: list[Demonstration | str] = []
    with LabelledDatasetWriter(
        folder, labels, name=name, fps=CONTROL_HZ, robot_type="panda", image_size=image_size, cameras=cameras
    ) as dataset:
        for number, path in enumerate(tqdm(pieces, desc="writing the dataset", disable=not progress)):
            try:
                demonstration = load_or_make(path, partial(make_again, number))
            except SkippedDemonstration as error:
                found.append(str(error))
                continue
            dataset.add_demonstration(demonstration)
            found.append(replace(demonstration, images={}))
        if all(isinstance(one, str) for one in found):
            raise InspireError(f"no demonstration is left: {dict(Counter(map(str, found)))}.")
    return found
