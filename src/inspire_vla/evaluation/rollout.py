"""The rollout loop: several environments side by side in one process, decided for in one batch.

A chunk of actions is executed open-loop for `n_action_steps`, then the agent is asked again. An environment whose
episode has ended takes the next one at once.
"""

import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from inspire_vla.dialogue import AnswerRule
from inspire_vla.errors import InspireError, PolicyLost, counted, is_machine_fault, reason_of
from inspire_vla.evaluation.controls import UNASKED, check_control
from inspire_vla.evaluation.episode import Episode, EpisodeJob, RolloutSettings, describe_crash
from inspire_vla.evaluation.protocols import Agent, Benchmark
from inspire_vla.evaluation.recording import Recording
from inspire_vla.evaluation.records import EpisodeRecord

VideoWriter = Callable[[EpisodeJob, EpisodeRecord, Recording], str | None]
"""Writes an episode's video and returns its path relative to the run's folder."""


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
    """Play `jobs` in up to `slots` environments at once; yield a record as each episode ends.

    A crash in an environment or in the agent makes that episode a failure with a traceback; the others continue.
    PolicyLost and faults of the machine end the rollout, and no episode counts as failed for them.
    The result is deterministic for the same jobs, slots and agent.
    """
    settings = settings or RolloutSettings()
    if settings.n_action_steps is None:
        settings = replace(settings, n_action_steps=getattr(agent, "n_action_steps", None))
    check_control(
        settings.control,
        reasoning_enabled=getattr(agent, "reasoning_enabled", True),
        answers_precede_action=getattr(agent, "answers_precede_action", True),
    )
    rule, n_obs_steps = AnswerRule.of(agent), getattr(agent, "n_obs_steps", 1)
    waiting, pool = iter(jobs), EnvironmentPool(benchmark)
    playing: list[Episode] = []
    try:
        while True:
            while len(playing) < max(1, slots) and (job := next(waiting, None)) is not None:
                if on_start is not None:
                    on_start(job)
                try:
                    episode = Episode(job, pool.take(job), settings, rule, n_obs_steps)
                except Exception as error:
                    if is_machine_fault(error):
                        raise
                    yield failed(job, settings.policy, error)
                    continue
                with _crash_ends(episode):
                    episode.reset()
                playing.append(episode)
            if not playing:
                return
            _decide([e for e in playing if not e.finished and not e.chunk], agent)
            for episode in playing:
                if not episode.finished:
                    with _crash_ends(episode):
                        episode.step()
            for episode in [e for e in playing if e.finished]:
                playing.remove(episode)
                pool.give_back(episode)
                yield _record(episode, video_writer)
    finally:
        for episode in playing:
            close(episode.env)
        pool.close()


def failed(job: EpisodeJob, policy: str, error: BaseException | str) -> EpisodeRecord:
    """Return the record of an episode that crashed before it could be played, or with its worker."""
    reason, text = describe_crash(error) if isinstance(error, BaseException) else (error, None)
    return EpisodeRecord(
        suite=job.suite,
        task=job.task,
        instruction=job.task,
        episode=job.episode,
        seed=job.seed,
        success=False,
        steps=0,
        policy=policy,
        error=reason,
        traceback=text,
        crashed=True,
    )


class EnvironmentPool:
    """Keeps the environments of the current task, to be used again."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark
        self.spare: dict[tuple[str, str], list[Any]] = {}

    def take(self, job: EpisodeJob) -> Any:
        """Return a spare environment of the job's task, or make one and close those of other tasks."""
        if spare := self.spare.get((job.suite, job.task)):
            return spare.pop()
        self.close()
        return self.benchmark.make(job.suite, job.task)

    def give_back(self, episode: Episode) -> None:
        """Keep the environment of a finished episode as a spare one; close it if the episode ended with an error."""
        if episode.error is None:
            self.spare.setdefault((episode.job.suite, episode.job.task), []).append(episode.env)
        else:
            close(episode.env)  # its state is unknown

    def close(self) -> None:
        """Close all spare environments."""
        for environments in self.spare.values():
            while environments:
                close(environments.pop())


def close(env: Any) -> None:
    """Close an environment; an error is printed and does not stop the others."""
    try:
        env.close()
    except Exception:
        traceback.print_exc()


def _decide(asking: list[Episode], agent: Agent) -> None:
    """Ask the agent for all episodes in one batch; one by one if the batch as a whole crashes."""
    if not asking:
        return
    try:
        overrides = [episode.overrides() for episode in asking]
        mentions: dict[str, Any] = {}
        if asking[0].settings.control == UNASKED:
            mentions["mentions"] = [()] * len(asking)
        started = time.perf_counter()
        decisions = agent.act(
            [episode.agent_observation for episode in asking],
            [episode.instruction for episode in asking],
            overrides=None if all(row is None for row in overrides) else overrides,
            drafts=[episode.answers.drafts for episode in asking],
            **mentions,
        )
        ms = 1000 * (time.perf_counter() - started)
        if len(decisions) != len(asking):
            raise InspireError(
                f"Asked for {counted(len(asking), 'decision')}, the agent returned {len(decisions)}."
            )
    except PolicyLost:
        raise
    except Exception as error:
        if len(asking) > 1:
            for episode in asking:
                _decide([episode], agent)
        elif is_machine_fault(error):
            raise
        else:
            asking[0].fail(error)
        return
    for episode, decision in zip(asking, decisions, strict=True):
        with _crash_ends(episode):
            episode.decide(decision, ms, len(asking))


@contextmanager
def _crash_ends(episode: Episode) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_machine_fault(error):
            raise
        episode.fail(error)


def _record(episode: Episode, video_writer: VideoWriter | None) -> EpisodeRecord:
    record = episode.record()
    if video_writer is not None and episode.recording.frames:
        try:
            record = replace(record, video=video_writer(episode.job, record, episode.recording))
        except Exception as error:  # a missing video must not change the result
            warnings.warn(f"No video of {episode.job}: {reason_of(error)}", stacklevel=2)
    return record
