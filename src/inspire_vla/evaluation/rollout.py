"""The one rollout loop: several environments side by side in one process, decided for in one batch.

A chunk of actions is executed open-loop for `n_action_steps`; then the agent is asked again. At every decision
its answers are held against the truth. A slot whose episode ends takes the next one at once.
"""

import inspect
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.evaluation.footage import Footage
from inspire_vla.evaluation.gripper import GripperLog
from inspire_vla.evaluation.protocols import Agent, Benchmark, Decision, Observation
from inspire_vla.evaluation.records import EpisodeRecord
from inspire_vla.evaluation.truth import AnswerRule, Confusion, add, asked, correct, forced_answers, merge

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
    control: str = "own"


VideoWriter = Callable[[EpisodeJob, EpisodeRecord, Footage], str | None]
"""Writes an episode's video and returns where, relative to the run's folder."""


class _Episode:
    """An episode being played: its environment, the rest of its chunk, and what has been said."""

    def __init__(self, job: EpisodeJob, env: Any, settings: RolloutSettings, rule: AnswerRule):
        self.job, self.env, self.settings, self.rule = job, env, settings, rule
        self.started = time.perf_counter()
        self.steps = 0
        self.success = False
        self.finished = False
        self.error: str | None = None
        self.traceback: str | None = None
        self.chunk: list[np.ndarray] = []
        self.last_action: np.ndarray | None = None
        self.mentions: tuple[str, ...] = ()
        self.timeline: list[tuple[int, tuple[str, ...], tuple[str | None, ...], tuple[float, ...]]] = []
        self.confusions: list[Confusion] = []
        self.inference_ms: list[float] = []
        self.batches: list[int] = []
        self.undecodable = self.undecodable_in_a_row = 0
        self.passes = self.guesses_right = 0
        self.said: dict[str, str] | None = None
        self.gripper = GripperLog()
        self.footage = Footage(fps=float(_metadata(env).get("render_fps", 10)))
        self.rng = np.random.default_rng([job.seed, 0x1A5])
        self.observation: Observation = {}
        self.info: Mapping[str, Any] = {}
        self.instruction = ""

    def reset(self) -> None:
        self.observation, self.info = self.env.reset(seed=self.job.seed)
        self.instruction = str(self.info.get("instruction", self.info.get("task", self.job.task)))
        self._film()

    def truth(self) -> dict[str, str]:
        return self.rule.truth(self.info)

    def forced(self) -> dict[str, str] | None:
        asked_about = dict(islice(self.truth().items(), self.rule.max_objects))
        return forced_answers(self.settings.control, asked_about, self.rule.words(), self.rng)

    def decide(self, decision: Decision, ms: float, batch: int) -> None:
        """Take the agent's decision: note its answers against the truth and queue its actions."""
        truth = self.truth()
        self.mentions = tuple(decision.mentions)
        truths = tuple(truth.get(mention) for mention in self.mentions)
        answers = tuple(decision.answers)
        confidences = tuple(round(float(c), 3) for c in decision.confidences)
        self.said = dict(zip(self.mentions, answers, strict=True))
        self.passes += int(getattr(decision, "passes", 0))
        self.guesses_right += sum(map(bool, getattr(decision, "guessed", ())))
        self.timeline.append((self.steps, answers, truths, confidences))
        self.confusions.extend({} for _ in range(len(answers) - len(self.confusions)))
        for confusion, said, true, forced in zip(
            self.confusions, answers, truths, decision.forced, strict=False
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
        if self.last_action is not None:
            hold[-1] = self.last_action[-1]  # the gripper keeps what it was told
        self.chunk = [hold]

    def step(self) -> None:
        self.last_action = self.chunk.pop(0)
        self.observation, _, terminated, truncated, self.info = self.env.step(self.last_action)
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
        self.success, self.finished = False, True

    def _film(self) -> None:
        """Keep a picture for the video: what the environment renders, else what the agent saw first."""
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
            passes=self.passes,
            guesses_right=self.guesses_right,
            answers_asked=asked(confusion),
            answers_correct=correct(confusion),
            confusion=confusion,
            confusion_by_mention=tuple(self.confusions),
            inference_ms_median=round(float(np.median(self.inference_ms)), 3) if self.inference_ms else None,
            batch_mean=round(float(np.mean(self.batches)), 2) if self.batches else None,
            wall_s=round(time.perf_counter() - self.started, 3),
            init_state=self.info.get("init_state"),
            timeline=tuple(self.timeline),
            gripper=tuple(self.gripper.changes),
        )


