"""The labeller of `inspire label`: where the hand is, and who makes use of that."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from inspire_vla.errors import InspireError

if TYPE_CHECKING:
    from inspire_vla.labels.end_effector import EndEffectorColumns
    from inspire_vla.labels.labeller import Labeller


def add_hand_arguments(sub: argparse.ArgumentParser) -> None:
    """Arguments that say where hand and gripper stand in a dataset."""
    hand = sub.add_argument_group(
        "labellers demonstration and table: where the hand is, if names do not tell; for demonstration the gripper too"
    )
    hand.add_argument("--position", metavar="COLUMN:0,1,2", help="the hand's position")
    hand.add_argument("--width", metavar="COLUMN:6,7", help="measured opening, or finger joints")
    hand.add_argument(
        "--command", metavar="COLUMN:6", dest="gripper_command", help="what the gripper is told"
    )
    hand.add_argument("--open-is", choices=("high", "low"), help="default: read off the data")
    hand.add_argument("--metres-per-unit", type=float, default=1.0, help="0.001 for millimetres")
    hand.add_argument(
        "--fingertips-below-m", type=float, default=0.0, help="finger tips below the recorded point"
    )
    hand.add_argument("--urdf", metavar="FILE", help="--position names joints; their hand is worked out")
    hand.add_argument("--tip", metavar="LINK", help="with --urdf: the link between the fingers")
    hand.add_argument("--degrees", action="store_true", help="with --urdf: joints are in degrees")


def chosen_labeller(options: argparse.Namespace) -> "Labeller":
    """Return the labeller asked for. Raises InspireError for an option that it would not look at."""
    from inspire_vla.labels.custom import TableLabeller
    from inspire_vla.labels.episode_labeller import DemonstrationLabeller
    from inspire_vla.labels.labeller import get_labeller

    found = get_labeller(options.labeller)
    kind = options.labeller.partition(":")[0]  # one of the user's own may be of these types too, and is ready
    of_gripper = {
        "--width": options.width,
        "--command": options.gripper_command,
        "--open-is": options.open_is,
    }
    of_hand = {
        "--position": options.position,
        "--metres-per-unit": options.metres_per_unit != 1,
        "--fingertips-below-m": options.fingertips_below_m != 0,
        "--urdf": options.urdf,
        "--tip": options.tip,
        "--degrees": options.degrees,
    }
    unit = {"metres_per_unit": options.metres_per_unit, "fingertips_below_m": options.fingertips_below_m}
    if kind == "demonstration" and isinstance(found, DemonstrationLabeller):
        sign = None if options.open_is is None else options.open_is == "high"
        return replace(
            found, end_effector=_end_effector(options, needs_gripper=True), open_is_high=sign, **unit
        )
    if kind == "table" and isinstance(found, TableLabeller):
        _refuse(options.labeller, of_gripper)
        return replace(found, end_effector=_end_effector(options, needs_gripper=False), **unit)
    _refuse(options.labeller, of_hand | of_gripper)
    return found


def _refuse(labeller: str, unused: dict[str, object]) -> None:
    given = [flag for flag, value in unused.items() if value]
    if given:
        raise InspireError(f"labeller {labeller} makes no use of {', '.join(given)}. Leave that out.")


def _end_effector(options: argparse.Namespace, *, needs_gripper: bool) -> "EndEffectorColumns | None":
    from inspire_vla.labels.end_effector import EndEffectorColumns
    from inspire_vla.labels.forward_kinematics import ForwardKinematics

    kinematics = None
    if options.urdf:
        if not (options.tip and options.position):
            raise InspireError("--urdf needs --tip LINK and --position COLUMN:joints.")
        kinematics = ForwardKinematics.read(options.urdf, options.tip, degrees=options.degrees)
    elif options.tip or options.degrees:
        raise InspireError("--tip and --degrees are of the joints of a robot: say --urdf FILE too.")
    if options.position:
        return EndEffectorColumns.parse(
            options.position,
            options.width,
            options.gripper_command,
            kinematics=kinematics,
            needs_gripper=needs_gripper,
        )
    if options.width or options.gripper_command:
        raise InspireError("--width and --command need --position too.")
    return None
