"""The label columns of a LeRobot dataset, and the file that says what their codes mean.

    meta/inspire_labels.json
    {
      "version": 1,
      "labeller": "simulator_state",
      "frame": {"name": "robot", "x": ["back", "front"], "y": ["right", "left"], "z": ["down", "up"]},
      "max_objects": 4,
      "modes": {"direction": {"close_threshold_m": null, "grasped_word": true, "answers": ["right", …]}},
      "tasks": {"put the red cube on the plate": ["the red cube", "the plate"]},
      "frames_sha256": {"put the red cube on the plate": "5d41…"},
      "overrides": {"räum auf": [{"mention": "the cup", "role": "carried"}]}
    }

`overrides`: the mentions that a person has given, see `instruction.overrides`. Training stores them in the checkpoint.

The file may come from anywhere, so the whole file is checked before anything is used.
"""

import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from inspire_vla.errors import InspireError, counted, did_you_mean, possible
from inspire_vla.files import read_json, write_json
from inspire_vla.instruction import (
    OverrideRecords,
    Overrides,
    mentions_of,
    overrides_of_records,
    overrides_to_json,
)
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.spatial import FRAMES, MODES, Frame, canonical_answers, get_frame

LABELS_FILE = "meta/inspire_labels.json"
ANSWERS_PREFIX = "observation.answers."
OFFSET_COLUMN, GRASPED_COLUMN = "privileged.gripper_to_object_m", "privileged.grasped"
"""A simulator's state, from which labels are made: float32 (3·max_objects,) metres in the robot's base frame, and int16
(max_objects,). Both are zero beyond the objects of the instruction. LeRobot gives neither to a policy."""
CONFIDENCE_COLUMN = "labels.confidence"
"""uint8 (max_objects,): confidence in hundredths, 0 where the labeller gave none. All data files have it, or none.
LeRobot gives it to no policy."""
UNKNOWN_PLACE = -1
"""Value in GRASPED_COLUMN where an object's position is unknown; its offset there is zero and has no meaning."""
VERSION = 1


class LabelsMissing(InspireError):
    """A dataset has no labels, but the run needs them."""


class LabelMismatch(InspireError):
    """A dataset's labels mean something else than the policy's answers."""


@dataclass(frozen=True)
class ModeRule:
    """How one mode is labelled. close_threshold_m: below it the answer is `close`; None is the mode's own threshold.
    grasped_word: whether `grasped` is an answer.

    Raises InspireError for a threshold that is no distance.
    """

    close_threshold_m: float | None = None
    grasped_word: bool = True

    def __post_init__(self) -> None:
        threshold = self.close_threshold_m
        if threshold is not None and not 0 <= threshold < math.inf:
            raise InspireError(
                f"The threshold of `close` is a distance of at least 0 m, or none; found {threshold}."
            )


@dataclass(frozen=True)
class LabelInfo:
    """What the label columns of a dataset mean.

    tasks: instruction → mentions. overrides: instruction → mentions that a person has given in place of the parser's;
    none where nothing is to be asked. frames_sha256: instruction → digest of its frames when they were labelled;
    `write_labels` sets it. extra: anything else that a labeller stores, as JSON values.

    Raises:
        InspireError: an unknown mode or frame, more mentions than columns, or a threshold that is no distance.
    """

    frame: Frame
    modes: Mapping[str, ModeRule]
    tasks: Mapping[str, tuple[str, ...]]
    max_objects: int
    labeller: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    frames_sha256: Mapping[str, str] = field(default_factory=dict)
    overrides: Overrides = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", get_frame(self.frame))
        builtin = FRAMES.get(self.frame.name)
        if builtin is not None and builtin != self.frame:
            raise InspireError(
                f"Frame {self.frame.name!r} is built in with other words: {builtin}, not {self.frame}."
            )
        if self.max_objects < 1:
            raise InspireError(f"max_objects must be at least 1, found {self.max_objects}.")
        if not self.modes:
            raise InspireError(f"Labels need at least one mode.{possible(MODES)}")
        for mode in self.modes:
            answer_column(mode)  # raises for an unknown mode
        for instruction, roles in self.overrides.items():
            if mentions_of(roles) != self.tasks.get(instruction, ()):
                raise InspireError(
                    f"Task {instruction!r} has labels of {list(self.tasks.get(instruction, ()))}, but its override "
                    f"names {list(mentions_of(roles))}."
                )
        for instruction, mentions in self.tasks.items():
            if not mentions or len(mentions) > self.max_objects:
                raise InspireError(
                    f"Task {instruction!r} has {len(mentions)} mentions; 1 to max_objects = {self.max_objects} are "
                    "possible."
                )

    def columns(self) -> dict[str, str]:
        """mode → column name."""
        return {mode: answer_column(mode) for mode in self.modes}

    def to_json(self) -> dict[str, Any]:
        """The content of the file drawn above."""
        modes = {
            mode: asdict(rule) | {"answers": list(canonical_answers(mode))}
            for mode, rule in self.modes.items()
        }
        record = {
            "version": VERSION,
            "labeller": self.labeller,
            "frame": {"name": self.frame.name} | {axis: list(getattr(self.frame, axis)) for axis in "xyz"},
            "max_objects": self.max_objects,
            "modes": modes,
            "tasks": {instruction: list(mentions) for instruction, mentions in self.tasks.items()},
            "frames_sha256": dict(self.frames_sha256),
        }
        record |= {"overrides": overrides_to_json(self.overrides)} if self.overrides else {}
        return record | ({"extra": dict(self.extra)} if self.extra else {})


