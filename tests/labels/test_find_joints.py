"""The joints of a URDF are found among the recorded values by their names, or the error lists the names."""

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels.find_joints import find_joints


@pytest.mark.parametrize(
    "name", ["{}", "{}.pos", "main_{}", "{}.POS", "follower_{}.pos", "arm/{}/position", "left_{}.pos"]
)
def test_joints_are_found_by_their_names(name):
    joints = ("shoulder", "elbow")
    recorded = tuple(name.format(joint) for joint in ("gripper", "elbow", "shoulder"))
    names = {"action": recorded, "observation.env": ("x", "y", "z"), "observation.state": recorded}
    assert str(find_joints(joints, names)) == "observation.state:2,1"
    with pytest.raises(
        InspireError, match=r"joints of the URDF, shoulder, wrist, are not .*gripper.*--position"
    ):
        find_joints(("shoulder", "wrist"), names)
    with pytest.raises(InspireError, match="none has names"):
        find_joints(joints, {"action": recorded})
    with pytest.raises(InspireError, match="are not the names"):
        find_joints(joints, {"observation.state": (*recorded, recorded[1])})


TWO_ARMS = tuple(
    f"{arm}_{joint}.pos" for arm in ("left", "right") for joint in ("shoulder", "elbow", "gripper")
)


def test_the_joints_of_one_of_two_arms_are_found():
    joints, names = ("shoulder", "elbow"), {"observation.state": TWO_ARMS, "action": TWO_ARMS}
    with pytest.raises(
        InspireError, match=r"in two arms[^\n]*\n  --arm left .*left_elbow.*\n  --arm right .*right_e"
    ):
        find_joints(joints, names)
    assert str(find_joints(joints, names, "left")) == "observation.state:0,1"
    assert str(find_joints(joints, names, "right")) == "observation.state:3,4"
    assert str(find_joints(("right_shoulder", "right_elbow"), names)) == "observation.state:3,4"
    columns = {f"observation.{arm}_arm": joints for arm in ("left", "right")}
    assert str(find_joints(joints, columns, "right")) == "observation.right_arm:0,1"
    with pytest.raises(InspireError, match="in two arms"):
        find_joints(joints, columns)
    with pytest.raises(
        InspireError, match=r"not in an arm 'left'[^\n]*\n  without --arm   observation.state:0,1"
    ):
        find_joints(joints, {"observation.state": joints}, "left")
    with pytest.raises(InspireError, match="are not the names"):
        find_joints(joints, {"observation.state": ("shoulder.vel", "elbow.vel", "shoulder.pos", "knee.pos")})
