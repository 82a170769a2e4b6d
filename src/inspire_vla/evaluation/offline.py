"""Actions against a demonstration: errors by action dimension and over the horizon, gripper events hit and missed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, Int

from inspire_vla.errors import InspireError, counted
from inspire_vla.labels.gripper import held_command, neutral_value, opening_scale
from inspire_vla.labels.value_names import is_opening

POLICY, MEAN, LAST = "policy", "mean action", "last action"
PREDICTORS = (POLICY, MEAN, LAST)
"""What is compared with the demonstration: the policy; the mean action of the dataset, always; the demonstration's
action before the decision, repeated (at the first frame, where there is none, the mean)."""
GRIPPER_EVENTS = ("close", "open")
CLOSED_BELOW, OPEN_ABOVE = 0.35, 0.65
"""As fractions of the gripper's range."""
_FEW_VALUES = 5
"""A last value with another name is a gripper if it takes no more different values."""


@dataclass(frozen=True)
class GripperRange:
    """The commands of a closed and of an open gripper."""

    closed: float
    open: float

    def __call__(self, commands: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """Commands → openings, 0 closed … 1 open."""
        return ((commands - self.closed) / (self.open - self.closed)).clip(0.0, 1.0)


@dataclass(frozen=True)
class ActionScale:
    """What a dataset's actions are measured by.

    Attributes:
        names: of the D numbers of an action.
        mean, spread: (D,) mean and standard deviation over the dataset, in the robot's units.
        grippers: {number of an action dimension that moves a gripper: the values of open and closed}.
        tolerance: frames by which a gripper event may be early or late.
    """

    names: tuple[str, ...]
    mean: Float[np.ndarray, " D"]
    spread: Float[np.ndarray, " D"]
    grippers: Mapping[int, GripperRange]
    tolerance: int

    @classmethod
    def of(
        cls,
        actions: Float[np.ndarray, "N D"],
        starts: Int[np.ndarray, " E"],
        names: Sequence[str],
        tolerance: int,
        reference: Bool[np.ndarray, " N"] | None = None,
        opens_high: Mapping[int, bool] = MappingProxyType({}),
    ) -> "ActionScale":
        """Measure a dataset's actions.

        Args:
            starts: rows at which an episode begins.
            names: of the dimensions; their numbers where they have none.
            reference: the rows that mean and spread are taken from; None: all.
            opens_high: of grippers, whether large values mean open, where that is known.
        """
        rows = actions if reference is None else actions[reference]
        scales = {
            i: _gripper_range(actions[:, i], starts, opens_high.get(i)) for i in _grippers(names, actions)
        }
        return cls(
            tuple(names),
            rows.mean(axis=0),
            rows.std(axis=0),
            {i: scale for i, scale in scales.items() if scale is not None},
            tolerance,
        )

    @property
    def moves(self) -> Bool[np.ndarray, " D"]:
        """Whether each number varies at all. A relative error is the mean over those that do."""
        return self.spread > 1e-6 * np.maximum(1.0, np.abs(self.mean))


@dataclass(frozen=True)
class GripperScores:
    """Gripper events of one kind. A demonstrated event is hit by at most one event of the policy, within the tolerance.

    delays: frames from the demonstrated event to the policy's, of those that were hit.
    """

    demonstrated: int = 0
    hit: int = 0
    predicted: int = 0
    delays: tuple[int, ...] = ()


@dataclass(frozen=True)
class OfflineScores:
    """The actions of a policy on the frames of one recorded episode. Sums, so that episodes can be added up.

    Attributes:
        compared: for each step of the chunk ahead, how many actions were compared.
        error: {one of PREDICTORS: sum of |predicted − demonstrated| for each action dimension, in the robot's units}.
        relative_by_horizon: {predictor: for each step ahead, the sum of the error relative to the dataset's spread,
            averaged over the dimensions that vary}.
        gripper: {"close" or "open": GripperScores}.
    """

    compared: tuple[int, ...] = ()
    error: dict[str, tuple[float, ...]] = field(default_factory=dict)
    relative_by_horizon: dict[str, tuple[float, ...]] = field(default_factory=dict)
    gripper: dict[str, GripperScores] = field(default_factory=dict)


def score_actions(
    demonstrated: Float[np.ndarray, "T D"],
    chunks: Sequence[tuple[int, Float[np.ndarray, "H D"]]],
    executed: Float[np.ndarray, "T D"],
    scale: ActionScale,
) -> OfflineScores:
    """Compare what a policy would have done with what was demonstrated.

    Args:
        chunks: (frame of the decision, the whole predicted chunk). Steps beyond the end of the episode do not count.
        executed: the actions that would have been executed: the first ones of each chunk.

    Raises InspireError where the policy's actions have another size.
    """
    for _, chunk in chunks:
        if chunk.shape[1] != demonstrated.shape[1]:
            raise InspireError(
                f"The policy's actions have {counted(chunk.shape[1], 'number')}, the dataset's {demonstrated.shape[1]}."
            )
    horizon = max((len(chunk) for _, chunk in chunks), default=0)
    compared = np.zeros(horizon, dtype=int)
    error = {name: np.zeros(demonstrated.shape[1]) for name in PREDICTORS}
    relative = {name: np.zeros(horizon) for name in PREDICTORS}
    moves = scale.moves
    for frame, chunk in chunks:
        truth = demonstrated[frame : frame + len(chunk)]
        steps = len(truth)
        compared[:steps] += 1
        last = demonstrated[frame - 1] if frame else scale.mean
        for name, predicted in ((POLICY, chunk[:steps]), (MEAN, scale.mean), (LAST, last)):
            difference = np.abs(predicted - truth)
            error[name] += difference.sum(axis=0)
            if moves.any():
                relative[name][:steps] += (difference[:, moves] / scale.spread[moves]).mean(axis=1)
    return OfflineScores(
        tuple(compared.tolist()),
        {name: tuple(map(float, values)) for name, values in error.items()},
        {name: tuple(map(float, values)) for name, values in relative.items()},
        _gripper_scores(demonstrated, executed, scale),
    )


def _gripper_scores(
    demonstrated: Float[np.ndarray, "T D"], executed: Float[np.ndarray, "T D"], scale: ActionScale
) -> dict[str, GripperScores]:
    scores = {kind: GripperScores() for kind in GRIPPER_EVENTS}
    for dimension, opening in scale.grippers.items():
        start = bool(_is_closed(opening(demonstrated[:1, dimension]))[0])
        truth, predicted = (
            gripper_events(opening(actions[:, dimension]), start) for actions in (demonstrated, executed)
        )
        for kind in GRIPPER_EVENTS:
            earlier = scores[kind]
            delays = match_events(truth[kind], predicted[kind], scale.tolerance)
            scores[kind] = GripperScores(
                earlier.demonstrated + len(truth[kind]),
                earlier.hit + len(delays),
                earlier.predicted + len(predicted[kind]),
                (*earlier.delays, *delays),
            )
    return scores


def _grippers(names: Sequence[str], actions: Float[np.ndarray, "N D"]) -> list[int]:
    """Which values of an action are grippers: by name; else the last one, unless a name says what it is."""
    named = [i for i, name in enumerate(names) if is_opening(name, "action", several=True)]
    last = len(names) - 1
    without_names = all(name.isdecimal() for name in names)
    return named or ([last] if without_names or len(np.unique(actions[:, last])) <= _FEW_VALUES else [])


def _gripper_range(
    command: Float[np.ndarray, " N"], starts: Int[np.ndarray, " E"], open_is_high: bool | None
) -> GripperRange | None:
    """The values of a closed and an open gripper; None if it never moves.

    Where it is not known which is which, most episodes begin with an open one.
    """
    held = held_command(command, starts)
    if open_is_high is None:
        open_is_high = bool(np.mean(held[starts] > (held.min() + held.max()) / 2) >= 0.5)
    if neutral_value(command) is not None:  # a trigger: its pulses are rare: quantiles would miss them
        ends = float(command.min()), float(command.max())
        return GripperRange(*(ends if open_is_high else ends[::-1]))
    scale = opening_scale(command, open_is_high=open_is_high)
    return None if scale is None else GripperRange(scale.closed, scale.open)


def _is_closed(opening: Float[np.ndarray, " T"], before: bool = False) -> Bool[np.ndarray, " T"]:
    """Between both thresholds, as at the neutral value of a trigger, the state before holds."""
    state = np.where(opening < CLOSED_BELOW, 1, np.where(opening > OPEN_ABOVE, 0, -1))
    latest = np.maximum.accumulate(np.where(state >= 0, np.arange(len(opening)), -1))
    return np.where(latest >= 0, state[latest] == 1, before)


def gripper_events(opening: Float[np.ndarray, " T"], closed_before: bool) -> dict[str, list[int]]:
    """Return the frames at which the gripper closes and opens.

    Args:
        opening: 0 closed … 1 open.
        closed_before: the state before the first frame.
    """
    closed = _is_closed(opening, closed_before).astype(int)
    change = np.diff(closed, prepend=int(closed_before))
    return {"close": np.flatnonzero(change > 0).tolist(), "open": np.flatnonzero(change < 0).tolist()}


def match_events(demonstrated: Sequence[int], predicted: Sequence[int], tolerance: int) -> tuple[int, ...]:
    """Return the delays of the demonstrated events that were hit. Both lists are in order of time.

    Each event of the policy hits at most one demonstrated event: the first that is left within the tolerance.
    """
    waiting, delays = list(predicted), []
    for event in demonstrated:
        while waiting and waiting[0] < event - tolerance:
            waiting.pop(0)
        if waiting and waiting[0] <= event + tolerance:
            delays.append(waiting.pop(0) - event)
    return tuple(delays)
