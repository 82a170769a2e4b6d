"""Reads from a dataset what `inspire label` is not given: the gripper's range and sign, and the arm that works.

Everything that is found is a `Finding`, with its reason and the option that overrules it. Where the data allow two
readings, `calibrate_arms` refuses and shows both.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, counted
from inspire_vla.instruction import acts_of
from inspire_vla.labels.arm import Arm, Paths, grasps_of
from inspire_vla.labels.column_values import ColumnValues
from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.finding import Finding, column_findings
from inspire_vla.labels.gripper import (
    Grasp,
    correlation_with_width,
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
_FEW_GRASPS, _SOME_GRASPS = 0.25, 0.6
"""Shares of the episodes that ask for a grasp and have one. Fewer than the first are refused."""
_UNCERTAIN = 0.7


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate_arms` returns. certainty: of the gripper's sign, 0..1. empty: see `find_grasps`."""

    arms: tuple[Arm, ...]
    certainty: float
    empty: float
    findings: tuple[Finding, ...]


def calibrate_arms(
    recording: Recording,
    by_arm: Sequence[EndEffectorColumns],
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
    findings: list[Finding] = []
    recording = _finite(recording, by_arm)
    signals = []
    for columns in by_arm:
        findings += column_findings(columns, recording, several=len(by_arm) > 1)
        signals.append(_Signals.read(columns, recording, findings))
    shown = _Shown(recording, signals, [path(columns, recording.columns) for columns in by_arm], empty)
    moving = [one for one in signals if one.changes is not None]
    if not moving:
        return _without_motion(shown, findings)
    why, certainty = "given", 1.0
    if open_is_high is None:
        evidence = shown.evidence()
        differ = not any(one.clear for one in evidence) and shown.signs_differ()
        values = moving[0].reference.described(recording.names)
        open_is_high, why, certainty = decide(evidence, values, grasps_differ=differ)
    sign, other = ("high", "low") if open_is_high else ("low", "high")
    arms = [one.arm.with_sign(open_is_high, open_is_high == one.command_follows) for one in signals]
    levels = _levels(arms[signals.index(moving[0])])
    findings.append(Finding("open is", f"{sign}: {levels}", why, f"--open-is {other}"))
    grasps = shown.grasps(arms)
    if shown.objects_are_thin(grasps):
        empty, why = NEVER_EMPTY, "the gripper closes as far as on nothing, and carries that away"
        findings.append(Finding("objects", "thin", why))
    findings += _grasp_findings(arms, grasps, empty)
    return Calibrated(tuple(arms), certainty * shown.share_of_grasps(grasps), empty, tuple(findings))


def _without_motion(shown: "_Shown", findings: Sequence[Finding]) -> Calibrated:
    """Grippers that never move: nothing is grasped.

    Raises:
        InspireError: the instructions ask for grasps.
    """
    recording = shown.recording
    if recording.instructions and any(one.carries for one in shown.asked):
        frames = [rows.stop - rows.start for rows in recording.episodes()]
        raise InspireError(
            f"the gripper never moves (episodes: {len(frames)}, frames of the longest: {max(frames)}), but the "
            "instructions ask for grasps. Found: "
            + "; ".join(f"{finding.what} {finding.value}" for finding in findings)
            + ". Say where it is: --width, --command."
        )
    still = Finding("gripper", "never moves", "so nothing is grasped", "--width, --command")
    return Calibrated(tuple(one.arm for one in shown.signals), 0.5, shown.empty, (*findings, still))


# --- the gripper's values


@dataclass(frozen=True, eq=False)
class _Signals:
    """One arm's gripper in the whole recording. Openings are 0 low … 1 high in the sense of `reference`.

    arm: its scales take large values for open. changes: the opening that tells when it changes: a binary command, else
    the width; None if it never moves. command_follows: whether larger commands mean larger widths.
    """

    arm: Arm
    reference: ColumnValues
    changes: NDArray[np.float64] | None
    width: NDArray[np.float64] | None
    command: NDArray[np.float64] | None
    command_follows: bool

    @classmethod
    def read(cls, columns: EndEffectorColumns, recording: Recording, findings: list[Finding]) -> "_Signals":
        """Scale an arm's gripper, and relate its command to its width. Adds to `findings` what it does not use.

        Raises:
            InspireError: the command tells nothing, or contradicts the width.
        """
        width_scale = command_scale = neutral = None
        measured, command = columns.width(recording.columns), columns.command(recording.columns)
        if measured is not None:
            width_scale = opening_scale(measured)
        follows = True
        if command is not None and columns.command_values is not None:
            name, raw = columns.command_values.described(recording.names), total_opening(command)
            neutral = neutral_value(raw)
            held = raw if neutral is None else hold_pulses(raw, neutral, recording.starts)
            command_scale = opening_scale(held)
            if neutral is not None:
                why = f"{neutral:g} between them is neutral"
                findings.append(Finding("command", f"{name}: pulses that last", why, "--width"))
            elif is_toggle(raw):
                findings.append(Finding("command", f"{name} is not used", "pulses of one kind", "--width"))
                command_scale = None
                if width_scale is None:
                    raise InspireError(
                        f"the gripper's command {name} has only short pulses of one kind, so that it does not tell "
                        "whether the gripper is open. Give the measured opening (--width)."
                    )
            if measured is not None and width_scale is not None and command_scale is not None:
                agreement = correlation_with_width(held, total_opening(measured), recording.starts)
                follows = agreement > 0
                if abs(agreement) < _FOLLOWS:
                    if columns.reasons.get("command") == "given":
                        raise InspireError(
                            f"the gripper's width does not follow its command {name} (correlation {agreement:+.2f}). "
                            "Leave out --command or --width, whichever is not the gripper's."
                        )
                    why = f"the width does not follow it, correlation {agreement:+.2f}"
                    findings.append(Finding("command", f"{name} is not used", why, "--command"))
                    command_scale, follows = None, True
        arm = Arm(columns, command_scale, width_scale, None if command_scale is None else neutral)
        as_command, as_width = arm.openings(recording.columns, recording.starts)
        if as_command is not None and not follows:
            as_command = 1 - as_command
        reference = columns.command_values if as_width is None else columns.width_values
        changes = as_width
        if as_command is not None and (as_width is None or is_binary(as_command)):
            changes = as_command
        return cls(arm, reference or columns.position_values, changes, as_width, as_command, follows)

    def evidence(self, recording: Recording) -> Iterator[Evidence | None]:
        """What names, units and fingers say about the sign."""
        scale = self.arm.command_scale if self.width is None else self.arm.width_scale
        if scale is None:
            return
        yield known_convention(recording.robot_type, scale.closed, scale.open)
        columns = self.arm.end_effector
        command = columns.command_values if self.command is not None else None
        for values, same in ((columns.width_values, True), (command, self.command_follows)):
            for name in values.names_in(recording.names) if values is not None else ():
                sign = named_sign(name)
                if sign is not None:
                    yield Evidence(sign == same, f"named {name}")
        if self.width is not None:
            yield metres_between_fingers(scale.closed, scale.open)
            if self.command is not None:
                yield seen_where_fingers_stop(self.command, self.width, recording.fps)


class _Asked(NamedTuple):
    """What the instructions of an episode ask for. carries: acts with a grasp. goals: whether one has a destination."""

    carries: int
    goals: bool


@dataclass(frozen=True)
class _Shown:
    """What the recording shows of each arm."""

    recording: Recording
    signals: Sequence[_Signals]
    paths: Paths
    empty: float

    @cached_property
    def asked(self) -> list[_Asked]:
        """What each episode's instructions ask for: one grasp, where no instruction is known."""
        recording, asked = self.recording, []
        if not recording.instructions:
            return [_Asked(1, True)] * len(recording.starts)
        for texts in recording.instructions:
            known = [text for text in texts if text in recording.mentions]
            acts = [a for t in known for a in acts_of(t, recording.mentions[t], recording.roles.get(t))]
            goals = any(act.goal is not None or act.beside for act in acts)
            asked.append(_Asked(sum(act.needs_grasp for act in acts), goals))
        return asked

    def evidence(self) -> list[Evidence]:
        """All evidence for the sign of the reference values."""
        collected: list[Evidence | None] = []
        demonstrated = []
        for one, path in zip(self.signals, self.paths, strict=True):
            if one.changes is None:
                continue
            collected += one.evidence(self.recording)
            for rows, asked in zip(self.recording.episodes(), self.asked, strict=True):
                if rows.stop - rows.start > 2:
                    shown = path[rows], one.changes[rows], self.recording.fps
                    demonstrated.append(Demonstrated(*shown, asked.carries, asked.goals))
        collected.append(seen_where_it_changes(demonstrated))
        return list(dict.fromkeys(one for one in collected if one is not None))

    def signs_differ(self) -> bool:
        """Whether the two signs give different grasps in any episode."""
        for one, path in zip(self.signals, self.paths, strict=True):
            if one.changes is None:
                continue
            for rows in self.recording.episodes():
                by_sign = []
                for values in (one.changes[rows], 1 - one.changes[rows]):
                    grasps = find_grasps(values, None, empty=self.empty)
                    kept = drop_idle(grasps, path[rows], 1, self.recording.fps)
                    by_sign.append([(grasp.hold, grasp.release) for grasp in kept])
                if by_sign[0] != by_sign[1]:
                    return True
        return False

    def grasps(self, arms: Sequence[Arm]) -> list[list[Grasp]]:
        """The grasps of each episode."""
        by_episode = []
        for rows in self.recording.episodes():
            columns = {name: values[rows] for name, values in self.recording.columns.items()}
            paths = [path[rows] for path in self.paths]
            by_episode.append(grasps_of(arms, columns, paths, 1, self.recording.fps, self.empty))
        return by_episode

    def objects_are_thin(self, grasps: Sequence[Sequence[Grasp]]) -> bool:
        """Whether most closings are on nothing, or go elsewhere with it: most demonstrations succeed, after all.

        Only episodes that lack a grasp count. In the others, a closing on nothing is a failed try.
        """
        closings, carried = [], []
        for rows, episode, asked in zip(self.recording.episodes(), grasps, self.asked, strict=True):
            if sum(grasp.holds_object is not False for grasp in episode) >= max(1, asked.carries):
                continue
            for grasp in episode:
                is_empty, path = grasp.holds_object is False, self.paths[grasp.arm][rows]
                closings.append(is_empty)
                if is_empty and asked.carries:
                    moved = path[min(grasp.release, len(path) - 1)] - path[grasp.hold]
                    carried.append(bool(np.linalg.norm(moved) > _CARRIED_M))
        return any(
            len(group) >= _ENOUGH_GRASPS and np.mean(group) > _MOSTLY_EMPTY for group in (closings, carried)
        )

    def share_of_grasps(self, grasps: Sequence[Sequence[Grasp]]) -> float:
        """1 where most episodes that ask for a grasp have one, less where many have none.

        Raises:
            InspireError: hardly any episode has one.
        """
        has_grasp = [
            bool(of_episode) for of_episode, asked in zip(grasps, self.asked, strict=True) if asked.carries
        ]
        if not self.recording.instructions or not has_grasp or np.mean(has_grasp) >= _SOME_GRASPS:
            return 1.0
        if np.mean(has_grasp) < _FEW_GRASPS:
            raise InspireError(
                f"only {sum(has_grasp)} of {counted(len(has_grasp), 'episode')} whose instructions ask for a "
                "grasp have one. Look "
                "at the gripper's values: --width, --command, --open-is."
            )
        return _UNCERTAIN


def _finite(recording: Recording, by_arm: Sequence[EndEffectorColumns]) -> Recording:
    """The recording without episodes in which a value that is read is not finite.

    Raises:
        InspireError: no episode is left, and the gripper's values are not finite.
    """
    damaged = {
        values: ~np.isfinite(values.of(recording.columns)).all(axis=1)
        for columns in by_arm
        for values in columns.parts.values()
    }
    is_damaged = np.any(list(damaged.values()), axis=0)
    episodes = [rows for rows in recording.episodes() if rows.stop > rows.start]
    kept = [number for number, rows in enumerate(episodes) if not is_damaged[rows].any()]
    if len(kept) == len(recording.starts) or not episodes:
        return recording
    if not kept:
        positions = [columns.position_values for columns in by_arm]
        bad = [values for values, frames in damaged.items() if frames.any()]
        if all(values in positions for values in bad):
            return recording  # the gripper can be read; the episodes get no labels
        raise InspireError(
            "every episode has values that are no numbers (NaN) in "
            f"{', '.join(values.described(recording.names) for values in bad)}. Correct them, or name other values: "
            "--position, --width, --command."
        )
    rows = np.concatenate([np.arange(episodes[number].start, episodes[number].stop) for number in kept])
    lengths = [episodes[number].stop - episodes[number].start for number in kept]
    texts = recording.instructions
    return replace(
        recording,
        columns={name: values[rows] for name, values in recording.columns.items()},
        starts=np.cumsum([0, *lengths[:-1]]),
        instructions=tuple(texts[number] for number in kept) if texts else (),
    )


# --- in words


def _grasp_findings(arms: Sequence[Arm], grasps: Sequence[Sequence[Grasp]], empty: float) -> list[Finding]:
    """How many grasps the episodes have, and which arm makes them."""
    held = [[g for g in episode if g.holds_object is not False or empty == NEVER_EMPTY] for episode in grasps]
    counts = Counter(map(len, held))
    value = ", ".join(
        f"{count} each in {counted(episodes, 'episode')}" for count, episodes in sorted(counts.items())
    )
    findings = [Finding("grasps", value)]
    if len(arms) > 1:
        by_arm = Counter(grasp.arm for episode in held for grasp in episode)
        value = ", ".join(
            f"{arm.end_effector.arm} grasps {counted(by_arm[i], 'time')}" for i, arm in enumerate(arms)
        )
        findings.append(
            Finding("arm", value, "each object is asked about from the arm that grasps it", "--arm")
        )
    return findings


def _levels(arm: Arm) -> str:
    return "; ".join(
        f"{name} {scale.closed:.4g} closed, {scale.open:.4g} open"
        for name, scale in (("width", arm.width_scale), ("command", arm.command_scale))
        if scale is not None
    )
