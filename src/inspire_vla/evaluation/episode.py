"""One episode being played: its environment, the rest of its action chunk, its answers, and what is recorded."""

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from inspire_vla.dialogue import AnswerRule
from inspire_vla.episode_conventions import (
    MAX_UNDECODABLE_IN_A_ROW,
    gripper_closes,
    instruction_in,
    still_action,
)
from inspire_vla.errors import InspireError
from inspire_vla.evaluation.answer_log import AnswerLog
from inspire_vla.evaluation.confusion import correct, merge, scored
from inspire_vla.evaluation.controls import control_overrides
from inspire_vla.evaluation.protocols import Observation
from inspire_vla.evaluation.recording import Recording
from inspire_vla.evaluation.records import EpisodeKey, EpisodeRecord
from inspire_vla.observation_history import ObservationHistory

if TYPE_CHECKING:
    from inspire_vla.decoding import Decision

GRIPPER_DEADBAND = 0.1
"""A gripper command in [−1, 1] with a smaller magnitude leaves the gripper as it is."""


@dataclass(frozen=True)
class EpisodeJob:
    """One episode to play. `seed` fixes the initial state; the same seed pairs two policies.

    part: of a recorded episode whose task changes; a task may come back.
    """

    suite: str
    task: str
    episode: int
    seed: int
    record_video: bool = False
    part: int = 0

    @property
    def key(self) -> EpisodeKey:
        return (self.suite, self.task, self.seed)


@dataclass(frozen=True)
class RolloutSettings:
    """How episodes are played.

    Attributes:
        policy: its name in the records.
        n_action_steps: how many actions of each chunk are executed; None: all.
        max_steps: control steps after which an episode fails; None: the environment's own limit.
        control: which answers are overridden, see `CONTROLS`.
    """

    policy: str = "policy"
    n_action_steps: int | None = None
    max_steps: int | None = None
    control: str = "none"


@dataclass
class GripperLog:
    """The gripper's state over an episode.

    Attributes:
        closes: sign of the command that closes the gripper, from `metadata["gripper_closes"]` of the environment.
        changes: (step, "open" | "closed" | "holding"), one entry for each change. "holding" is closed around an
            object that is asked about, as far as the environment tells.
    """

    closes: float = 1.0
    changes: list[tuple[int, str]] = field(default_factory=list)
    closed: bool | None = None

    def add(self, step: int, action: np.ndarray, info: Mapping[str, Any]) -> None:
        """Note the state after the action (action_dim,) of `step`, whose last number is the gripper command."""
        command = float(action[-1])
        if abs(command) > GRIPPER_DEADBAND:
            self.closed = command * self.closes > 0
        if self.closed is None:
            return
        holding = self.closed and bool(np.any(info.get("grasped", False)))
        state = "holding" if holding else "closed" if self.closed else "open"
        if not self.changes or self.changes[-1][1] != state:
            self.changes.append((step, state))


def describe_crash(error: BaseException) -> tuple[str, str]:
    """Return the error and the traceback of a crash, as an episode's record holds them."""
    return f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))


