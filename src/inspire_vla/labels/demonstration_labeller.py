"""Labels from a demonstration alone, for any dataset that records an end effector and a gripper.

What is not given is found from the dataset: the columns, the joints' unit, the gripper's range and sign. Each episode
is then labelled by `EpisodeLabeller`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, counted
from inspire_vla.instruction import acts_of
from inspire_vla.labels.arm import Arm, grasps_of
from inspire_vla.labels.calibration import NEVER_EMPTY, calibrate_arms
from inspire_vla.labels.column_values import ColumnValues
from inspire_vla.labels.end_effector import EndEffectorColumns, check_units
from inspire_vla.labels.episode_labeller import FEWEST_FRAMES, EpisodeLabeller
from inspire_vla.labels.find_end_effector import add_gripper, find_end_effector_columns
from inspire_vla.labels.finding import Finding
from inspire_vla.labels.gripper import EMPTY
from inspire_vla.labels.labeller import Episode, Recording, Tracks
from inspire_vla.labels.value_names import state_and_action_columns


@dataclass(frozen=True)
class DemonstrationLabeller:
    """Labels any dataset that records the end effector's position (or joint angles) and the gripper.

    Args:
        end_effector: the columns to read; None finds them by name. Without a gripper in it, that is found.
        width_values, command_values: in place of those that are found; only without `end_effector`.
        open_is_high: whether larger gripper values mean a wider opening; None finds it out from the dataset.
        arm: "left" or "right": label with this arm only; None takes the arm that grasps.
        metres_per_unit: of the position; 0.001 for millimetres.
        fingertips_below_m: how far the fingertips are below the recorded position (a flange, a wrist).
        target_drop_m: how far the middle of an object is below the fingertips that grasp it from above.
        goal_drop_m: how far the middle of a goal is below the fingertips that release over it.
        empty: see `find_grasps`. arms, certainty, findings: set by `calibrate`. certainty: of the gripper's sign, 0..1.
    """

    one_task_at_a_time: ClassVar[bool] = True  # a grasp belongs to the task during which it is made
    end_effector: EndEffectorColumns | None = None
    width_values: ColumnValues | None = None
    command_values: ColumnValues | None = None
    open_is_high: bool | None = None
    arm: str | None = None
    metres_per_unit: float = 1.0
    fingertips_below_m: float = 0.0
    target_drop_m: float = 0.015
    goal_drop_m: float = 0.03
    empty: float = EMPTY
    arms: tuple[Arm, ...] = ()
    certainty: float = 1.0
    findings: tuple[Finding, ...] = field(default=(), compare=False)
    name: str = field(default="from_demonstration", init=False)

    def __post_init__(self) -> None:
        check_units(self.metres_per_unit, self.fingertips_below_m)

    def settings(self) -> dict[str, Any]:
        """The values that decide the labels, as JSON values."""
        return {
            "given": {
                "end_effector": self.end_effector and self.end_effector.to_json(),
                "width": self.width_values and str(self.width_values),
                "command": self.command_values and str(self.command_values),
                "open_is_high": self.open_is_high,
                "arm": self.arm,
            },
            "arms": [
                {
                    "arm": arm.end_effector.arm,
                    "end_effector": arm.end_effector.to_json(),
                    "gripper_closed_and_open": {
                        key: scale and [scale.closed, scale.open]
                        for key, scale in (("command", arm.command_scale), ("width", arm.width_scale))
                    },
                }
                for arm in self.arms
            ],
            **{
                name: getattr(self, name)
                for name in ("metres_per_unit", "fingertips_below_m", "target_drop_m", "goal_drop_m", "empty")
            },
        }

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The columns in which the end effector and the gripper are, or may be."""
        given = [arm.end_effector for arm in self.arms]
        if not given and self.end_effector is not None:
            given = [self.end_effector]
        read = dict.fromkeys(name for one in given for name in one.columns())
        return tuple(read) or state_and_action_columns(names)

    def calibrate(self, recording: Recording) -> Self:
        """Find out what was not given: the columns, and the gripper's range and sign. `findings` says what and why.

        Raises:
            InspireError: no position or gripper is found, or two that differ; the sign is in doubt; or the positions
                are in an impossible unit.
        """
        if self.arms:
            return self
        by_arm = tuple(
            columns.in_known_unit(recording, self.metres_per_unit)
            for columns in self._find_columns(recording)
        )
        calibrated = calibrate_arms(
            recording, by_arm, path=self._path, open_is_high=self.open_is_high, empty=self.empty
        )
        return replace(self, **vars(calibrated))

    def _find_columns(self, recording: Recording) -> tuple[EndEffectorColumns, ...]:
        """The columns of each arm: given, or found."""
        if self.end_effector is not None:
            resolved = self.end_effector.resolve(recording.names)
            return (resolved if len(resolved.parts) > 1 else add_gripper(resolved, recording),)
        gripper = {"width": self.width_values, "command": self.command_values}
        given: dict[str, Any] = {
            f"{what}_values": v.resolve(recording.names) for what, v in gripper.items() if v is not None
        }
        by_arm = find_end_effector_columns(recording, needs_gripper=not given, arm=self.arm)
        if not given:
            return by_arm
        if len(by_arm) > 1:
            arms = " and ".join(one.arm for one in by_arm)
            raise InspireError(f"--width and --command are of one arm, and {arms} are found: give --arm.")
        reasons = dict.fromkeys((name.removesuffix("_values") for name in given), "given")
        return (replace(by_arm[0], reasons={**by_arm[0].reasons, **reasons}, **given),)

    def label(self, episode: Episode) -> Tracks:
        """Label one episode. An episode with positions that are no numbers gets no labels and a note.

        Raises:
            InspireError: the columns are not known, because `calibrate` was not called.
        """
        if not self.arms:
            raise InspireError(
                "the labeller does not know the end effector's columns: call calibrate() first."
            )
        frames, objects, columns = len(episode), len(episode.mentions), episode.columns
        used = [values.of(columns) for arm in self.arms for values in arm.end_effector.parts.values()]
        paths = np.stack([self._path(arm.end_effector, columns) for arm in self.arms])
        if any(not np.isfinite(values).all() for values in (paths, *used)):
            return Tracks.unknown(frames, objects, "positions that are no numbers")
        if frames < FEWEST_FRAMES:
            return Tracks.unknown(frames, objects, f"only {counted(frames, 'frame')}")
        acts = acts_of(episode.instruction, episode.mentions, episode.roles)
        only_pushes = bool(acts) and all(act.push for act in acts)
        empty = EMPTY if only_pushes and self.empty == NEVER_EMPTY else self.empty
        grasps = grasps_of(self.arms, columns, list(paths), len(acts), episode.fps, empty)
        drops = {"target_drop_m": self.target_drop_m, "goal_drop_m": self.goal_drop_m}
        tracks = EpisodeLabeller(paths, grasps, acts, episode.mentions, **drops).label()
        assert tracks.confidence is not None
        return replace(tracks, confidence=tracks.confidence * np.float32(self.certainty))

    def _path(
        self, end_effector: EndEffectorColumns, columns: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.float64]:
        """(T, 3) metres: the path of an arm's fingertips."""
        return end_effector.fingertips(columns, self.metres_per_unit, self.fingertips_below_m)


def opens_high_of(settings: Any) -> dict[int, bool]:
    """What the settings that are stored with labels say of the gripper's command: value of `action` → open is high.

    Nothing where another labeller has made them.
    """
    known: dict[int, bool] = {}
    for arm in settings.get("arms") or () if isinstance(settings, Mapping) else ():
        try:
            command = ColumnValues.parse(arm["end_effector"]["command"])
            closed, opened = map(float, arm["gripper_closed_and_open"]["command"])
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            InspireError,
        ):  # no command, or other settings
            continue
        if command.column == "action":
            known |= dict.fromkeys(command.indices, opened > closed)
    return known
