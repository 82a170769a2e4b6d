"""Label a collected dataset in other modes or another frame, from the privileged columns it carries."""

from collections.abc import Sequence
from pathlib import Path

from inspire_vla.labels.columns import LabelInfo, ModeRule, read_labels
from inspire_vla.labels.privileged import PrivilegedColumns
from inspire_vla.labels.storage import label_dataset
from inspire_vla.spatial import Frame


def relabel(
    dataset_root: str | Path,
    out: str | Path,
    *,
    modes: Sequence[str] = ("direction",),
    frame: str | Frame | None = None,
    rule: ModeRule = ModeRule(),  # noqa: B008  frozen
) -> LabelInfo:
    """Write `out`: the same dataset with label columns of `modes` in place of those it had.

    Args:
        frame: the labels' frame; the dataset's own if None.

    Raises:
        InspireError: no labels or no privileged columns, an unknown mode or frame, `out` exists.
    """
    before = read_labels(dataset_root)
    after = LabelInfo(
        frame=before.frame if frame is None else frame,  # type: ignore[arg-type]  # LabelInfo looks a name up
        modes=dict.fromkeys(modes, rule),
        tasks=before.tasks,
        max_objects=before.max_objects,
        labeller=before.labeller,
        extra=before.extra,
    )
    label_dataset(dataset_root, PrivilegedColumns(), out=out, labels=after)
    return after
