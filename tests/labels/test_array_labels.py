"""label_arrays labels one's own arrays as `inspire label` labels a dataset."""

import doctest

import numpy as np
import pyarrow.parquet as pq
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.instruction import NoObjectFound
from inspire_vla.labels import answer_column, array_labels, label_arrays
from inspire_vla.labels.columns import CONFIDENCE_COLUMN
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.parquet import matrix
from inspire_vla.labels.storage import label_dataset


def test_the_example_in_the_docstring():
    assert doctest.testmod(array_labels).failed == 0


@pytest.mark.parametrize("is_command", [False, True])
def test_equals_the_labels_of_a_dataset(synthetic, tmp_path, is_command):
    source = synthetic.make_dataset(tmp_path / "source", episodes=1)
    gripper = {"command": "action:6"} if is_command else {"width": "observation.state:6,7"}
    labeller = DemonstrationLabeller(EndEffectorColumns.parse("observation.state:0,1,2", **gripper))
    label_dataset(source, labeller, out=tmp_path / "out", modes=["distance"])
    table = pq.read_table(LeRobotFiles.open(tmp_path / "out").data_files()[0])
    path, command, width = synthetic.path()
    found = label_arrays(
        path.astype(np.float32),
        command if is_command else width.astype(np.float32),
        synthetic.instruction,
        gripper_range=(1, -1) if is_command else None,
        is_command=is_command,
        mode="distance",
    )
    assert found.mentions == synthetic.mentions
    np.testing.assert_array_equal(found.codes, matrix(table[answer_column("distance")]))
    np.testing.assert_array_equal(np.round(100 * found.confidence), matrix(table[CONFIDENCE_COLUMN]))
    assert "grasped" in found.answers[:, 0]


def test_low_confidence_is_left_out_and_mentions_can_be_given(synthetic):
    path, _, width = synthetic.path()
    assert (label_arrays(path, width, synthetic.instruction, min_confidence=1.1).answers == "").all()
    found = label_arrays(path, width, "do it", mentions=["the red cube"])
    assert found.mentions == ("the red cube",)


def test_other_input_is_refused(synthetic):
    path, _, width = synthetic.path()
    with pytest.raises(InspireError, match=r"positions must be \(T, 3\) and gripper \(T,\)"):
        label_arrays(path[:, :2], width, synthetic.instruction)
    with pytest.raises(InspireError, match="positions must be"):
        label_arrays(path, width[:-1], synthetic.instruction)
    with pytest.raises(NoObjectFound):
        label_arrays(path, width, "do it")
    with pytest.raises(InspireError, match="cannot be metres"):
        label_arrays(1000 * path, width, synthetic.instruction)
    with pytest.raises(InspireError, match="Unknown reasoning mode"):
        label_arrays(path, width, synthetic.instruction, mode="directions")
