"""Where the truth about directions comes from, and the columns it is stored in.

A labelled LeRobot dataset has one small-integer column per reasoning mode, `observation.answers.<mode>`,
int16 (max_objects,): the code of each asked object's answer (its index in `spatial.canonical_answers(mode)`),
−1 where there is none. What the codes mean is written once, in `meta/inspire_labels.json`.
"""

from inspire_vla.labels.columns import (
    ANSWERS_PREFIX,
    GRASPED_COLUMN,
    LABELS_FILE,
    OFFSET_COLUMN,
    LabelInfo,
    LabelMismatch,
    LabelsMissing,
    ModeRule,
    answer_column,
    answer_feature,
    check_compatible,
    has_labels,
    read_labels,
    write_labels,
)
from inspire_vla.labels.labeller import label_states

__all__ = [
    "ANSWERS_PREFIX",
    "GRASPED_COLUMN",
    "LABELS_FILE",
    "OFFSET_COLUMN",
    "LabelInfo",
    "LabelMismatch",
    "LabelsMissing",
    "ModeRule",
    "answer_column",
    "answer_feature",
    "check_compatible",
    "has_labels",
    "label_states",
    "read_labels",
    "write_labels",
]