_Text = Annotated[str, Field(min_length=1)]
_Pair = tuple[_Text, _Text]


@dataclass
class _FrameRecord:
    name: _Text
    x: _Pair
    y: _Pair
    z: _Pair


@dataclass
class _ModeRecord:
    close_threshold_m: float | None
    grasped_word: bool
    answers: tuple[_Text, ...]


@dataclass
class _LabelsRecord:
    """The schema of `LABELS_FILE`."""

    __pydantic_config__ = ConfigDict(strict=True)
    version: Literal[1]
    labeller: _Text
    frame: _FrameRecord
    max_objects: int
    modes: dict[str, _ModeRecord]
    tasks: dict[str, tuple[_Text, ...]]
    extra: dict[str, Any] = field(default_factory=dict)
    frames_sha256: dict[str, str] = field(default_factory=dict)
    overrides: OverrideRecords = field(default_factory=dict)

    def info(self) -> LabelInfo:
        for mode, record in self.modes.items():
            if mode in MODES and record.answers != canonical_answers(mode):
                raise InspireError(
                    f"the labels in mode {mode!r} are codes of {list(record.answers[:9])}, and this version's codes "
                    f"are of {list(canonical_answers(mode)[:9])}. Label the dataset again."
                )
        return LabelInfo(
            frame=Frame(**vars(self.frame)),
            modes={
                name: ModeRule(mode.close_threshold_m, mode.grasped_word) for name, mode in self.modes.items()
            },
            tasks=self.tasks,
            max_objects=self.max_objects,
            labeller=self.labeller,
            extra=self.extra,
            frames_sha256=self.frames_sha256,
            overrides=overrides_of_records(self.overrides),
        )


def answer_column(mode: str) -> str:
    """`observation.answers.<mode>`. Raises InspireError for an unknown mode."""
    if mode not in MODES:
        raise InspireError(f"Unknown reasoning mode {mode!r}.{did_you_mean(str(mode), MODES)}")
    return ANSWERS_PREFIX + mode


def answer_feature(max_objects: int) -> dict[str, Any]:
    """The feature of an answer column, as `LeRobotDataset.create` takes it."""
    return {"dtype": "int16", "shape": (max_objects,), "names": [f"object_{i}" for i in range(max_objects)]}


def write_labels(dataset_root: str | Path, info: LabelInfo) -> Path:
    """Write `meta/inspire_labels.json` atomically and return its path.

    The labels are bound to the instructions that the dataset's frames have now.
    """
    path = Path(dataset_root) / LABELS_FILE
    if (Path(dataset_root) / "meta/info.json").is_file():
        info = replace(info, frames_sha256=LeRobotFiles.open(dataset_root).frames_by_instruction())
    write_json(path, info.to_json(), indent=2)
    return path


def has_labels(dataset_root: str | Path) -> bool:
    """Whether the dataset has label columns."""
    return (Path(dataset_root) / LABELS_FILE).is_file()


