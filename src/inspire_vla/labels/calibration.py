"""Reads from a dataset what `inspire label` was not told: the gripper's range and sign, and the arm that works.

Everything that is found is a `Finding`, with its reason and the option that overrules it. Where the data allow two
readings, `calibrate_arms` refuses and shows both.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.instruction import acts_of
from inspire_vla.labels.end_effector import ColumnValues, EndEffectorColumns, correlation_with_width
from inspire_vla.labels.gripper import (
    Grasp,
    OpeningScale,
    find_grasps,
    hold_pulses,
    is_binary,
    is_toggle,
    neutral_value,
    opening_scale,
    total_opening,
)
from inspire_vla.labels.gripper_sign import (
    Demonstrated,
    Evidence,
    decide,
    drop_idle,
    known_convention,
    metres_between_fingers,
    scale_with_sign,
    seen_where_fingers_stop,
    seen_where_it_changes,
)
from inspire_vla.labels.labeller import Recording
from inspire_vla.labels.value_names import open_is_high as named_sign

NEVER_EMPTY = -1.0
"""`empty` of a dataset in which most grasps look empty, because its objects are thin."""
_MOSTLY_EMPTY = 0.6
_ENOUGH_GRASPS = 5
_CARRIED_M = 0.06
"""After a closing on nothing, the gripper opens again nearer than this."""
_FOLLOWS = 0.3
"""Correlation below which the measured width does not follow the command."""
_ONE_EPISODE = np.zeros(1, dtype=np.intp)


@dataclass(frozen=True)
class Finding:
    """One line of what was found in a dataset: what, its value, why, and the option that overrules it."""

    what: str
    value: str
    why: str
    option: str

    def __str__(self) -> str:
        reason = f"because: {self.why}" if self.why else ""
        option = f"else: {self.option}" if self.option else ""
        below = "; ".join(part for part in (reason, option) if part)
        return f"  {self.what:<9} {self.value}" + (f"\n            {below}" if below else "")


@dataclass(frozen=True)
class Arm:
    """One arm of a dataset: its columns, and how its gripper's values are read.

    command_scale, width_scale: None where there are no such values, or they never change. neutral: of a command that
    says "close" or "open" for a few frames only.
    """

    end_effector: EndEffectorColumns
    command_scale: OpeningScale | None = None
    width_scale: OpeningScale | None = None
    neutral: float | None = None

    def command(
        self, columns: Mapping[str, NDArray[Any]], starts: NDArray[np.intp] = _ONE_EPISODE
    ) -> NDArray[np.float64] | None:
        """(T,) the command, a trigger's pulses held; None without one."""
        values = self.end_effector.command(columns)
        if values is None:
            return None
        raw = total_opening(values)
        return raw if self.neutral is None else hold_pulses(raw, self.neutral, starts)

    def width(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
        """(T,) the measured opening; None without one."""
        values = self.end_effector.width(columns)
        return None if values is None else total_opening(values)

    def grasps(self, columns: Mapping[str, NDArray[Any]], empty: float) -> list[Grasp]:
        """Find the grasps of one episode, see `find_grasps`."""
        command, width = self.command(columns), self.width(columns)
        commanded = None if command is None or self.command_scale is None else self.command_scale(command)
        measured = None if width is None or self.width_scale is None else self.width_scale(width)
        if commanded is None and measured is None:
            return []
        return find_grasps(commanded, measured, empty=empty)

    def with_sign(self, open_is_high: bool, command_opens_high: bool) -> "Arm":
        """The same arm, with the sign of its width and of its command."""
        return replace(
            self,
            width_scale=scale_with_sign(self.width_scale, open_is_high),
            command_scale=scale_with_sign(self.command_scale, command_opens_high),
        )


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate_arms` returns. certainty: of the gripper's sign, 0..1. empty: see `find_grasps`."""

    arms: tuple[Arm, ...]
    certainty: float
    empty: float
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Signals:
    """One arm's gripper in the whole recording, 0 low … 1 high in the sense of `reference`.

    changes: the values that tell when it changes: a binary command, else the width. command_follows: whether larger
    commands mean larger widths; None where there are not both.
    """

    arm: Arm
    reference: ColumnValues
    changes: NDArray[np.float64]
    width: NDArray[np.float64] | None
    command: NDArray[np.float64] | None
    command_follows: bool | None


def calibrate_arms(
    recording: Recording,
    found: Sequence[EndEffectorColumns],
    *,
    path: Callable[[EndEffectorColumns, Mapping[str, NDArray[Any]]], NDArray[np.float64]],
    open_is_high: bool | None,
    empty: float,
) -> Calibrated:
    """Find the range and the sign of the grippers.

    Args:
        path: an arm's columns and a dataset's columns → (N, 3) metres, its fingertips.
        open_is_high: None finds the sign.

    Raises:
        InspireError: a gripper's command and width contradict each other, or the sign is in doubt.
    """
    recording = _finite(recording, found)
    signals, findings = [], []
    for columns in found:
        findings += column_findings(columns, recording, len(found) > 1)
        one, notes = _signals(columns, recording)
        findings += notes
        signals.append(one)
    paths = [path(columns, recording.columns) for columns in found]
    used = [one for one in signals if one is not None]
    if not used:
        arms = tuple(Arm(columns) for columns in found)
        if any(shown.carries for shown in _asked(recording)):
            raise InspireError(
                "the gripper never moves, but the instructions ask for grasps. Found: "
                + "; ".join(f"{finding.what} {finding.value}" for finding in findings)
                + ". Say where it is: --width, --command."
            )
        findings.append(Finding("gripper", "never moves", "so nothing is grasped", "--width, --command"))
        return Calibrated(arms, 0.5, empty, tuple(findings))
    certainty = 1.0
    if open_is_high is None:
        evidence = _evidence(recording, signals, paths)
        values = _described(used[0].reference, recording)
        differ = not any(one.clear for one in evidence) and _grasps_differ(recording, signals, paths, empty)
        open_is_high, why, certainty = decide(evidence, values, grasps_differ=differ)
    else:
        why = "given"
    arms = tuple(
        Arm(columns) if one is None else _signed(one, open_is_high)
        for columns, one in zip(found, signals, strict=True)
    )
    levels = _levels(next(arm for arm, one in zip(arms, signals, strict=True) if one is used[0]))
    findings.append(
        Finding(
            "open is",
            f"{'high' if open_is_high else 'low'}: {levels}",
            why,
            f"--open-is {'low' if open_is_high else 'high'}",
        )
    )
    grasps = [
        grasps_of(arms, _rows(recording, rows), [p[rows] for p in paths], 1, recording.fps, empty)
        for rows in recording.episodes()
    ]
    missing = _missing_grasps(recording, grasps)
    closings = [
        grasp.holds_object is False
        for episode, is_missing in zip(grasps, missing, strict=True)
        for grasp in (episode if is_missing else ())
    ]
    carried = _carried_empty(recording, grasps, paths, missing)
    thin = len(closings) >= _ENOUGH_GRASPS and np.mean(closings) > _MOSTLY_EMPTY
    if thin or (len(carried) >= _ENOUGH_GRASPS and np.mean(carried) > _MOSTLY_EMPTY):
        # most demonstrations succeed, so the objects are as thin as an empty gripper
        empty = NEVER_EMPTY
        why = "the gripper closes as far as on nothing, and carries that away"
        findings.append(Finding("objects", "thin", why, ""))
    findings += _grasp_findings(arms, grasps, empty)
    certainty *= _share_of_grasps(recording, grasps)
    return Calibrated(arms, certainty, empty, tuple(findings))


def grasps_of(
    arms: Sequence[Arm],
    columns: Mapping[str, NDArray[Any]],
    paths: Sequence[NDArray[np.float64]],
    needed: int,
    fps: float,
    empty: float,
) -> list[Grasp]:
    """Find the grasps of all arms in one episode, in order of time, without closings in the rest pose.

    Args:
        paths: (A, T, 3) metres, of each arm's fingertips. needed: number of acts of the instruction.
    """
    found = [
        replace(grasp, arm=index)
        for index, arm in enumerate(arms)
        for grasp in drop_idle(arm.grasps(columns, empty), paths[index], needed, fps)
    ]
    return sorted(found, key=lambda grasp: grasp.hold)


# --- the gripper's values


def _signals(columns: EndEffectorColumns, recording: Recording) -> tuple[_Signals | None, list[Finding]]:
    """Scale an arm's gripper, and relate its command to its width. None if it never moves."""
    starts = recording.starts
    width = columns.width(recording.columns)
    measured = None if width is None else total_opening(width)
    width_scale = None if measured is None else opening_scale(measured)
    command = columns.command(recording.columns)
    raw = None if command is None else total_opening(command)
    neutral = None if raw is None else neutral_value(raw)
    told = raw if raw is None or neutral is None else hold_pulses(raw, neutral, starts)
    command_scale = None if told is None else opening_scale(told)
    notes = []
    name = None if columns.command_values is None else _described(columns.command_values, recording)
    if neutral is not None:
        notes.append(
            Finding("command", f"{name}: pulses that last", f"{neutral:g} between them is neutral", "--width")
        )
    elif raw is not None and is_toggle(raw):
        notes.append(Finding("command", f"{name} is not used", "pulses of one kind", "--width"))
        command_scale = None
        if width_scale is None:
            raise InspireError(
                f"the gripper's command {name} has only short pulses of one kind, so that it does not tell whether the "
                "gripper is open. Give the measured opening (--width)."
            )
    follows = None
    if told is not None and measured is not None and command_scale is not None and width_scale is not None:
        agreement = correlation_with_width(told, measured, starts)
        if abs(agreement) < _FOLLOWS:
            if columns.reasons.get("command") == "given":
                raise InspireError(
                    f"the gripper's width does not follow its command {name} (correlation {agreement:+.2f}). Leave out "
                    "--command or --width, whichever is not the gripper's."
                )
            why = f"the width does not follow it, correlation {agreement:+.2f}"
            notes.append(Finding("command", f"{name} is not used", why, "--command"))
            command_scale = None
        else:
            follows = agreement > 0
    if command_scale is None:
        told = neutral = None
    arm = Arm(columns, command_scale, width_scale, neutral)
    as_width = None if width_scale is None or measured is None else width_scale(measured)
    as_command = None if command_scale is None or told is None else command_scale(told)
    if as_command is not None and follows is False:
        as_command = 1 - as_command
    by_command = as_command is not None and (as_width is None or is_binary(as_command))
    changes = as_command if by_command else as_width
    if changes is None:
        return None, notes
    reference = columns.command_values if as_width is None else columns.width_values
    assert reference is not None
    return _Signals(arm, reference, changes, as_width, as_command, follows), notes


def _signed(one: _Signals, open_is_high: bool) -> Arm:
    """The arm, with the sign of its width (of its command, without a width)."""
    command = open_is_high if one.command_follows is not False else not open_is_high
    return replace(
        one.arm,
        width_scale=scale_with_sign(one.arm.width_scale, open_is_high),
        command_scale=scale_with_sign(one.arm.command_scale, command),
    )


def _evidence(
    recording: Recording, signals: Sequence[_Signals | None], paths: Sequence[NDArray[np.float64]]
) -> list[Evidence]:
    """All evidence for the sign of the reference values."""
    found: list[Evidence] = []
    shown: list[Demonstrated] = []
    for one, path in zip(signals, paths, strict=True):
        if one is None:
            continue
        scale = one.arm.command_scale if one.width is None else one.arm.width_scale
        assert scale is not None
        low, high = sorted((scale.closed, scale.open))
        known = known_convention(recording.robot_type, low, high)
        found += [known] if known is not None else []
        found += _named(one, recording)
        metres = None if one.width is None else metres_between_fingers(low, high)
        found += [metres] if metres is not None else []
        if one.width is not None and one.command is not None:
            stop = seen_where_fingers_stop(one.command, one.width, recording.fps)
            found += [stop] if stop is not None else []
        shown += _demonstrated(recording, one, path)
    changes = seen_where_it_changes(shown)
    return list(dict.fromkeys([*found, *([changes] if changes is not None else [])]))


def _named(one: _Signals, recording: Recording) -> list[Evidence]:
    """What the names of the width and of the command say."""
    columns = one.arm.end_effector
    found = []
    for values, follows in ((columns.width_values, True), (columns.command_values, one.command_follows)):
        if values is None or (values is not one.reference and follows is None):
            continue
        for name in _names(values, recording):
            sign = named_sign(name)
            if sign is not None:
                same = values is one.reference or bool(follows)
                found.append(Evidence(sign == same, f"named {name}"))
    return found


def _demonstrated(recording: Recording, one: _Signals, path: NDArray[np.float64]) -> list[Demonstrated]:
    shown = []
    asked = _asked(recording)
    for number, rows in enumerate(recording.episodes()):
        carries, goals = (asked[number].carries, asked[number].goals) if asked else (1, True)
        if rows.stop - rows.start > 2:
            shown.append(Demonstrated(path[rows], one.changes[rows], recording.fps, carries, goals))
    return shown


def _grasps_differ(
    recording: Recording,
    signals: Sequence[_Signals | None],
    paths: Sequence[NDArray[np.float64]],
    empty: float,
) -> bool:
    """Whether the two signs give different grasps in any episode."""
    for one, path in zip(signals, paths, strict=True):
        if one is None:
            continue
        for rows in recording.episodes():
            found = []
            for values in (one.changes[rows], 1 - one.changes[rows]):
                grasps = drop_idle(find_grasps(values, None, empty=empty), path[rows], 1, recording.fps)
                found.append([(grasp.hold, grasp.release) for grasp in grasps])
            if found[0] != found[1]:
                return True
    return False


def _finite(recording: Recording, found: Sequence[EndEffectorColumns]) -> Recording:
    """The recording without episodes in which a value that is read is not finite.

    Raises:
        InspireError: no episode is left, and the gripper's values are not finite.
    """
    read = [columns_values for columns in found for columns_values in _all_values(columns)]
    finite = np.all([np.isfinite(values.of(recording.columns)).all(axis=1) for values in read], axis=0)
    kept = [rows for rows in recording.episodes() if rows.stop > rows.start]
    numbers = [number for number, rows in enumerate(kept) if finite[rows].all()]
    if len(numbers) == len(recording.starts) or not kept:
        return recording
    if not numbers:
        gripper = [v for one in found for v in (one.width_values, one.command_values) if v is not None]
        if all(np.isfinite(v.of(recording.columns)).all() for v in gripper):
            return recording  # the gripper can be read; the episodes get no labels
        bad = [_described(v, recording) for v in read if not np.isfinite(v.of(recording.columns)).all()]
        raise InspireError(
            f"every episode has values that are no numbers (NaN) in {', '.join(bad)}. Correct them, or name "
            "other values: --position, --width, --command."
        )
    keep = np.concatenate([np.arange(kept[number].start, kept[number].stop) for number in numbers])
    lengths = [kept[number].stop - kept[number].start for number in numbers]
    instructions = recording.instructions
    return replace(
        recording,
        columns={name: values[keep] for name, values in recording.columns.items()},
        starts=np.cumsum([0, *lengths[:-1]]),
        instructions=tuple(instructions[number] for number in numbers) if instructions else (),
    )


def _all_values(columns: EndEffectorColumns) -> list[ColumnValues]:
    parts = (columns.position_values, columns.width_values, columns.command_values)
    return [values for values in parts if values is not None]


def _rows(recording: Recording, rows: slice) -> dict[str, NDArray[Any]]:
    return {name: values[rows] for name, values in recording.columns.items()}


# --- in words


def _names(values: ColumnValues, recording: Recording) -> list[str]:
    names = recording.names.get(values.column, ())
    return [names[i] for i in values.indices if i < len(names)]


def _described(values: ColumnValues, recording: Recording) -> str:
    names = _names(values, recording)
    return f"{values}" + (f" ({', '.join(names)})" if names else "")


@dataclass(frozen=True)
class _Asked:
    """What the instructions of an episode ask for. carries: acts with a grasp. goals: whether one has a destination."""

    carries: int
    goals: bool


def _asked(recording: Recording) -> list[_Asked]:
    """What each episode's instructions ask for; empty where no instruction is known."""
    found = []
    for texts in recording.instructions:
        acts = [
            act
            for text in texts
            if text in recording.mentions
            for act in acts_of(text, recording.mentions[text], recording.roles.get(text))
        ]
        goals = any(act.goal is not None or act.beside for act in acts)
        found.append(_Asked(sum(act.needs_grasp for act in acts), bool(goals)))
    return found


def _missing_grasps(recording: Recording, grasps: Sequence[Sequence[Grasp]]) -> list[bool]:
    """For every episode: whether it has fewer grasps of an object than it asks for.

    In the others, a closing on nothing is a failed try, or a test of the gripper.
    """
    asked = _asked(recording)
    needed = [one.carries for one in asked] if asked else [1] * len(grasps)
    return [
        sum(grasp.holds_object is not False for grasp in episode) < max(1, least)
        for episode, least in zip(grasps, needed, strict=True)
    ]


def _carried_empty(
    recording: Recording,
    grasps: Sequence[Sequence[Grasp]],
    paths: Sequence[NDArray[np.float64]],
    missing: Sequence[bool],
) -> list[bool]:
    """For every closing on nothing in an episode that lacks a grasp: whether the gripper goes elsewhere with it.

    missing: see `_missing_grasps`.
    """
    asked = _asked(recording)
    found = []
    for number, (rows, episode) in enumerate(zip(recording.episodes(), grasps, strict=True)):
        if not missing[number] or (asked and not asked[number].carries):
            continue
        for grasp in episode:
            if grasp.holds_object is False:
                path = paths[grasp.arm][rows]
                moved = path[min(grasp.release, len(path) - 1)] - path[grasp.hold]
                found.append(bool(np.linalg.norm(moved) > _CARRIED_M))
    return found


_FEW_GRASPS, _SOME_GRASPS = 0.25, 0.6
_UNCERTAIN = 0.7


def _share_of_grasps(recording: Recording, grasps: Sequence[Sequence[Grasp]]) -> float:
    """1 where most episodes that ask for a grasp have one, less where many have none.

    Raises:
        InspireError: hardly any episode has one.
    """
    asked = [bool(found) for found, one in zip(grasps, _asked(recording), strict=False) if one.carries]
    if not asked or np.mean(asked) >= _SOME_GRASPS:
        return 1.0
    if np.mean(asked) < _FEW_GRASPS:
        raise InspireError(
            f"only {sum(asked)} of {len(asked)} episodes whose instructions ask for a grasp have one. Look at the "
            "gripper's values: --width, --command, --open-is."
        )
    return _UNCERTAIN


def _grasp_findings(arms: Sequence[Arm], grasps: Sequence[Sequence[Grasp]], empty: float) -> list[Finding]:
    """How many grasps the episodes have, and which arm makes them."""
    held = [
        [grasp for grasp in episode if grasp.holds_object is not False or empty == NEVER_EMPTY]
        for episode in grasps
    ]
    counts = Counter(len(episode) for episode in held)
    value = ", ".join(f"{count} in {episodes} episodes" for count, episodes in sorted(counts.items()))
    found = [Finding("grasps", value, "", "")]
    if len(arms) > 1:
        by_arm = Counter(grasp.arm for episode in held for grasp in episode)
        value = ", ".join(f"{arm.end_effector.arm} grasps {by_arm[i]} times" for i, arm in enumerate(arms))
        found.append(Finding("arm", value, "each object is asked about from the arm that grasps it", "--arm"))
    return found


def _levels(arm: Arm) -> str:
    return "; ".join(
        f"{name} {scale.closed:.4g} closed, {scale.open:.4g} open"
        for name, scale in (("width", arm.width_scale), ("command", arm.command_scale))
        if scale is not None
    )


def column_findings(columns: EndEffectorColumns, recording: Recording, several: bool) -> list[Finding]:
    arm = f"{columns.arm} arm: " if several else ""
    unit = "joints of the URDF" if columns.kinematics is not None else "metres"
    found = [
        Finding(
            "position",
            f"{arm}{_described(columns.position_values, recording)}, {unit}",
            columns.reasons.get("position", ""),
            "--position, --metres-per-unit" + (", --arm" if several else ""),
        )
    ]
    for what, values in (("width", columns.width_values), ("command", columns.command_values)):
        if values is not None:
            text = f"{arm}{_described(values, recording)}"
            found.append(Finding(what, text, columns.reasons.get(what, ""), f"--{what}"))
    return found
