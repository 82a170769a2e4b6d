"""LeRobot datasets of LIBERO demonstrations: what the scripted expert's collection and the HDF5 importer share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.labels import LabelInfo, ModeRule
from inspire_vla.labels.demonstration import Demonstration
from inspire_vla.labels.simulator_state import LABELLER
from inspire_vla.libero.grounding import ground
from inspire_vla.libero.simulation import CAMERAS, CONTROL_HZ, GroundTruth
from inspire_vla.libero.tasks import instruction_of, read_problem
from inspire_vla.spatial import Frame

DATASET: dict[str, Any] = {"fps": CONTROL_HZ, "robot_type": "panda"}
"""Arguments of LabelledDatasetWriter that every dataset of LIBERO shares."""
LARGEST_IMAGE = 1024
"""In pixels."""
GroundingOverrides = Mapping[str, Mapping[str, Sequence[str]]]
"""instruction → mention → name(s) of the scene."""


def check_cameras(cameras: Sequence[str]) -> tuple[str, ...]:
    """Return `cameras` as a tuple. Raises InspireError for an unknown one."""
    unknown = [camera for camera in cameras if camera not in CAMERAS]
    if unknown:
        raise InspireError(f"unknown camera {unknown[0]!r}.{did_you_mean(unknown[0], CAMERAS)}")
    return tuple(cameras)


def make_demonstration(
    rows: Sequence[Mapping[str, Any]],
    actions: np.ndarray,
    truth: GroundTruth,
    task: str,
    cameras: Sequence[str],
    **more: Any,
) -> Demonstration:
    """Make a demonstration of T rows of `observe` and the action (T, 7) that followed each."""
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


def label_info(
    task_files: Sequence[str | Path],
    mapping: GroundingOverrides,
    modes: Sequence[str],
    frame: str | Frame,
    rule: ModeRule,
    extra: Mapping[str, Any],
) -> LabelInfo:
    """Describe the labels of these tasks. Raises InspireError without tasks, or for a mention that matches nothing."""
    tasks: dict[str, tuple[str, ...]] = {}
    for path in dict.fromkeys(map(str, task_files)):
        instruction = instruction_of(path)
        if instruction not in tasks:
            found = ground(read_problem(Path(path)), instruction, overrides=mapping.get(instruction))
            tasks[instruction] = tuple(found)
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
