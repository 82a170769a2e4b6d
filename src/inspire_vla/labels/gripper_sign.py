"""Do larger gripper values mean open or closed? Evidence from a whole dataset, or a refusal.

What is known: the robot type (LeRobot's conventions), or a name such as gripper_open. What is seen:

- Where the gripper changes. It closes where the end effector is slow and low, carries something away, and opens at
  another place. Read with the wrong sign, it carries things from the goal to the next object, or nothing at all.
- Where the fingers stop. A gripper that is commanded to close stops at an object; one that is
  commanded to open never does.

How a demonstration begins is no evidence: many arms rest with a closed gripper.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, counted
from inspire_vla.labels.gripper import Grasp, true_runs, valleys

_OPEN_IS_HIGH = {
    **dict.fromkeys(
        "so100 so101 so_follower so100_follower so101_follower bi_so_follower bi_so100_follower bi_so101_follower "
        "so100_bimanual koch koch_follower koch_bimanual moss lekiwi lekiwi_client omx omx_follower".split(),
        (True, (-20.0, 120.0), "0 closed … 100 open"),
    ),
    **dict.fromkeys(
        "openarm_follower bi_openarm_follower rebot_b601_follower bi_rebot_b601_follower".split(),
        (False, (-300.0, 30.0), "0 closed, negative degrees open"),
    ),
}
"""LeRobot's robot types → whether larger values are open, possible values, the convention in words. From the sources of
lerobot.robots 0.6: a gripper of the first kind is a motor with MotorNormMode.RANGE_0_100, calibrated closed to open."""

_SLOW = 0.4
"""Of the usual speed: slower, the end effector stops to grasp or to release."""
_LOW = 0.1
"""Of the episode's range of height, from below."""
_GROUND = 0.35
"""Of the range of height, from below: objects are grasped lower than that."""
_AWAY_M = 0.04
"""A change of the gripper nearer to the first position is part of the rest pose."""
_TRAVEL_M = 0.05
"""Something is carried at least so far sideways."""
_LONGER = 2.5
_CLEAR = 0.8
"""Share of the episodes that must agree."""
_MOST_VOTES, _FEWEST_VOTES = 0.6, 0.2
"""Share of the episodes with a moving gripper that must tell something. The smaller one is enough where so many agree
that this is hardly by chance."""
_BY_CHANCE = 0.01
_CERTAIN, _LESS_CERTAIN = 0.95, 0.75
"""Share of the episodes that agree in a certain sign; the certainty if fewer do. Confidences are multiplied by it."""
_MOST_CLOSINGS = 2.5
"""For each object that is carried. A gripper that closes more often is not understood."""
_GAP = 0.15
"""Of the range: fingers that stop so far from closed have met an object."""
_METRES_BETWEEN_FINGERS = (0.01, 0.15)
"""The widest opening of grippers. An angle or a fraction would be larger."""


@dataclass(frozen=True)
class Evidence:
    """One reason for a sign. clear: enough by itself. certainty: 0..1."""

    open_is_high: bool
    why: str
    clear: bool = True
    certainty: float = 1.0


@dataclass(frozen=True)
class Demonstrated:
    """One arm in one episode.

    path: (T, 3) of the fingertips, metres, robot base frame. value: (T,) of the gripper, 0 low … 1 high. fps: frames a
    second. carries: number of objects that the instruction asks to carry. released: whether it says where to.
    """

    path: NDArray[np.float64]
    value: NDArray[np.float64]
    fps: float
    carries: int = 1
    released: bool = True


def known_convention(robot_type: str, low: float, high: float) -> Evidence | None:
    """What LeRobot's robot type says about measured or commanded values between `low` and `high`.

    low, high: in the dataset's unit. None for a type that is not known, or values that are not of its convention.
    """
    convention = _OPEN_IS_HIGH.get(robot_type.lower())
    if convention is None:
        return None
    open_is_high, (least, most), words = convention
    if low < least or high > most or high - low <= 2:  # −100 … 100, radians or 0 … 1: another convention
        return None
    return Evidence(open_is_high, f"robot type {robot_type} records {words}")


