"""Whether a dataset's labels answer what a policy asks, and in how many frames."""

import logging
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int

from inspire_vla.errors import InspireError, counted
from inspire_vla.instruction import NoObjectFound, find_mentions
from inspire_vla.labels.columns import (
    LabelInfo,
    LabelMismatch,
    LabelsMissing,
    ModeRule,
    answer_column,
    check_compatible,
    read_labelled,
)
from inspire_vla.labels.lerobot_files import LeRobotFiles, Rows
from inspire_vla.lerobot_plugin.option_groups import ReasoningConfig
from inspire_vla.spatial import canonical_answers, decode_answers


def check_labels(root: str | Path, reasoning: ReasoningConfig) -> None:
    """Check that a dataset's labels answer what the policy asks; log which frames lack one.

    Raises:
        LabelsMissing: there are none at all.
        LabelMismatch: labels of another frame, mode or rule, about other objects, or made for other instructions.
    """
    labels, files = read_labelled(root)
    rule = ModeRule(reasoning.close_threshold_m, reasoning.grasped_word)
    check_compatible(labels, frame=reasoning.frame, mode=reasoning.mode, rule=rule)
    check_mentions(labels, files.tasks.values(), reasoning.max_objects)
    count_unlabelled(labels, files, reasoning.mode, reasoning.max_objects)


def count_without_instruction(files: LeRobotFiles) -> int:
    """Number of frames whose instruction is empty. Every training leaves them out; a warning says how many they are.

    Raises:
        InspireError: no frame has an instruction.
    """
    empty, total = 0, 0
    for path in files.data_files():
        tasks, counts = np.unique(files.read(path, ()).task_index, return_counts=True)
        total += int(counts.sum())
        empty += sum(
            n
            for task, n in zip(tasks.tolist(), counts.tolist(), strict=True)
            if not files.instruction(task).strip()
        )
    if empty == total:
        raise InspireError(
            f"No frame of {files.root} has an instruction: meta/tasks.parquet holds empty texts only."
        )
    if empty:
        logging.warning(
            f"Left out of the training, because their instruction is empty: {empty} of {counted(total, 'frame')}."
        )
    return empty


def check_mentions(labels: LabelInfo, instructions: Iterable[str], max_objects: int) -> None:
    """Check that the labels of every instruction are about the objects that the policy asks about, in its order.

    A policy finds the objects in the instruction whenever it acts. Those that a person has given (`inspire label
    --mentions`) are stored with the labels, and training stores them in the checkpoint. Labels about others (an
    instruction that was read in another way) would teach it answers to other questions.

    Args:
        labels: what the dataset says of its labels.
        instructions: the dataset's. Those without labels or without an object are skipped.
        max_objects: the most objects that are asked about. A warning tells of an instruction that names more.

    Raises:
        LabelMismatch: names both, and what can be done.
    """
    longest: tuple[str, ...] = ()
    for instruction in instructions:
        labelled = labels.tasks.get(instruction)
        if labelled is None:
            continue
        try:
            asked = find_mentions(instruction, labels.overrides)
        except NoObjectFound:
            asked = ()
        longest = max(longest, asked, key=len)
        if labelled[:max_objects] == asked[:max_objects]:
            continue
        agreed = next(n for n in range(max_objects) if labelled[n : n + 1] != asked[n : n + 1])
        fewer = f"ask about fewer objects (--policy.reasoning.max_objects={agreed}), " if agreed else ""
        raise LabelMismatch(
            f"In {instruction!r} the policy asks about {list(asked[:max_objects])}, but the dataset's labels are about "
            f"{list(labelled[:max_objects])}. Label the dataset again, with --mentions FILE for other objects than "
            f"the policy's, {fewer}or train the base model with --policy.reasoning.enabled=false."
        )
    if len(longest) > max_objects:
        logging.warning(
            f"An instruction names {len(longest)} objects, {list(longest)}, and the policy is asked about the first "
            f"{max_objects} only. --policy.reasoning.max_objects={len(longest)} asks about all."
        )


def count_unlabelled(labels: LabelInfo, files: LeRobotFiles, mode: str, max_objects: int) -> dict[str, int]:
    """Number of frames that lack a label of an object that is asked about, by instruction. Logs a warning of them.

    Raises:
        LabelsMissing: no frame has all its labels.
        LabelMismatch: labels of an instruction of which `labels` says nothing.
    """
    frames, lacking = dict.fromkeys(files.tasks, 0), dict.fromkeys(files.tasks, 0)
    for rows, codes in stored_answers(files, mode):
        for task in np.unique(rows.task_index).tolist():
            of_task, instruction = codes[rows.task_index == task], files.instruction(task)
            asked = len(labels.tasks.get(instruction, ())[:max_objects])
            if not asked and (of_task >= 0).any():
                raise LabelMismatch(
                    f"{files.root} does not say what its labels in {instruction!r} are about."
                )
            frames[task] += len(of_task)
            lacking[task] += int((of_task[:, :asked] < 0).any(axis=1).sum()) if asked else len(of_task)
    by_instruction = {files.tasks[task]: count for task, count in lacking.items() if count}
    missing, total = sum(by_instruction.values()), sum(frames.values())
    listed = ", ".join(f"{lacking[t]} of {frames[t]} in {files.tasks[t]!r}" for t in frames if lacking[t])
    if missing == total:
        raise LabelsMissing(
            f"No frame of {files.root} has a label in mode {mode!r} for each object it is asked about: {listed}. Label "
            "it again, or train the base model with --policy.reasoning.enabled=false."
        )
    if missing:
        logging.warning(
            f"Left out of the training, for want of a label: {missing} of {counted(total, 'frame')}: {listed}."
        )
    return by_instruction


def most_frequent_first_answers(
    root: str | Path, mode: str, episodes: Collection[int] | None = None
) -> tuple[str, ...]:
    """The most frequent label of the first, second, … object in the first frames of a dataset's episodes.

    They are the draft of an episode's first decision, which has no decision before it. Only some `episodes`, or all.
    """
    files = LeRobotFiles.open(root)
    first = []
    for rows, codes in stored_answers(files, mode):
        starts = rows.starts()
        if episodes is not None:
            starts = starts[np.isin(rows.episode_index[starts], list(episodes))]
        first.append(codes[starts])
    answers = []
    for column in np.concatenate(first).T:
        counts = np.bincount(column[column >= 0], minlength=len(canonical_answers(mode)))
        if not counts.any():  # no instruction names so many objects
            break
        answers.append(str(decode_answers(np.array([counts.argmax()]), mode)[0]))
    return tuple(answers)


def stored_answers(
    files: LeRobotFiles, mode: str
) -> Iterator[tuple[Rows, Int[np.ndarray, "frames max_objects"]]]:
    """The rows of each data file and the codes of their answers. A column for one object is stored as numbers."""
    column = answer_column(mode)
    for path in files.data_files():
        rows = files.read(path, (column,))
        yield rows, rows.columns[column].reshape(len(rows.task_index), -1).astype(np.int64)
