"""Finds the recorded values that are the joints of a URDF, by their names."""

from collections.abc import Mapping, Sequence

from inspire_vla.errors import InspireError
from inspire_vla.labels.column_values import ColumnValues
from inspire_vla.labels.value_names import (
    arm_of,
    is_action,
    joint_words,
    state_and_action_columns,
    uses_short_arms,
)


def find_joints(
    joints: Sequence[str], names: Mapping[str, Sequence[str]], arm: str | None = None
) -> ColumnValues:
    """The measured values that are named as these joints of a URDF: "shoulder_pan", or LeRobot's "shoulder_pan.pos".

    Words such as "left", "arm" and "pos" may stand before and behind, see `joint_words`.

    Args:
        names: column → names of its values.
        arm: "left" or "right": only the joints of this arm.

    Raises:
        InspireError: no column of measured values has each joint once, or it has the joints of two arms.
    """
    columns = [name for name in state_and_action_columns(tuple(names)) if not is_action(name)]
    columns.sort(key=lambda name: name != "observation.state")
    short = uses_short_arms(name for column in columns for name in names[column])
    by_arm: dict[str, ColumnValues] = {}
    for column in columns:
        sides = [arm_of(name, column, short=short) for name in names[column]]
        for side in sorted(set(sides)):
            of_side = {i: name for i, name in enumerate(names[column]) if sides[i] == side}
            if indices := _joints_among(joints, of_side, side):
                by_arm.setdefault(side, ColumnValues(column, indices))
    wanted = arm or ("" if "" in by_arm or len(by_arm) != 1 else next(iter(by_arm)))
    if wanted in by_arm:
        return by_arm[wanted]
    if by_arm:
        shown = "".join(
            f"\n  {f'--arm {side}' if side else 'without --arm'}   {values.described(names)}"
            for side, values in by_arm.items()
        )
        what = "in two arms" if arm is None else f"not in an arm {arm!r}"
        raise InspireError(
            f"the joints of the URDF are found {what}. Say which arm the URDF describes:{shown}"
        )
    found = "; ".join(f"{column}: {', '.join(names[column])}" for column in columns)
    raise InspireError(
        f"the joints of the URDF, {', '.join(joints)}, are not the names of recorded values "
        f"({found or 'none has names'}). Say which values they are, in this order: --position "
        f"{columns[0] if columns else 'observation.state'}:0,1,2,…"
    )


def _joints_among(joints: Sequence[str], names: Mapping[int, str], arm: str) -> tuple[int, ...] | None:
    """The number of each joint among the values of one arm, {number: name}; None unless each is there once."""
    indices = []
    for joint in joints:
        side = arm_of(joint, "", short=False)
        same = [i for i, name in names.items() if joint_words(name) == joint_words(joint)]
        if len(same) != 1 or (side and side != arm):
            return None
        indices += same
    return tuple(indices) if len(set(indices)) == len(indices) else None