def read_labels(dataset_root: str | Path) -> LabelInfo:
    """Read what the label columns of the dataset mean.

    Raises:
        LabelsMissing: the dataset has no labels.
        InspireError: the file is not what `write_labels` writes.
    """
    path = Path(dataset_root) / LABELS_FILE
    if not Path(dataset_root).is_dir():
        raise InspireError(f"There is no dataset {dataset_root}: no such folder.")
    if not path.is_file():
        raise LabelsMissing(
            f"The dataset {dataset_root} has no direction labels ({LABELS_FILE} is missing). `inspire collect` "
            "writes them, `inspire label` adds them; without labels only a base model can be trained "
            "(inspire train --no-reasoning, or --policy.reasoning.enabled=false)."
        )
    record = read_json(path, _LabelsRecord)
    try:
        return record.info()
    except InspireError as error:
        raise InspireError(f"{path}: {error}") from None


def read_labelled(dataset_root: str | Path) -> tuple[LabelInfo, LeRobotFiles]:
    """Read what the labels of a dataset mean, and check that its frames still have the instructions they had.

    `lerobot-edit-dataset` modifies instructions in place and renumbers episodes. The answers stay as they were, and
    would be read as answers about the objects of another instruction.

    Raises:
        LabelsMissing: the dataset has no labels.
        LabelMismatch: instructions were modified or episodes renumbered; the message says what to run.
        InspireError: a file is damaged or missing.
    """
    labels, files = read_labels(dataset_root), LeRobotFiles.open(dataset_root)
    changed = changed_instructions(labels, files)
    if not changed:
        return labels, files
    labeller = {"from_demonstration": "", "simulator_state": " --labeller truth"}.get(
        labels.labeller, " with the --labeller it had"
    )
    why = (
        f"modified or renumbered since it was labelled: {changed[0][:100]!r}"
        + (f" and {counted(len(changed) - 1, 'more instruction')}" if len(changed) > 1 else "")
        if labels.frames_sha256
        else "labelled by a version that did not record for which instructions"
    )
    raise LabelMismatch(
        f"The labels of {dataset_root} cannot be trusted: it was {why}. Label it again: inspire label "
        f"{shlex.quote(str(dataset_root))} --in-place{labeller}"
    )


def changed_instructions(labels: LabelInfo, files: LeRobotFiles) -> list[str]:
    """The instructions whose frames are not those that were labelled."""
    then, now = labels.frames_sha256, files.frames_by_instruction()
    return [text for text in dict.fromkeys([*now, *then]) if then.get(text) != now.get(text)]


def check_compatible(labels: LabelInfo, *, frame: str | Frame, mode: str, rule: ModeRule) -> None:
    """Check that a dataset's labels are the answers that a policy of this frame, mode and rule gives.

    Raises:
        LabelMismatch: they differ; the message names both.
    """
    policy_frame = get_frame(frame)
    if policy_frame.axes != labels.frame.axes:
        raise LabelMismatch(
            f"The dataset's labels are in frame {labels.frame.name!r} ({_words(labels.frame)}), "
            f"the policy answers in frame {policy_frame.name!r} ({_words(policy_frame)}): mixing them swaps words. "
            f"Train with --policy.reasoning.frame={labels.frame.name}, or label the dataset again with --frame "
            f"{policy_frame.name}."
        )
    if mode not in labels.modes:
        answer_column(mode)  # raises for an unknown mode
        raise LabelMismatch(
            f"The dataset is labelled in modes {sorted(labels.modes)}, the policy reasons in mode {mode!r}. "
            f"Train with --policy.reasoning.mode={min(labels.modes)}, or label the dataset again with --modes {mode}."
        )
    stored = labels.modes[mode]
    if rule.grasped_word != stored.grasped_word:
        says = {True: "says", False: "never says"}
        raise LabelMismatch(
            f"The dataset {says[stored.grasped_word]} 'grasped' in mode {mode!r}, the policy "
            f"{says[rule.grasped_word]} it. Train with --policy.reasoning.grasped_word="
            f"{str(stored.grasped_word).lower()}, or label the dataset again "
            f"{'without' if rule.grasped_word else 'with'} --no-grasped."
        )
    if rule.close_threshold_m != stored.close_threshold_m:
        raise LabelMismatch(
            f"The dataset's threshold of 'close' in mode {mode!r} is {stored.close_threshold_m} m, the policy's "
            f"{rule.close_threshold_m} m (None: the mode's own). Train with the dataset's, "
            "--policy.reasoning.close_threshold_m, or label the dataset again with the policy's, --close-m."
        )


def _words(frame: Frame) -> str:
    return ", ".join(f"+{axis} {getattr(frame, axis)[1]}" for axis in "xyz")
