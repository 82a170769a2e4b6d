"""Labels: the directions that a policy is trained to answer, and the columns they are stored in.

A labelled LeRobot dataset has one small-integer column per reasoning mode, `observation.answers.<mode>`,
int16 (max_objects,): for each object the code of its answer (the index in `spatial.canonical_answers(mode)`),
−1 where there is none. `meta/inspire_labels.json` says what the codes mean.
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
    read_labelled,
    read_labels,
    write_labels,
)
from inspire_vla.labels.episode_labeller import EpisodeLabels, label_arrays
from inspire_vla.labels.labeller import label_states

__all__ = [
    "ANSWERS_PREFIX",
    "GRASPED_COLUMN",
    "LABELS_FILE",
    "OFFSET_COLUMN",
    "EpisodeLabels",
    "LabelInfo",
    "LabelMismatch",
    "LabelsMissing",
    "ModeRule",
    "answer_column",
    "answer_feature",
    "check_compatible",
    "has_labels",
    "label_arrays",
    "label_states",
    "read_labelled",
    "read_labels",
    "write_labels",
]
