"""Positions in a LIBERO simulation: every grounded name has one, and fixtures move to where a recording had them."""

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.libero.simulation import GroundTruth, place_fixtures

pytestmark = pytest.mark.libero


def test_offsets_are_object_minus_gripper_in_the_base_frame(recording):
    env = recording.env
    truth = GroundTruth(env.env, recording.path)
    env.set_state(recording.states[0])
    env.env.sim.forward()
    offsets, _ = truth.offsets()
    rotation = truth._base_rotation()
    np.testing.assert_allclose(
        rotation @ offsets[0], truth.point("cream_cheese_1") - truth.eef_position(), atol=1e-6
    )
    np.testing.assert_allclose(offsets, recording.offsets[0], atol=1e-6)


def test_grasped_is_what_robosuite_finds(recording):
    inner = recording.env.env
    truth = GroundTruth(inner, recording.path)
    found = set()
    for state in recording.states[::2]:
        recording.env.set_state(state)
        inner.sim.forward()
        for name in (*inner.objects_dict, *inner.fixtures_dict):
            theirs = bool(inner._check_grasp(inner.robots[0].gripper, truth._geoms(name)))
            assert truth.grasped(name) == theirs, name
            found.add((name, theirs))
    assert {("cream_cheese_1", True), ("cream_cheese_1", False)} <= found


def test_every_drawer_has_a_position_of_its_own(recording):
    truth = GroundTruth(recording.env.env, recording.path)
    heights = [truth.point(f"wooden_cabinet_1_{which}_region")[2] for which in ("bottom", "middle", "top")]
    assert heights == sorted(heights)
    assert len(set(heights)) == 3
    with pytest.raises(InspireError, match="has no 'violin'"):
        truth.point("violin")


def test_fixtures_go_where_the_recording_had_them(recording):
    inner = recording.env.env
    truth = GroundTruth(inner, recording.path)
    before = truth.point("wooden_cabinet_1")
    body = inner.sim.model.body_name2id("wooden_cabinet_1_main")
    kept = inner.sim.model.body_pos[body].copy()
    recorded = '<body name="wooden_cabinet_1_main" pos="0.1 -0.3 0.9" quat="1 0 0 0"/>'
    xml = f"<mujoco><worldbody>{recorded}</worldbody></mujoco>"
    quat = inner.sim.model.body_quat[body].copy()
    try:
        assert place_fixtures(inner, xml) == ["flat_stove_1", "wine_rack_1"]
        assert place_fixtures(inner, "") == ["flat_stove_1", "wine_rack_1", "wooden_cabinet_1"]
        assert "wooden_cabinet_1" in place_fixtures(inner, xml.replace("0.1 -0.3 0.9", "0.1 -0.3 left"))
        np.testing.assert_allclose(truth.point("wooden_cabinet_1"), [0.1, -0.3, 0.9])
        inner.sim.model.body_quat[body] = [0, 0, 0, 1]
        place_fixtures(inner, xml.replace(' quat="1 0 0 0"', ""))  # MuJoCo leaves it out
        np.testing.assert_array_equal(inner.sim.model.body_quat[body], [1, 0, 0, 0])
        with pytest.raises(InspireError, match="not XML"):
            place_fixtures(inner, "<mujoco>")
        with pytest.raises(InspireError, match="DOCTYPE"):
            place_fixtures(inner, "<!DOCTYPE a [<!ENTITY b 'c'>]><mujoco/>")
    finally:
        inner.sim.model.body_pos[body], inner.sim.model.body_quat[body] = kept, quat
        inner.sim.forward()
    np.testing.assert_allclose(truth.point("wooden_cabinet_1"), before)
