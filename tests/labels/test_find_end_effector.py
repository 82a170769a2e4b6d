"""The end effector and the gripper are found by name, or the error lists the values."""

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels.column_values import ColumnValues
from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.find_end_effector import find_end_effector_columns
from inspire_vla.labels.labeller import Recording


def test_columns_are_found_by_name_or_the_error_lists_them():
    columns = {"observation.state": np.zeros((4, 7)), "action": np.zeros((4, 7))}
    names = {
        "observation.state": [f"joint_{i}" for i in range(7)],
        "action": [f"joint_{i}" for i in range(7)],
    }
    with pytest.raises(InspireError, match="no end-effector position is found") as told:
        find_end_effector_columns(Recording(columns, np.zeros(1, int), names))
    assert "SO-101" not in str(told.value)
    with pytest.raises(InspireError, match=r"--urdf so101\.urdf --tip gripper_frame_link"):
        find_end_effector_columns(Recording(columns, np.zeros(1, int), names, robot_type="so101_follower"))
    names["observation.state"] = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
    (found,) = find_end_effector_columns(Recording(columns, np.zeros(1, int), names))
    assert found.position_values == ColumnValues("observation.state", (0, 1, 2))
    assert found.width_values == ColumnValues("observation.state", (6,))
    assert EndEffectorColumns.parse(**found.to_json()) == found
    with pytest.raises(InspireError, match="name:0,1,2"):
        EndEffectorColumns.parse("observation.state", "a:1")