def at_work(path: NDArray[np.float64], fps: float) -> NDArray[np.bool_]:
    """Whether the end effector is at work in each frame: slow or low, and away from where it began.

    Args:
        path: (T, 3) of the fingertips, metres, robot base frame.
        fps: frames a second.

    Returns:
        (T,) bool.
    """
    from scipy.ndimage import minimum_filter1d  # here, as in gripper.py

    speed = np.linalg.norm(np.diff(path, axis=0, prepend=path[:1]), axis=1)
    moving = speed[speed > 0.05 * speed.max()] if speed.max() > 0 else speed
    usual = float(np.quantile(moving, 0.6)) if len(moving) else 0.0
    around = 2 * max(1, round(0.15 * fps)) + 1
    slow = minimum_filter1d(speed, around, mode="nearest") <= _SLOW * usual
    height, distance = path[:, 2], np.linalg.norm(path - path[0], axis=1)
    low = height <= height.min() + _LOW * np.ptp(height)
    return (slow | low) & (distance > max(_AWAY_M, 0.15 * float(distance.max())))


def _vote(shown: Demonstrated) -> int:
    """+1: objects are carried while the value is low, so open is high. −1: the reverse. 0: nothing tells."""
    closings = valleys(shown.value)
    falls = {(valley.close, -1) for valley in closings if valley.close > 0}
    rises = {(valley.release, 1) for valley in closings if valley.right is not None}
    changes, busy = sorted(falls | rises), at_work(shown.path, shown.fps)
    work = [(frame, direction) for frame, direction in changes if busy[frame]]
    travel = max(_TRAVEL_M, 0.15 * float(np.ptp(shown.path[:, :2], axis=0).max()))
    height = shown.path[:, 2]
    ground = float(height.min()) + _GROUND * float(np.ptp(height))
    score = 0
    for (first, direction), (second, back) in itertools.pairwise(work):
        far = float(np.linalg.norm((shown.path[second] - shown.path[first])[:2])) > travel
        is_low = height[first] < ground  # objects are grasped low; a gripper may open anywhere
        score += -direction if far and is_low and back != direction else 0
    if score or shown.carries != 1 or not work:
        return int(np.sign(score))
    if shown.released:
        return _longest_carry(shown, changes, work[0][0], work[-1][0])
    frame, direction = work[-1]  # "pick up …": what is held at the end was grasped last
    moved = float(np.linalg.norm(shown.path[-1] - shown.path[frame])) > _TRAVEL_M
    return -direction if moved else 0


def _longest_carry(shown: Demonstrated, changes: list[tuple[int, int]], first: int, end: int) -> int:
    """As `_vote`, by how far the end effector moves with either value between two frames."""
    steps = np.linalg.norm(np.diff(shown.path[:, :2], axis=0), axis=1)
    moved = {-1: 0.0, 1: 0.0}
    inside = [change for change in changes if first <= change[0] <= end]
    for (start, direction), (stop, _) in itertools.pairwise(inside):
        moved[direction] += float(steps[start:stop].sum())
    longer = max(moved, key=lambda direction: moved[direction])
    clear = moved[longer] > _TRAVEL_M and moved[longer] > _LONGER * moved[-longer]
    return -longer if clear else 0


def seen_where_it_changes(episodes: Sequence[Demonstrated]) -> Evidence | None:
    """Evidence from the places at which the gripper changes; None if no episode tells anything."""
    used = [shown for shown in episodes if np.ptp(shown.value) > 0.3]
    votes = [_vote(shown) for shown in used]
    high, low = votes.count(1), votes.count(-1)
    cast, agree = high + low, max(high, low)
    if cast == 0:
        return None
    from scipy.stats import binomtest

    most = cast >= _MOST_VOTES * len(used)
    many = cast >= _FEWEST_VOTES * len(used) and binomtest(agree, cast).pvalue < _BY_CHANCE
    is_clear = (most or many) and agree >= _CLEAR * cast and _is_purposeful(used, high >= low)
    word = "low" if high >= low else "high"
    why = (
        f"objects are carried from where it becomes {word} in {agree} of "
        f"{counted(cast, 'episode that tells', 'episodes that tell')}"
    )
    if cast < len(used):
        why += f", of {len(used)}"
    certain = cast >= _CLEAR * len(used) and agree >= _CERTAIN * cast
    return Evidence(high >= low, why, is_clear, 1.0 if certain else _LESS_CERTAIN)


def _is_purposeful(episodes: Sequence[Demonstrated], open_is_high: bool) -> bool:
    """Whether the gripper closes at work about as often as the instructions ask for, in most episodes."""
    often = []
    for shown in episodes:
        found, busy = (
            valleys(shown.value if open_is_high else 1 - shown.value),
            at_work(shown.path, shown.fps),
        )
        often.append(sum(busy[v.close] for v in found if v.close > 0) / max(shown.carries, 1))
    return float(np.median(often)) <= _MOST_CLOSINGS


