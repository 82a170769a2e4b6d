"""What `inspire label` finds in a dataset before it labels: the objects to ask about, and a calibrated labeller."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inspire_vla.dialogue import ASKED_OBJECTS
from inspire_vla.errors import InspireError, counted
from inspire_vla.instruction import (
    NoObjectFound,
    Overrides,
    UnclearInstruction,
    find_mentions,
    mentions_of,
    read_instruction,
)
from inspire_vla.labels.labeller import Labeller, Recording
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.video_defects import check_videos

_CALIBRATION_FILES = 8
_INSTRUCTIONS_SHOWN = 20


@dataclass(frozen=True)
class LabelPlan:
    """What `inspire label` has found in a dataset before it labels: see `plan_labels`.

    labeller: calibrated. tasks: instruction → mentions. without: instructions that name no object.
    """

    files: LeRobotFiles
    labeller: Labeller
    tasks: dict[str, tuple[str, ...]]
    without: tuple[str, ...]
    overrides: Overrides

    @property
    def most_objects(self) -> int:
        """The most mentions of any instruction."""
        return max(map(len, self.tasks.values()))

    def check(self, max_objects: int | None, *, language: bool) -> None:
        """Raise InspireError where an instruction has more mentions than the columns, or the language column, hold."""
        if max_objects is not None and self.most_objects > max_objects:
            text, mentions = max(self.tasks.items(), key=lambda task: len(task[1]))
            raise InspireError(
                f"{text!r} names {counted(len(mentions), 'object')}, {list(mentions)}; --max-objects {max_objects} is "
                "too small. Give a larger number, or fewer objects with --mentions."
            )
        if language and self.most_objects > ASKED_OBJECTS:
            raise InspireError(
                f"an instruction names {self.most_objects} objects, and LeRobot's language column takes "
                f"{ASKED_OBJECTS}: give fewer with --mentions, or leave --language-column out."
            )

    def __str__(self) -> str:
        robot = self.files.info.get("robot_type")
        lines = [f"Found in {self.files.root}" + (f", robot type {robot}:" if robot else ":")]
        lines += [str(finding) for finding in getattr(self.labeller, "findings", ())]
        for text, mentions in list(self.tasks.items())[:_INSTRUCTIONS_SHOWN]:
            lines.append(f"  {text!r}: {self._roles(text, mentions)}  (else --mentions)")
            lines += [] if text in self.overrides else [f"    doubt: {doubt}" for doubt in _doubts(text)]
        more = len(self.tasks) - _INSTRUCTIONS_SHOWN
        lines += (
            [f"  … and {counted(more, 'more instruction')}: inspire mentions {self.files.root}"]
            if more > 0
            else []
        )
        return "\n".join(lines)

    def _roles(self, text: str, mentions: tuple[str, ...]) -> str:
        given = self.overrides.get(text)
        try:
            roles = given or read_instruction(text).roles
        except NoObjectFound:
            roles = ()
        names = {item.mention: item.role or "" for item in roles}
        return ", ".join(f"{mention} {names.get(mention, '')}".rstrip() for mention in mentions)


def _doubts(instruction: str) -> tuple[str, ...]:
    """What a person should check about the objects of an instruction."""
    try:
        return read_instruction(instruction).doubts
    except NoObjectFound:  # the labeller has mentions of its own
        return ()


def plan_labels(files: LeRobotFiles, labeller: Labeller, given: Overrides) -> LabelPlan:
    """Find out what is needed to label a dataset: mentions, and for some labellers columns and the gripper's sign.

    Raises:
        InspireError: a video is truncated, an instruction cannot be read with certainty, none names an object, or an
            error of the labeller.
    """
    if hasattr(labeller, "with_dataset"):
        labeller = labeller.with_dataset(files.root)
    overrides = {text: given[text] for text in files.tasks.values() if text in given}
    tasks, without = _find_mentions(files, getattr(labeller, "mentions", None) or {}, overrides)
    if not tasks:
        raise InspireError(
            f"no instruction of {files.root} names an object: "
            f"{[text[:60] for text in files.tasks.values()][:3]} … Name the objects in a file: --mentions."
        )
    columns = labeller.columns(files.number_columns())
    files.check_order()  # reads every frame's number; the videos take longer still
    check_videos(files)
    if hasattr(labeller, "calibrate"):
        labeller = labeller.calibrate(_read_recording(files, columns, tasks, overrides))
    return LabelPlan(files, labeller, tasks, tuple(without), overrides)


def _read_recording(
    files: LeRobotFiles, columns: tuple[str, ...], mentions: Mapping[str, tuple[str, ...]], roles: Overrides
) -> Recording:
    """Read these columns of up to eight data files, spread over the dataset."""
    paths = files.data_files()
    chosen = sorted({round(i) for i in np.linspace(0, len(paths) - 1, _CALIBRATION_FILES)})
    parts = [files.read(paths[i], columns) for i in chosen]
    offsets = np.cumsum([0] + [len(part.episode_index) for part in parts[:-1]])
    return Recording(
        columns={name: np.concatenate([part.columns[name] for part in parts]) for name in columns},
        starts=np.concatenate([part.starts() + offset for part, offset in zip(parts, offsets, strict=True)]),
        names=files.names(),
        instructions=tuple(
            tuple(files.tasks.get(int(task), "") for task in dict.fromkeys(part.task_index[span].tolist()))
            for part in parts
            for span in part.episodes()
        ),
        mentions=mentions,
        roles=roles,
        robot_type=str(files.info.get("robot_type") or ""),
        fps=float(files.info["fps"]),
    )


def _find_mentions(
    files: LeRobotFiles, known: Mapping[str, Sequence[str]], overrides: Overrides
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return instruction → mentions, and the instructions in which nothing is asked.

    Raises:
        InspireError: instructions that cannot be read with certainty.
    """
    tasks: dict[str, tuple[str, ...]] = {}
    without, unclear = [], []
    for instruction in files.tasks.values():
        try:
            if instruction in overrides:
                mentions = mentions_of(overrides[instruction])
            else:
                mentions = tuple(known.get(instruction) or find_mentions(instruction))
        except UnclearInstruction as error:
            unclear.append(str(error))
            continue
        except NoObjectFound:
            mentions = ()
        if mentions:
            tasks[instruction] = mentions
        else:
            without.append(instruction)
    if unclear:
        raise InspireError(
            f"{len(unclear)} of {counted(len(files.tasks), 'instruction')} cannot be read with certainty: "
            f"{unclear[0]} An empty list leaves an instruction out. `inspire mentions "
            f"{shlex.quote(str(files.root))}` shows all."
        )
    return tasks, without
