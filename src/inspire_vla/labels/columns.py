"""The label columns of a LeRobot dataset, and the file that says what their codes mean.

    meta/inspire_labels.json
    {
      "version": 1,
      "labeller": "simulator_state",
      "frame": {"name": "robot", "x": ["back", "front"], "y": ["right", "left"], "z": ["down", "up"]},
      "max_objects": 4,
      "modes": {"direction": {"close_threshold_m": null, "grasped_word": true, "answers": ["right", …]}},
      "tasks": {"put the red cube on the plate": ["the red cube", "the plate"]}
    }

The file may come from anywhere: it is checked whole before anything of it is used.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.spatial import FRAMES, MODES, Frame, canonical_answers, get_frame

LABELS_FILE = "meta/inspire_labels.json"
ANSWERS_PREFIX = "observation.answers."
OFFSET_COLUMN, GRASPED_COLUMN = "privileged.gripper_to_object_m", "privileged.grasped"
"""The truth that labels are made from, where a simulator gave it: float32 (3·max_objects,) metres in the robot's base
frame, int16 (max_objects,), both zero beyond the objects of the instruction. LeRobot hands neither to a policy."""
UNKNOWN_PLACE = -1
"""Stands in GRASPED_COLUMN where an object's place is not known; the offset there is zero and means nothing."""
VERSION = 1
LARGEST_FILE = 64 * 1024 * 1024  # bytes; a hundred thousand tasks take a tenth of it


class LabelsMissing(InspireError):
    """A dataset without labels where a run needs them."""


class LabelMismatch(InspireError):
    """Labels of a dataset that mean something else than the policy's answers."""


@dataclass(frozen=True)
class ModeRule:
    """How one mode was labelled. `answers`: the words of the codes, `canonical_answers` of the mode."""

    close_threshold_m: float | None = None
    grasped_word: bool = True


@dataclass(frozen=True)
class LabelInfo:
    """What the label columns of a dataset mean.

    Raises:
        InspireError: an unknown mode or frame, more mentions than columns, a threshold that is no distance.
    """

    frame: Frame
    modes: Mapping[str, ModeRule]
    tasks: Mapping[str, tuple[str, ...]]
    max_objects: int
    labeller: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Anything else a labeller wants to keep, JSON values."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", get_frame(self.frame))
        builtin = FRAMES.get(self.frame.name)
        if builtin is not None and builtin != self.frame:
            raise InspireError(
                f"Frame {self.frame.name!r} is built in with other words: {builtin}, not {self.frame}."
            )
        if (
            isinstance(self.max_objects, bool)
            or not isinstance(self.max_objects, int)
            or self.max_objects < 1
        ):
            raise InspireError(
                f"max_objects must be a whole number of at least 1, found {self.max_objects!r}."
            )
        if not self.modes:
            raise InspireError(f"Labels need at least one mode. Possible: {list(MODES)}.")
        for mode, rule in self.modes.items():
            if mode not in MODES:
                raise InspireError(f"Unknown reasoning mode {mode!r}.{did_you_mean(str(mode), MODES)}")
            threshold = rule.close_threshold_m
            if threshold is not None and not 0 <= threshold < math.inf:
                raise InspireError(
                    f"close_threshold_m of mode {mode!r} must be a distance or none, found {threshold}."
                )
        for instruction, mentions in self.tasks.items():
            if not mentions or len(mentions) > self.max_objects:
                raise InspireError(
                    f"Task {instruction!r} has {len(mentions)} mentions; its labels hold 1 to {self.max_objects}."
                )

    def columns(self) -> dict[str, str]:
        """mode → column name."""
        return {mode: answer_column(mode) for mode in self.modes}

    def to_json(self) -> dict[str, Any]:
        """The value of the file drawn above."""
        frame = {"name": self.frame.name} | {axis: list(getattr(self.frame, axis)) for axis in "xyz"}
        modes = {
            mode: {
                "close_threshold_m": rule.close_threshold_m,
                "grasped_word": rule.grasped_word,
                "answers": list(canonical_answers(mode)),
            }
            for mode, rule in self.modes.items()
        }
        tasks = {instruction: list(mentions) for instruction, mentions in self.tasks.items()}
        record = {
            "version": VERSION,
            "labeller": self.labeller,
            "frame": frame,
            "max_objects": self.max_objects,
        }
        return record | {"modes": modes, "tasks": tasks} | ({"extra": dict(self.extra)} if self.extra else {})

    @classmethod
    def from_json(cls, record: Any, where: str = "the labels") -> "LabelInfo":
        """Read and check what `to_json` made. Raises InspireError that begins with `where`."""
        try:
            return _parsed(record)
        except InspireError as error:
            raise InspireError(f"{where}: {error}") from None


def answer_column(mode: str) -> str:
    """`observation.answers.<mode>`. Raises InspireError for an unknown mode."""
    if mode not in MODES:
        raise InspireError(f"Unknown reasoning mode {mode!r}.{did_you_mean(str(mode), MODES)}")
    return ANSWERS_PREFIX + mode


def answer_feature(max_objects: int) -> dict[str, Any]:
    """The feature specification LeRobotDataset.create takes for an answer column."""
    return {"dtype": "int16", "shape": (max_objects,), "names": [f"object_{i}" for i in range(max_objects)]}


