"""Options of `inspire label` reach the labeller that uses them, and are refused for one that does not."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.labels.test_forward_kinematics import URDF

from inspire_vla.cli import parse
from inspire_vla.cli.label import chosen_labeller
from inspire_vla.errors import InspireError
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.find_end_effector import add_gripper
from inspire_vla.labels.labeller import Labeller, Recording
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.table_labeller import TableLabeller

POSITION = ("--position", "observation.state:0,1,2")
UNIT = ("--metres-per-unit", "0.001", "--fingertips-below-m", "0.1")


def chosen(labeller: str, *options: str) -> Labeller:
    return chosen_labeller(parse(["label", "x", "--out", "y", "--labeller", labeller, *options]))


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "objects.csv"
    path.write_text("episode,frame,object,x,y,z\n0,0,the red cube,0.5,0.2,0.02\n", encoding="utf-8")
    return f"table:{path}"


def test_a_table_is_told_where_the_hand_is_and_its_unit(table: str) -> None:
    found = chosen(table, *POSITION, *UNIT)
    assert isinstance(found, TableLabeller)
    assert found.end_effector is not None
    assert found.end_effector.columns() == ("observation.state",)
    assert (found.metres_per_unit, found.fingertips_below_m) == (0.001, 0.1)


def test_the_demonstration_is_told_all_of_it() -> None:
    found = chosen("demonstration", *POSITION, *UNIT, "--command", "action:6", "--open-is", "low")
    assert isinstance(found, DemonstrationLabeller)
    assert found.end_effector is not None
    assert found.end_effector.columns() == ("observation.state", "action")
    assert (found.metres_per_unit, found.fingertips_below_m, found.open_is_high) == (0.001, 0.1, False)
    found = chosen("demonstration", "--width", "observation.state:gripper", "--arm", "left")
    assert isinstance(found, DemonstrationLabeller)
    assert found.end_effector is None
    assert (str(found.width_values), found.arm) == ("observation.state:gripper", "left")
    with pytest.raises(InspireError, match="leave out --arm"):
        chosen("demonstration", *POSITION, "--arm", "left")


@pytest.mark.parametrize("unused", [("--width", "action:6"), ("--command", "action:6"), ("--open-is", "low")])
def test_a_table_refuses_a_gripper(table: str, unused: tuple[str, str]) -> None:
    with pytest.raises(InspireError, match=f"does not use {unused[0]}"):
        chosen(table, *POSITION, *unused)


@pytest.mark.parametrize("labeller", ["truth", "inspire_vla.labels.simulator_state:PrivilegedLabeller"])
def test_other_labellers_refuse_all_of_it(labeller: str) -> None:
    with pytest.raises(
        InspireError, match="does not use --position, --metres-per-unit, --fingertips-below-m"
    ):
        chosen(labeller, *POSITION, *UNIT)
    assert chosen(labeller).name == "simulator_state"


@pytest.mark.parametrize("kind", ["demonstration", "table"])
def test_the_urdf_of_one_of_two_arms(
    kind: str, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its joints and, for a demonstration, the gripper are those of that arm."""
    parts = ("shoulder", "elbow", "rail", "gripper")
    arms = tuple(f"{arm}_{part}.pos" for arm in ("left", "right") for part in parts)
    names = {"observation.state": arms, "action": arms}
    monkeypatch.setattr(LeRobotFiles, "open", lambda _: SimpleNamespace(names=lambda: names))
    (tmp_path / "two.urdf").write_text(URDF, encoding="utf-8")
    labeller = table if kind == "table" else kind
    arm = ("--urdf", str(tmp_path / "two.urdf"), "--tip", "tip")
    with pytest.raises(InspireError, match="in two arms"):
        chosen(labeller, *arm)
    with pytest.raises(InspireError, match="leave out --arm"):
        chosen(labeller, *arm, *POSITION, "--arm", "right")
    found = chosen(labeller, *arm, "--arm", "right")
    assert isinstance(found, TableLabeller | DemonstrationLabeller)
    assert found.end_effector is not None
    assert str(found.end_effector.position_values) == "observation.state:4,5,6"
    values = np.random.default_rng(0).normal(size=(20, 8))
    recording = Recording(dict.fromkeys(names, values), np.array([0]), names)
    with_gripper = add_gripper(found.end_effector, recording)
    assert str(with_gripper.width_values) == "observation.state:7"
    assert str(with_gripper.command_values) == "action:7"


@pytest.mark.parametrize(
    "joints", [("--joint-unit", "degrees"), ("--calibration", "arm.json"), ("--tip", "gripper")]
)
def test_what_is_said_of_joints_needs_the_robot(table: str, joints: tuple[str, ...]) -> None:
    with pytest.raises(InspireError, match="give --urdf FILE too"):
        chosen(table, *POSITION, *joints)