class Episode:
    """One episode in its environment: `reset`, then `decide` and `step` until `finished`, then `record`."""

    def __init__(
        self, job: EpisodeJob, env: Any, settings: RolloutSettings, rule: AnswerRule, n_obs_steps: int = 1
    ) -> None:
        self.job, self.env, self.settings, self.rule = job, env, settings, rule
        metadata = getattr(env, "metadata", None) or {}
        self.history = ObservationHistory(n_obs_steps)
        self.gripper = GripperLog(gripper_closes(env))
        self.recording = Recording(fps=float(metadata.get("render_fps", 10)))
        self.rng = np.random.default_rng([job.seed, 0x1A5])
        self.started = time.perf_counter()
        self.observation: Observation = {}
        self.agent_observation: Observation = {}  # with the images of earlier steps, if the agent takes some
        self.info: Mapping[str, Any] = {}
        self.instruction = job.task
        self.steps = 0
        self.chunk: list[np.ndarray] = []
        self.last_action: np.ndarray | None = None
        self.success = self.finished = self.crashed = False
        self.error: str | None = None
        self.traceback: str | None = None
        self.instructions: list[str] = []  # all of the episode, where it changes
        self.answers = AnswerLog()
        self.goals: tuple[int | None, ...] = ()
        self.inference_ms: list[float] = []
        self.batch_sizes: list[int] = []
        self.undecodable = self.undecodable_in_a_row = 0
        self.forward_passes = self.drafts_accepted = 0

    def reset(self) -> None:
        """Start the environment with the job's seed, and read the instruction from its `info`."""
        self.observation, self.info = self.env.reset(seed=self.job.seed)
        self.agent_observation = self.history.stack_observation(self.observation)
        self._read_instruction()
        self._record_frame()

    def _read_instruction(self) -> None:
        """Take the instruction from `info`; the one before stays where there is none.

        A new one asks about other objects, and ends the chunk of the old one.
        """
        instruction = instruction_in(self.info, self.instruction)
        if instruction != self.instruction:
            self.instruction, self.chunk = instruction, []
            self.answers.change_instruction()
        if instruction not in self.instructions:
            self.instructions.append(instruction)

    def overrides(self) -> dict[str, str] | None:
        """Return the answers that the control sets at this step; None without a control."""
        truth = self.rule.truth(self.info)
        return control_overrides(
            self.settings.control, self._asked_mentions(truth), truth, self.rule.words(), self.rng
        )

    def _asked_mentions(self, truth: Mapping[str, str]) -> tuple[str, ...]:
        """Return what the policy is asked about: as in the last decision, at first as found in the instruction."""
        last = self.answers.last_mentions
        mentions = last or self.rule.mentions(self.instruction)
        given = bool(last) or self.instruction in self.rule.overrides
        # Where the environment names its objects in other words, the truth is about those.
        if not given and not truth.keys() <= set(mentions):
            mentions = tuple(truth)
        return mentions[: self.rule.max_objects]

    def decide(self, decision: "Decision", ms: float, batch_size: int) -> None:
        """Score the decision's answers against the truth and queue its actions."""
        self.inference_ms.append(ms)
        self.batch_sizes.append(batch_size)
        self.forward_passes += decision.forward_passes
        self.drafts_accepted += sum(map(bool, decision.accepted))
        controlled = self.settings.control != "none"
        self.answers.add(self.steps, decision, self.rule.truth(self.info), controlled=controlled)
        if not decision.decodable or decision.actions is None:
            self._hold_still()
            return
        self.undecodable_in_a_row = 0
        actions = np.asarray(decision.actions, dtype=np.float32)
        if actions.ndim != 2 or len(actions) == 0 or not np.isfinite(actions).all():
            raise InspireError(
                f"An agent must return finite actions (horizon, action_dim), found shape {actions.shape}."
            )
        if hasattr(self.env, "add_chunk"):
            self.env.add_chunk(self.steps, actions)
        self.chunk = list(actions[: self.settings.n_action_steps])

    def _hold_still(self) -> None:
        """Count an undecodable decision; the arm holds still for one step, then the agent is asked again."""
        self.undecodable += 1
        self.undecodable_in_a_row += 1
        if self.undecodable_in_a_row >= MAX_UNDECODABLE_IN_A_ROW:
            self.error = f"undecodable actions {self.undecodable_in_a_row} times in a row"
            self.finished = True
            return
        self.chunk = [still_action(self.env, self.last_action)]

    def step(self) -> None:
        """Execute the next action of the chunk, (action_dim,), as the agent gave it."""
        self.last_action = self.chunk.pop(0)
        self.observation, _, terminated, truncated, self.info = self.env.step(self.last_action)
        self.agent_observation = self.history.stack_observation(self.observation)
        self._read_instruction()
        self.gripper.add(self.steps, self.last_action, self.info)
        self.steps += 1
        self._record_frame()
        goals_met = tuple(self.info.get("goals", ()))
        since = self.goals or (None,) * len(goals_met)
        self.goals = tuple(
            self.steps if step is None and now else step for step, now in zip(since, goals_met, strict=True)
        )
        self.success = bool(self.info.get("is_success", False))
        limit = self.settings.max_steps
        self.finished = self.success or terminated or truncated or (limit is not None and self.steps >= limit)

    def fail(self, error: BaseException) -> None:
        """End the episode as a failure, because of a crash."""
        self.error, self.traceback = describe_crash(error)
        self.success, self.finished, self.crashed = False, True, True

    def _record_frame(self) -> None:
        """Keep a frame for the video: the environment's rendering, else the agent's first camera."""
        if not self.job.record_video:
            return
        pixels = self.observation.get("pixels")
        if getattr(self.env, "render_mode", None) == "rgb_array":
            frame = self.env.render()
        else:
            frame = next(iter(pixels.values())) if isinstance(pixels, Mapping) else pixels
        self.recording.frames.append(np.array(frame, dtype=np.uint8))
        if self.last_action is not None:
            self.recording.actions.append(self.last_action)
        if "agent_pos" in self.observation:
            self.recording.states.append(np.array(self.observation["agent_pos"], dtype=np.float32))

    def record(self) -> EpisodeRecord:
        """Return the episode's record, without its video."""
        job, answers = self.job, self.answers
        confusion = merge(answers.confusions)
        offline = self.env.scores() if hasattr(self.env, "scores") else None
        return EpisodeRecord(
            suite=job.suite,
            task=job.task,
            instruction=" → ".join(self.instructions) or job.task,
            episode=job.episode,
            seed=job.seed,
            success=None if offline is not None else self.success,
            steps=self.steps,
            policy=self.settings.policy,
            error=self.error,
            traceback=self.traceback,
            mentions=answers.mentions,
            decisions=len(answers.timeline),
            undecodable=self.undecodable,
            answers_scored=scored(confusion),
            answers_correct=correct(confusion),
            confusion=confusion,
            confusion_by_mention=tuple(answers.confusions),
            forward_passes=self.forward_passes,
            drafts_accepted=self.drafts_accepted,
            inference_ms_median=round(float(np.median(self.inference_ms)), 3) if self.inference_ms else None,
            batch_mean=round(float(np.mean(self.batch_sizes)), 2) if self.batch_sizes else None,
            wall_s=round(time.perf_counter() - self.started, 3),
            timeline=tuple(answers.timeline),
            gripper=tuple(self.gripper.changes),
            goals=self.goals,
            init_state=self.info.get("init_state"),
            crashed=self.crashed,
            answers_to_override=answers.to_override,
            answers_overridden=answers.overridden,
            offline=offline,
        )