def write_labels(dataset_root: str | Path, info: LabelInfo) -> Path:
    """Write `meta/inspire_labels.json`, whole or not at all. Returns its path."""
    path = Path(dataset_root) / LABELS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(
            json.dumps(info.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def has_labels(dataset_root: str | Path) -> bool:
    """Whether the dataset says it is labelled."""
    return (Path(dataset_root) / LABELS_FILE).is_file()


def read_labels(dataset_root: str | Path) -> LabelInfo:
    """What the label columns of the dataset mean, checked.

    Raises:
        LabelsMissing: the dataset has no labels.
        InspireError: the file is not what `write_labels` writes.
    """
    path = Path(dataset_root) / LABELS_FILE
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InspireError(f"{path} is larger than {LARGEST_FILE} bytes: no file of labels.")
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise LabelsMissing(
            f"The dataset {dataset_root} has no direction labels ({LABELS_FILE} is missing). `inspire collect` "
            "writes them, `inspire label` adds them; without labels only a base model "
            "(reasoning.enabled=false) can be trained."
        ) from None
    except InspireError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InspireError(f"{path} cannot be read as JSON: {error}.") from None
    return LabelInfo.from_json(record, str(path))


def check_compatible(
    labels: LabelInfo,
    *,
    frame: str | Frame = "robot",
    mode: str = "direction",
    rule: ModeRule | None = None,
) -> ModeRule:
    """Check that the labels of a dataset are the answers a policy gives; return how the mode was labelled.

    Args:
        labels: the dataset's.
        frame, mode, rule: the policy's; without a rule none is compared.

    Raises:
        LabelMismatch: naming both sides.
    """
    wanted = get_frame(frame)
    if wanted.axes != labels.frame.axes:
        raise LabelMismatch(
            f"The dataset's labels are in frame {labels.frame.name!r} ({_words(labels.frame)}), "
            f"the policy answers in frame {wanted.name!r} ({_words(wanted)}): mixing them swaps words. "
            f"Set the policy's frame to {labels.frame.name!r}, or label the dataset again."
        )
    if mode not in labels.modes:
        answer_column(mode)
        raise LabelMismatch(
            f"The dataset is labelled in modes {sorted(labels.modes)}, the policy reasons in mode {mode!r}. "
            "Set the policy's mode to one of them, or label the dataset in that mode too."
        )
    own = labels.modes[mode]
    if rule is not None and rule.grasped_word != own.grasped_word:
        says = {True: "says", False: "never says"}
        raise LabelMismatch(
            f"The dataset {says[own.grasped_word]} 'grasped' in mode {mode!r}, the policy {says[rule.grasped_word]} it."
        )
    if rule is not None and rule.close_threshold_m != own.close_threshold_m:
        raise LabelMismatch(
            f"The dataset's threshold of 'close' in mode {mode!r} is {own.close_threshold_m} m, the policy's "
            f"{rule.close_threshold_m} m (None: the mode's own). Set close_threshold_m to its, or label it again."
        )
    return own


def _words(frame: Frame) -> str:
    return ", ".join(f"+{axis} {getattr(frame, axis)[1]}" for axis in "xyz")


def _parsed(record: Any) -> LabelInfo:
    top = _mapping(record, "the file")
    if top.get("version") != VERSION:
        raise InspireError(f"version {top.get('version')!r} is unknown; this release reads {VERSION}.")
    frame = _mapping(top.get("frame"), "'frame'")
    axes = [_texts(frame.get(axis), f"axis {axis!r} of the frame") for axis in "xyz"]
    if any(len(words) != 2 for words in axes):
        raise InspireError(f"each axis of the frame has two words, found {axes}.")
    x, y, z = ((words[0], words[1]) for words in axes)
    modes = {}
    for mode, entry in _mapping(top.get("modes"), "'modes'").items():
        rule = _mapping(entry, f"mode {mode!r}")
        threshold, grasped_word = rule.get("close_threshold_m"), rule.get("grasped_word")
        if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, (int, float))):
            raise InspireError(
                f"close_threshold_m of mode {mode!r} must be a number or null, found {threshold!r}."
            )
        if not isinstance(grasped_word, bool):
            raise InspireError(
                f"grasped_word of mode {mode!r} must be true or false, found {grasped_word!r}."
            )
        answers = _texts(rule.get("answers"), f"'answers' of mode {mode!r}")
        if mode in MODES and tuple(answers) != canonical_answers(mode):
            raise InspireError(
                f"the codes of mode {mode!r} stand for {answers[:9]}, here {canonical_answers(mode)[:9]}."
            )
        modes[mode] = ModeRule(None if threshold is None else float(threshold), grasped_word)
    tasks = _mapping(top.get("tasks"), "'tasks'")
    return LabelInfo(
        frame=Frame(_text(frame.get("name"), "the frame's name"), x, y, z),
        modes=modes,
        tasks={
            instruction: tuple(_texts(found, f"task {instruction!r}")) for instruction, found in tasks.items()
        },
        max_objects=top.get("max_objects"),  # type: ignore[arg-type]  # checked by LabelInfo
        labeller=_text(top.get("labeller"), "'labeller'"),
        extra=_mapping(top.get("extra", {}), "'extra'"),
    )


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InspireError(f"{what} must be a JSON object, found {type(value).__name__}.")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise InspireError(f"{what} must be a text, found {value!r}.")
    return value


def _texts(value: Any, what: str) -> list[str]:
    if not isinstance(value, list):
        raise InspireError(f"{what} must be a list of texts, found {value!r}.")
    return [_text(item, what) for item in value]
