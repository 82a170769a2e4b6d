"""What an evaluation plays, fixed before the start: tasks of a benchmark, or recorded episodes."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from inspire_vla.episode_conventions import FIRST_SEED
from inspire_vla.errors import InspireError, counted
from inspire_vla.evaluation.controls import check_control_of
from inspire_vla.evaluation.episode import EpisodeJob, RolloutSettings
from inspire_vla.evaluation.playback import PlaybackBenchmark, seed_of
from inspire_vla.evaluation.protocols import Benchmark, select_tasks
from inspire_vla.evaluation.runs import SEED_OFFSET


@dataclass(frozen=True)
class EvaluationPlan:
    """What to evaluate. It is fixed before the start; a run is resumed only under the same plan.

    Attributes:
        policy: what run.json says of the policy, at least {"name": …}.
        tasks: only these; None: all of the suites.
        n_action_steps, max_steps, control: see `RolloutSettings`.
        videos_per_task: how many episodes of a task to film, in the first `filmed_tasks` tasks of each suite (None:
            in all). Videos are chosen by this rule, never by outcome.
        shard: (i, n) plays every n-th episode from the i-th.
        extra: more for run.json.
    """

    suites: tuple[str, ...]
    episodes_per_task: int
    policy: Mapping[str, Any]
    tasks: tuple[str, ...] | None = None
    first_seed: int = FIRST_SEED
    n_action_steps: int | None = None
    max_steps: int | None = None
    control: str = "none"
    videos_per_task: int = 0
    filmed_tasks: int | None = None
    shard: tuple[int, int] = (0, 1)
    extra: Mapping[str, Any] = field(default_factory=dict)

    kind = "rollout"

    def __post_init__(self) -> None:
        if self.episodes_per_task < 1:
            raise InspireError(f"episodes_per_task must be at least 1, found {self.episodes_per_task}.")
        if not 0 <= self.first_seed <= SEED_OFFSET - self.episodes_per_task:
            raise InspireError(
                f"Seeds lie between 0 and {SEED_OFFSET:,}; found {self.first_seed} as the first of "
                f"{counted(self.episodes_per_task, 'episode')}."
            )
        _check(self)

    def jobs(self, benchmark: Benchmark) -> list[EpisodeJob]:
        """Return the episodes in a fixed order, task by task.

        Raises InspireError: unknown suites or tasks, or more episodes than the benchmark has initial states.
        """
        tasks = select_tasks(benchmark, self.suites, self.tasks)
        states = getattr(benchmark, "initial_states", {})
        for suite, task in tasks:
            limit = states.get((suite, task), states.get(suite, self.episodes_per_task))
            if self.episodes_per_task > limit:
                where = f"{suite} / {task}" if (suite, task) in states else suite
                raise InspireError(
                    f"{counted(self.episodes_per_task, 'episode')} per task, but {where} has "
                    f"{counted(limit, 'fixed initial state')} per task, and each is played at most once. Possible: "
                    f"at most {limit}."
                )
        filmed = {st for s in self.suites for st in [t for t in tasks if t[0] == s][: self.filmed_tasks]}
        jobs = [
            EpisodeJob(*st, e, self.first_seed + e, record_video=e < self.videos_per_task and st in filmed)
            for st in tasks
            for e in range(self.episodes_per_task)
        ]
        return _part(jobs, self.shard)

    def identity(self, benchmark: Benchmark) -> dict[str, Any]:
        """Return what must be equal to resume a run, as JSON: the plan and the benchmark's conditions."""
        plan = asdict(self) | {"conditions": dict(getattr(benchmark, "conditions", {}))}
        return _as_json(plan, without=("videos_per_task", "filmed_tasks", "extra"))

    @property
    def settings(self) -> RolloutSettings:
        return RolloutSettings(str(self.policy["name"]), self.n_action_steps, self.max_steps, self.control)


@dataclass(frozen=True)
class PlaybackPlan:
    """Which recorded episodes to evaluate a policy on. A run is resumed only under the same plan.

    Attributes:
        policy: what run.json says of the policy, at least {"name": …}.
        dataset: what run.json says of the dataset (`PlaybackBenchmark.describe`).
        n_action_steps, control, shard, videos, extra: as in EvaluationPlan; `videos` films the first episodes.
    """

    policy: Mapping[str, Any]
    dataset: Mapping[str, Any]
    episodes: tuple[int, ...]
    n_action_steps: int | None = None
    control: str = "none"
    videos: int = 0
    shard: tuple[int, int] = (0, 1)
    extra: Mapping[str, Any] = field(default_factory=dict)

    kind = "dataset"

    def __post_init__(self) -> None:
        _check(self)

    @property
    def settings(self) -> RolloutSettings:
        return RolloutSettings(str(self.policy["name"]), self.n_action_steps, None, self.control)

    def jobs(self, benchmark: PlaybackBenchmark) -> list[EpisodeJob]:
        """Return the episodes, in their order; an episode whose task changes has a job for each task."""
        episodes = set(self.episodes)
        chosen = [segment for segment in benchmark.segments if segment.episode in episodes]
        jobs = [
            EpisodeJob(benchmark.name, s.instruction, s.episode, seed_of(s), i < self.videos, s.part)
            for i, s in enumerate(chosen)
        ]
        return _part(jobs, self.shard)

    def identity(self, benchmark: PlaybackBenchmark) -> dict[str, Any]:
        """Return what must be equal to resume a run, as JSON. The dataset counts by its content."""
        scale = {k: v for k, v in self.dataset.items() if k != "path"}
        content = {"labels_sha256": benchmark.labels_sha256, "conditions": benchmark.conditions}
        return _as_json(asdict(self) | {"dataset": scale} | content, without=("videos", "extra"))


Plan = EvaluationPlan | PlaybackPlan


def _check(plan: Plan) -> None:
    """Raise InspireError for a policy without a name, a control that it does not allow, or a shard that is none."""
    check_control_of(plan.policy, plan.control)
    if not 0 <= plan.shard[0] < plan.shard[1]:
        raise InspireError(f"shard must be (i, n) with 0 ≤ i < n, found {plan.shard}.")
    if "name" not in plan.policy:
        raise InspireError(f"plan.policy must hold a name, found {dict(plan.policy)}.")


def _part(jobs: Sequence[EpisodeJob], shard: tuple[int, int]) -> list[EpisodeJob]:
    """Every n-th job from the i-th, for the shard (i, n)."""
    return list(jobs[shard[0] :: shard[1]])


def _as_json(plan: Mapping[str, Any], *, without: Collection[str]) -> dict[str, Any]:
    """The settings of a plan as JSON values, without those that do not change what is played."""
    kept = {name: value for name, value in plan.items() if name not in without}
    return dict(json.loads(json.dumps(kept)))