def rollout(
    jobs: Iterable[EpisodeJob],
    benchmark: Benchmark,
    agent: Agent,
    settings: RolloutSettings | None = None,
    *,
    slots: int = 4,
    video_writer: VideoWriter | None = None,
    on_start: Callable[[EpisodeJob], None] | None = None,
) -> Iterator[EpisodeRecord]:
    """Play `jobs` with up to `slots` environments at once and yield a record as each episode ends.

    A crash in an environment or in the agent makes that episode a failure with a traceback; the others go on.
    Deterministic for the same jobs, slots and agent.
    """
    settings = settings or RolloutSettings()
    if settings.n_action_steps is None:
        settings = replace(settings, n_action_steps=getattr(agent, "n_action_steps", None))
    rule = AnswerRule.of(agent)
    waiting = iter(jobs)
    spare: dict[tuple[str, str], list[Any]] = {}
    playing: list[_Episode] = []
    exhausted = False
    try:
        while True:
            while not exhausted and len(playing) < max(1, slots):
                job = next(waiting, None)
                if job is None:
                    exhausted = True
                    break
                if on_start is not None:
                    on_start(job)
                episode, failure = _start(job, benchmark, settings, rule, spare)
                if episode is not None:
                    playing.append(episode)
                else:
                    yield failure
            if not playing:
                return
            _decide(playing, agent)
            for episode in playing:
                if not episode.finished:
                    _guarded(episode, episode.step)
            for episode in [e for e in playing if e.finished]:
                playing.remove(episode)
                yield _finish(episode, spare, video_writer)
    finally:
        for env in [e.env for e in playing] + [env for envs in spare.values() for env in envs]:
            _close(env)


def _start(
    job: EpisodeJob, benchmark: Benchmark, settings: RolloutSettings, rule: AnswerRule, spare: dict
) -> tuple[_Episode | None, EpisodeRecord]:
    """Return the started episode, or None and the record of its failure."""
    failure = EpisodeRecord(job.suite, job.task, job.task, job.episode, job.seed, False, 0, settings.policy)
    env = None
    try:
        free = spare.get((job.suite, job.task))
        if not free:
            for envs in spare.values():  # a slot has moved on to another task
                while envs:
                    _close(envs.pop())
        env = free.pop() if free else benchmark.make(job.suite, job.task)
        episode = _Episode(job, env, settings, rule)
        episode.reset()
    except Exception as error:
        if env is not None:
            _close(env)
        text = "".join(traceback.format_exception(error))
        return None, replace(failure, error=f"{type(error).__name__}: {error}", traceback=text)
    return episode, failure


def _decide(playing: list[_Episode], agent: Agent) -> None:
    """Ask the agent for all episodes whose chunk is used up; one by one if the batch as a whole crashes."""
    asking = [episode for episode in playing if not episode.finished and not episode.chunk]
    if not asking:
        return
    guessing = "guesses" in inspect.signature(agent.act).parameters
    groups = [asking]
    while groups:
        group = groups.pop()
        try:
            forced = [episode.forced() for episode in group]
            known = {"guesses": [episode.said for episode in group]} if guessing else {}
            started = time.perf_counter()
            decisions = agent.act(
                [episode.observation for episode in group],
                [episode.instruction for episode in group],
                answers=None if all(answer is None for answer in forced) else forced,
                **known,
            )
            ms = 1000 * (time.perf_counter() - started)
            if len(decisions) != len(group):
                raise InspireError(f"asked for {len(group)} decisions, the agent returned {len(decisions)}.")
        except Exception as error:
            if len(group) == 1:
                group[0].fail(error)
            else:
                groups.extend([episode] for episode in group)
            continue
        for episode, decision in zip(group, decisions, strict=True):
            _guarded(episode, partial(episode.decide, decision, ms, len(group)))


def _guarded(episode: _Episode, act: Callable[[], None]) -> None:
    try:
        act()
    except Exception as error:
        episode.fail(error)


def _finish(episode: _Episode, spare: dict, video_writer: VideoWriter | None) -> EpisodeRecord:
    if episode.error is None:
        spare.setdefault((episode.job.suite, episode.job.task), []).append(episode.env)
    else:
        _close(episode.env)  # its state is unknown
    record = episode.record()
    if video_writer is not None and episode.footage.frames:
        try:
            record = replace(record, video=video_writer(episode.job, record, episode.footage))
        except Exception as error:  # a missing video must not change what happened
            warnings.warn(f"no video of {episode.job}: {error}", stacklevel=2)
    return record


def _close(env: Any) -> None:
    try:
        env.close()
    except Exception:
        traceback.print_exc()  # an environment that cannot be closed must not cost the others


def _metadata(env: Any) -> Mapping[str, Any]:
    return getattr(env, "metadata", None) or {}
