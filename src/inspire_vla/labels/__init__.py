"""Labels: the directions that a policy is trained to answer, and the columns they are stored in.

A labelled LeRobot dataset has one small-integer column per reasoning mode, `observation.answers.<mode>`,
int16 (max_objects,): for each object the code of its answer (the index in `spatial.canonical_answers(mode)`),
−1 where there is none. `meta/inspire_labels.json` says what the codes mean.

A dataset
    find_dataset.py            by a folder, or a name in LeRobot's cache or on the hub
    lerobot_files.py           its files, checked; its columns are read and replaced by parquet.py
    recorded.py                its episodes with images, decoded by video.py
    video_defects.py           whether its videos are whole
    episode_selection.py       which of its episodes
    dataset_writer.py          writes a new one, from demonstrations in files (demonstration.py)
    collected_dataset.py       has them made by a scripted expert
    calvin.py                  imports CALVIN's recordings (calvin_files.py, calvin_scenes.py)
Its labels
    columns.py                 what they mean
    plan.py                    what `inspire label` finds first
    labelling.py               the labels of all frames
    storage.py                 writes them, into a folder made by labelled_copy.py
    kept_tracks.py             what a stopped call had found
    report.py, summary.py      what a call says at the end; counts and timelines
    language_column.py         the labels as LeRobot's messages
Where the truth comes from
    labeller.py, registry.py   the interface, and labellers by name
    simulator_state.py         a simulator's columns
    table_labeller.py          a table of positions (object_table.py); function_labeller.py: a function
    demonstration_labeller.py  the demonstration alone; array_labels.py takes arrays in place of a dataset
A demonstration
    end_effector.py            the columns of an arm (column_values.py)
    find_end_effector.py       finds them by what names say (value_names.py), and by numbers
    find_joints.py             finds the joints of a URDF
    joint_units.py             their unit (motor_steps.py, motor_calibration.py)
    forward_kinematics.py      where joints put the tip
    gripper.py                 when it holds something; gripper_sign.py: does a large value mean open?
    calibration.py             range and sign of the grippers of a whole dataset (arm.py, finding.py)
    episode_labeller.py        one episode; find_push.py: what is pushed, not grasped
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
