"""Labels: the directions that a policy is trained to answer, and the columns they are stored in.

A labelled LeRobot dataset has one small-integer column per reasoning mode, `observation.answers.<mode>`,
int16 (max_objects,): for each object the code of its answer (the index in `spatial.canonical_answers(mode)`),
−1 where there is none. `meta/inspire_labels.json` says what the codes mean.

A dataset:        find_dataset.py   by folder or name          lerobot_files.py  its files and columns (parquet.py)
                  recorded.py       its episodes with images (video.py)     video_defects.py  are its videos whole?
                  dataset_writer.py writes a new one           calvin.py     imports CALVIN's recordings
Its labels:       columns.py        what they mean             storage.py    `inspire label` writes them
                  summary.py        counts and timelines       language_column.py  as LeRobot's messages
                  plan.py           what `inspire label` finds first
                  labelled_copy.py  the folder it writes       report.py     what it says at the end
Where the truth   labeller.py       the interface              simulator_state.py  a simulator's columns
comes from:       custom.py         a table, a function        demonstration_labeller.py  the demonstration alone
                  kept_tracks.py    what a stopped call found  array_labels.py    arrays in place of a dataset
A demonstration:  end_effector.py   its columns (column_values.py), found by find_end_effector.py (value_names.py)
                  joint_units.py    joints and their unit      forward_kinematics.py  where they put the tip
                  gripper.py        when it holds something    gripper_sign.py    does a large value mean open?
                  calibration.py    range, sign and arm of a whole dataset
                  episode_labeller.py  one episode             find_push.py       what is pushed, not grasped
"""

from inspire_vla.labels.array_labels import EpisodeLabels, label_arrays
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
