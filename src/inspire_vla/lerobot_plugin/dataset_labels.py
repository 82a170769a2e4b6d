"""Whether the labels of a dataset are answers to what a policy will ask, and the labels themselves."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Int

from inspire_vla.instruction import NoObjectFound, find_mentions
from inspire_vla.labels.columns import LabelInfo, LabelMismatch, answer_column
from inspire_vla.labels.lerobot_files import LeRobotFiles, Rows, read_rows


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


def stored_answers(
    files: LeRobotFiles, mode: str
) -> Iterator[tuple[Rows, Int[np.ndarray, "frames max_objects"]]]:
    """The rows of each data file and the codes of their answers. A column for one object is stored as plain numbers."""
    column = answer_column(mode)
    for path in files.data_files():
        rows = read_rows(path, (column,))
        yield rows, rows.columns[column].reshape(len(rows.task_index), -1).astype(np.int64)
