"""The one rollout loop: several environments side by side in one process, decided for in one batch.

A chunk of actions is executed open-loop for `n_action_steps`; then the agent is asked again. At every decision
its answers are held against the truth. A slot whose episode ends takes the next one at once.
"""

import inspect
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.evaluation.episode import Episode, EpisodeJob, RolloutSettings
from inspire_vla.evaluation.footage import Footage
from inspire_vla.evaluation.protocols import Agent, Benchmark
from inspire_vla.evaluation.records import EpisodeRecord
from inspire_vla.evaluation.truth import AnswerRule

VideoWriter = Callable[[EpisodeJob, EpisodeRecord, Footage], str | None]
"""Writes an episode's video and returns where, relative to the run's folder."""


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
    if settings.control != "none" and not getattr(agent, "reasoning_enabled", True):
        raise InspireError(
            f"The policy is not asked anything, so no answers can be forced (control {settings.control!r})."
        )
    rule = AnswerRule.of(agent)
    n_obs_steps = getattr(agent, "n_obs_steps", 1)
    waiting = iter(jobs)
    spare: dict[tuple[str, str], list[Any]] = {}
    playing: list[Episode] = []
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
                episode, failure = _start(job, benchmark, settings, rule, n_obs_steps, spare)
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
    job: EpisodeJob,
    benchmark: Benchmark,
    settings: RolloutSettings,
    rule: AnswerRule,
    n_obs_steps: int,
    spare: dict,
) -> tuple[Episode | None, EpisodeRecord]:
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
        episode = Episode(job, env, settings, rule, n_obs_steps)
        episode.reset()
    except Exception as error:
        if env is not None:
            _close(env)
        text = "".join(traceback.format_exception(error))
        message = f"{type(error).__name__}: {error}"
        return None, replace(failure, error=message, traceback=text, crashed=True)
    return episode, failure


def _decide(playing: list[Episode], agent: Agent) -> None:
    """Ask the agent for all episodes whose chunk is used up; one by one if the batch as a whole crashes."""
    asking = [episode for episode in playing if not episode.finished and not episode.chunk]
    if not asking:
        return
    guessing = "drafts" in inspect.signature(agent.act).parameters
    groups = [asking]
    while groups:
        group = groups.pop()
        try:
            forced = [episode.forced() for episode in group]
            known = {"drafts": [episode.said for episode in group]} if guessing else {}
            started = time.perf_counter()
            decisions = agent.act(
                [episode.shown for episode in group],
                [episode.instruction for episode in group],
                overrides=None if all(answer is None for answer in forced) else forced,
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


def _guarded(episode: Episode, act: Callable[[], None]) -> None:
    try:
        act()
    except Exception as error:
        episode.fail(error)


def _finish(episode: Episode, spare: dict, video_writer: VideoWriter | None) -> EpisodeRecord:
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
