"""Whether the labels of a dataset are answers to what a policy will ask, and the labels themselves."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int

from inspire_vla.instruction import NoObjectFound, find_mentions
from inspire_vla.labels.columns import (
    LabelInfo,
    LabelMismatch,
    LabelsMissing,
    ModeRule,
    answer_column,
    check_compatible,
    read_labels,
)
from inspire_vla.labels.lerobot_files import LeRobotFiles, Rows, read_rows
from inspire_vla.lerobot_plugin.configuration_inspire_vla import ReasoningConfig


def check_labels(root: str | Path, reasoning: ReasoningConfig) -> None:
    """Check before a training that a dataset's labels are answers to what will be asked; say which frames lack one.

    Raises:
        LabelsMissing: none at all.
        LabelMismatch: labels of another frame, mode or rule, or about other objects.
    """
    labels, files = read_labels(root), LeRobotFiles.open(root)
    rule = ModeRule(reasoning.close_threshold_m, reasoning.grasped_word)
    check_compatible(labels, frame=reasoning.frame, mode=reasoning.mode, rule=rule)
    check_mentions(labels, files.tasks.values(), reasoning.max_objects)
    count_unlabelled(labels, files, reasoning.mode, reasoning.max_objects)


def check_mentions(labels: LabelInfo, instructions: Iterable[str], max_objects: int) -> None:
    """Check that the labels of every instruction are about the objects that the policy asks about, in its order.

    A policy finds the objects in the instruction whenever it acts; labels about others (`inspire label --mentions`, or
    an instruction that was read otherwise when it was labelled) would teach it answers to another question.

    Args:
        labels: what the dataset says of its labels.
        instructions: the dataset's. Those without labels, or without an object, are not looked at.
        max_objects: so many objects are asked about at most.

    Raises:
        LabelMismatch: naming both, and what can be done.
    """
    for instruction in instructions:
        labelled = labels.tasks.get(instruction)
        if labelled is None:
            continue
        try:
            asked = find_mentions(instruction)
        except NoObjectFound:
            asked = ()
        if labelled[:max_objects] == asked[:max_objects]:
            continue
        agreed = next(n for n in range(max_objects) if labelled[n : n + 1] != asked[n : n + 1])
        fewer = f"ask about fewer objects (--policy.reasoning.max_objects={agreed}), " if agreed else ""
        raise LabelMismatch(
            f"In {instruction!r} the policy asks about {list(asked[:max_objects])}, but the dataset's labels are about "
            f"{list(labelled[:max_objects])}. Label the dataset again without --mentions, {fewer}or train the base "
            "model with --policy.reasoning.enabled=false."
        )


def count_unlabelled(labels: LabelInfo, files: LeRobotFiles, mode: str, max_objects: int) -> dict[str, int]:
    """Frames that lack a label of an object that is asked about, by instruction; a warning says them.

    Raises:
        LabelsMissing: no frame has all its labels.
        LabelMismatch: labels of an instruction of which `labels` says nothing.
    """
    frames, lacking = dict.fromkeys(files.tasks, 0), dict.fromkeys(files.tasks, 0)
    for rows, codes in stored_answers(files, mode):
        for task in np.unique(rows.task_index).tolist():
            own = codes[rows.task_index == task]
            asked = len(labels.tasks.get(files.tasks[task], ())[:max_objects])
            if not asked and (own >= 0).any():
                raise LabelMismatch(
                    f"{files.root} does not say what its labels in {files.tasks[task]!r} are about."
                )
            frames[task] += len(own)
            lacking[task] += int((own[:, :asked] < 0).any(axis=1).sum()) if asked else len(own)
    found = {files.tasks[task]: count for task, count in lacking.items() if count}
    missing, total = sum(found.values()), sum(frames.values())
    said = ", ".join(f"{lacking[t]} of {frames[t]} in {files.tasks[t]!r}" for t in frames if lacking[t])
    if missing == total:
        raise LabelsMissing(
            f"No frame of {files.root} has a label in mode {mode!r} for each object it is asked about: {said}. Label "
            "it again, or train the base model with --policy.reasoning.enabled=false."
        )
    if missing:
        logging.warning(f"{missing} of {total} frames lack a label and are left out of the training: {said}.")
    return found


def stored_answers(
    files: LeRobotFiles, mode: str
) -> Iterator[tuple[Rows, Int[np.ndarray, "frames max_objects"]]]:
    """The rows of each data file and the codes of their answers. A column for one object is stored as plain numbers."""
    column = answer_column(mode)
    for path in files.data_files():
        rows = read_rows(path, (column,))
        yield rows, rows.columns[column].reshape(len(rows.task_index), -1).astype(np.int64)
