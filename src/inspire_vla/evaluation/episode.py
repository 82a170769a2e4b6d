"""An episode being played: its environment, the rest of its chunk of actions, and what has been said in it."""

import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.evaluation.footage import Footage
from inspire_vla.evaluation.gripper import GripperLog
from inspire_vla.evaluation.protocols import Decision, Observation
from inspire_vla.evaluation.records import EpisodeRecord
from inspire_vla.evaluation.truth import AnswerRule, Confusion, add, asked, control_overrides, correct, merge
from inspire_vla.instruction import NoObjectFound, find_mentions
from inspire_vla.observation_history import ObservationHistory

MAX_UNDECODABLE_IN_A_ROW = 5


@dataclass(frozen=True)
class EpisodeJob:
    """One episode to play. `seed` fixes the initial state; the same seed pairs two policies."""

    suite: str
    task: str
    episode: int
    seed: int
    record_video: bool = False

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.suite, self.task, self.seed)


@dataclass(frozen=True)
class RolloutSettings:
    """How episodes are played. `n_action_steps`: actions executed of each chunk, None for all of it."""

    policy: str = "policy"
    n_action_steps: int | None = None
    max_steps: int | None = None
    control: str = "none"


class Episode:
    """One episode in its environment, from `reset` over `decide` and `step` to its `record`."""

    def __init__(
        self, job: EpisodeJob, env: Any, settings: RolloutSettings, rule: AnswerRule, n_obs_steps: int = 1
    ) -> None:
        self.history = ObservationHistory(n_obs_steps)
        self.job, self.env, self.settings, self.rule = job, env, settings, rule
        self.started = time.perf_counter()
        self.steps = 0
        self.success = False
        self.finished = False
        self.error: str | None = None
        self.traceback: str | None = None
        self.crashed = False
        self.chunk: list[np.ndarray] = []
        self.last_action: np.ndarray | None = None
        self.mentions: tuple[str, ...] = ()
        self.timeline: list[tuple[int, tuple[str, ...], tuple[str | None, ...], tuple[float, ...]]] = []
        self.confusions: list[Confusion] = []
        self.inference_ms: list[float] = []
        self.batches: list[int] = []
        self.undecodable = self.undecodable_in_a_row = 0
        self.forward_passes = self.drafts_accepted = 0
        self.answers_to_override = self.answers_overridden = 0
        self.said: dict[str, str] | None = None
        self.gripper_closes = float(_metadata(env).get("gripper_closes", 1.0))
        self.gripper = GripperLog(self.gripper_closes)
        self.footage = Footage(fps=float(_metadata(env).get("render_fps", 10)))
        self.rng = np.random.default_rng([job.seed, 0x1A5])
        self.observation: Observation = {}  # of now
        self.shown: Observation = {}  # to the agent: with the images before, where it looks back
        self.info: Mapping[str, Any] = {}
        self.instruction = ""

    def reset(self) -> None:
        self.observation, self.info = self.env.reset(seed=self.job.seed)
        self.shown = self.history.observe(self.observation)
        self.instruction = str(self.info.get("instruction", self.info.get("task", self.job.task)))
        self._film()

    def truth(self) -> dict[str, str]:
        return self.rule.truth(self.info)

    def forced(self) -> dict[str, str] | None:
        truth = self.truth()
        return control_overrides(
            self.settings.control, self._asked_about(truth), truth, self.rule.words(), self.rng
        )

    def _asked_about(self, truth: Mapping[str, str]) -> tuple[str, ...]:
        """What the agent will answer: as in its last decision, before that what the instruction mentions."""
        named = self.mentions
        if not named:
            with suppress(NoObjectFound):
                named = find_mentions(self.instruction)
            if not truth.keys() <= set(named):  # the environment calls things otherwise than we parse them
                named = tuple(truth)
        return named[: self.rule.max_objects]

    def decide(self, decision: Decision, ms: float, batch: int) -> None:
        """Take the agent's decision: note its answers against the truth and queue its actions."""
        truth = self.truth()
        self.mentions = tuple(decision.mentions)
        truths = tuple(truth.get(mention) for mention in self.mentions)
        answers = tuple(decision.answers)
        confidences = tuple(round(float(c), 3) for c in decision.confidences)
        self.said = dict(zip(self.mentions, answers, strict=True))
        self.forward_passes += int(getattr(decision, "forward_passes", 0))
        self.drafts_accepted += sum(map(bool, getattr(decision, "accepted", ())))
        self.timeline.append((self.steps, answers, truths, confidences))
        if self.settings.control != "none":
            self.answers_to_override += len(answers)
            self.answers_overridden += sum(map(bool, decision.overridden))
        self.confusions.extend({} for _ in range(len(answers) - len(self.confusions)))
        for confusion, said, true, forced in zip(
            self.confusions, answers, truths, decision.overridden, strict=False
        ):
            if true is not None and not forced:
                add(confusion, true, said)
        self.inference_ms.append(ms)
        self.batches.append(batch)
        if not decision.decodable or decision.actions is None:
            self._hold()
            return
        self.undecodable_in_a_row = 0
        actions = np.asarray(decision.actions, dtype=np.float32)
        if actions.ndim != 2 or len(actions) == 0 or not np.isfinite(actions).all():
            raise InspireError(
                f"an agent must return finite actions (horizon, dim), found shape {actions.shape}."
            )
        self.chunk = list(actions[: self.settings.n_action_steps])

    def _hold(self) -> None:
        """An undecodable action is counted, and the arm stays where it is until the next decision."""
        self.undecodable += 1
        self.undecodable_in_a_row += 1
        if self.undecodable_in_a_row >= MAX_UNDECODABLE_IN_A_ROW:
            self.error = f"undecodable actions {self.undecodable_in_a_row} times in a row"
            self.finished = True
            return
        hold = np.zeros(self.env.action_space.shape, dtype=np.float32)
        # the gripper keeps what it was told, and begins open: a zero would close CALVIN's
        hold[-1] = -self.gripper_closes if self.last_action is None else self.last_action[-1]
        self.chunk = [hold]

    def step(self) -> None:
        self.last_action = self.chunk.pop(0)
        self.observation, _, terminated, truncated, self.info = self.env.step(self.last_action)
        self.shown = self.history.observe(self.observation)
        self.gripper.note(self.steps, self.last_action, self.info)
        self.steps += 1
        self._film()
        self.success = bool(self.info.get("is_success", False))
        limit = self.settings.max_steps
        self.finished = self.success or terminated or truncated or (limit is not None and self.steps >= limit)

    def fail(self, error: BaseException) -> None:
        """A crash ends the episode as a failure, with its traceback."""
        self.error = f"{type(error).__name__}: {error}"
        self.traceback = "".join(traceback.format_exception(error))
        self.crashed = True
        self.success, self.finished = False, True

    def _film(self) -> None:
        """Keep an image for the video: what the environment renders, else what the agent saw first."""
        if not self.job.record_video:
            return
        pixels = self.observation.get("pixels")
        if getattr(self.env, "render_mode", None) == "rgb_array":
            frame = self.env.render()
        else:
            frame = next(iter(pixels.values())) if isinstance(pixels, Mapping) else pixels
        self.footage.frames.append(np.array(frame, dtype=np.uint8))
        if self.last_action is not None:
            self.footage.actions.append(self.last_action)
        if "agent_pos" in self.observation:
            self.footage.states.append(np.array(self.observation["agent_pos"], dtype=np.float32))

    def record(self) -> EpisodeRecord:
        confusion = merge(self.confusions)
        return EpisodeRecord(
            suite=self.job.suite,
            task=self.job.task,
            instruction=self.instruction,
            episode=self.job.episode,
            seed=self.job.seed,
            success=self.success,
            steps=self.steps,
            policy=self.settings.policy,
            error=self.error,
            traceback=self.traceback,
            mentions=self.mentions,
            decisions=len(self.timeline),
            undecodable=self.undecodable,
            forward_passes=self.forward_passes,
            drafts_accepted=self.drafts_accepted,
            answers_scored=asked(confusion),
            answers_correct=correct(confusion),
            confusion=confusion,
            confusion_by_mention=tuple(self.confusions),
            inference_ms_median=round(float(np.median(self.inference_ms)), 3) if self.inference_ms else None,
            batch_mean=round(float(np.mean(self.batches)), 2) if self.batches else None,
            wall_s=round(time.perf_counter() - self.started, 3),
            init_state=self.info.get("init_state"),
            timeline=tuple(self.timeline),
            gripper=tuple(self.gripper.changes),
            crashed=self.crashed,
            answers_to_override=self.answers_to_override,
            answers_overridden=self.answers_overridden,
        )


def _metadata(env: Any) -> Mapping[str, Any]:
    return getattr(env, "metadata", None) or {}