def seen_where_fingers_stop(
    command: NDArray[np.float64], width: NDArray[np.float64], fps: float
) -> Evidence | None:
    """Evidence from fingers that stop before the end to which they are commanded.

    Args:
        command, width: (N,) 0 low … 1 high; larger commands lead to larger widths.
        fps: frames a second.

    Returns:
        None if it is not clear that they stop before one end alone.
    """
    stops = {}
    shortest = max(4, round(0.4 * fps))
    for name, active, gap in (("low", command < 0.1, width), ("high", command > 0.9, 1 - width)):
        runs = [(first, end) for first, end in true_runs(active) if end - first >= shortest]
        if not runs:
            return None
        stops[name] = np.array([np.median(gap[(first + end) // 2 : end]) for first, end in runs])
    for name, other in (("low", "high"), ("high", "low")):
        if np.quantile(stops[name], 0.7) > _GAP and np.quantile(stops[other], 0.9) < _GAP / 3:
            met = int((stops[name] > _GAP).sum())
            why = (
                f"fingers that are commanded to the {name} end stop before it {counted(met, 'time')}, as at "
                "an object"
            )
            return Evidence(name == "low", why)
    return None


def metres_between_fingers(low: float, high: float) -> Evidence | None:
    """Measured openings in metres are zero when closed.

    low, high: least and largest value of the dataset. None if they can be no metres between fingers.
    """
    if 0 <= low < 0.25 * high and _METRES_BETWEEN_FINGERS[0] < high < _METRES_BETWEEN_FINGERS[1]:
        return Evidence(True, f"the distance of the fingers in metres, up to {high:.3g}")
    return None


def decide(evidence: Sequence[Evidence], values: str, *, grasps_differ: bool) -> tuple[bool, str, float]:
    """Weigh the evidence for a sign.

    Args:
        values: what the gripper's values are, for the error.
        grasps_differ: whether the two signs give other grasps.

    Returns:
        Whether open is high, the reasons, and how certain this is, 0..1.

    Raises:
        InspireError: two reasons contradict each other, or there is none.
    """
    clear = [one for one in evidence if one.clear]
    signs = {one.open_is_high for one in clear}
    if len(signs) == 2:
        readings = "\n".join(
            f"  --open-is {'high' if sign else 'low'}: "
            + "; ".join(one.why for one in clear if one.open_is_high == sign)
            for sign in (True, False)
        )
        raise InspireError(
            f"larger values of {values} may mean open or closed, and the evidence is contradictory:\n{readings}\n"
            "Look at the data, and give one of these options."
        )
    if signs:
        return signs.pop(), "; ".join(one.why for one in clear), max(one.certainty for one in clear)
    if not grasps_differ:
        return True, "nothing is grasped with either sign", 0.5
    hints = "".join(f" Weak evidence: {one.why}." for one in evidence)
    raise InspireError(
        f"larger values of {values} may mean open or closed, and nothing in the data tells which.{hints} Give "
        "--open-is high (larger values are open) or --open-is low (larger values are closed)."
    )


_HELD_AT_END_S = 0.2
"""Seconds that a grasp lasts at least, if the episode ends with it and has others."""


def drop_idle(grasps: Sequence[Grasp], path: NDArray[np.float64], needed: int, fps: float) -> list[Grasp]:
    """Leave out closings that grasp nothing because the gripper only rests closed.

    These are closed from the first frame; or until the last frame, after a closing that was not at work or that came to
    rest just before, or after which the end effector stays where it is, while the instruction needs no more grasps than
    there are (`needed`). If there is no other grasp and it needs some, those that hold something are kept.

    Args:
        grasps: of one arm in one episode, in frames.
        path: (T, 3) of its fingertips, metres, robot base frame.
        needed: number of grasps that the instruction needs.
        fps: frames a second.
    """
    rest, busy = [], at_work(path, fps)
    complete = sum(grasp.close > 0 and grasp.release < len(path) for grasp in grasps)
    for grasp in grasps:
        begins, ends = grasp.close == 0, grasp.release >= len(path)
        brief = len(path) - grasp.hold < _HELD_AT_END_S * fps
        stays = float(np.linalg.norm(path[-1] - path[grasp.hold])) < _AWAY_M
        idle = brief or not busy[grasp.hold] or (stays and complete >= max(needed, 1))
        if begins or (ends and idle):
            rest.append(grasp)
    kept = [grasp for grasp in grasps if grasp not in rest]
    if kept or not needed:
        return kept
    # begins or ends with the object in the gripper
    return [g for g in rest if g.holds_object and not (g.close == 0 and g.release >= len(path))]
