"""What an evaluation is: fixed before it starts, and the same when it is resumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.evaluation.episode import EpisodeJob
from inspire_vla.evaluation.protocols import Benchmark, select_tasks
from inspire_vla.evaluation.truth import CONTROLS

FIRST_SEED = 1_000_000
"""Seeds of evaluation start here, far from those of demonstrations, so that no initial state was trained on."""


@dataclass(frozen=True)
class EvaluationPlan:
    """What to evaluate. Fixed before it starts; a run is resumed only under the same plan.

    `policy`: what run.json says of the policy, at least {"name": …}. `videos_per_task`: how many episodes of a task
    to film, in the first `filmed_tasks` tasks of each suite (None: in all). `shard`: (i, n) plays every n-th episode
    from the i-th. `extra`: more for run.json.
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

    def __post_init__(self) -> None:
        if self.episodes_per_task < 1:
            raise InspireError(f"episodes_per_task must be at least 1, found {self.episodes_per_task}.")
        if self.control not in CONTROLS:
            raise InspireError(f"unknown control of answers {self.control!r}. Possible: {list(CONTROLS)}.")
        if not 0 <= self.shard[0] < self.shard[1]:
            raise InspireError(f"shard must be (i, n) with 0 ≤ i < n, found {self.shard}.")
        if "name" not in self.policy:
            raise InspireError(f"plan.policy must hold a name, found {dict(self.policy)}.")

    def jobs(self, benchmark: Benchmark) -> list[EpisodeJob]:
        """Return the episodes in a fixed order: task by task, so that an environment is used again.

        Raises InspireError: unknown suites or tasks, or more episodes than the benchmark has initial states.
        """
        tasks = select_tasks(benchmark, self.suites, self.tasks)
        states = getattr(benchmark, "initial_states", {})
        limits = [
            (states.get((s, t), states.get(s)), f"{s} / {t}" if (s, t) in states else s) for s, t in tasks
        ]
        least, where = min(
            ((n, of) for n, of in limits if n is not None), default=(self.episodes_per_task, "")
        )
        if self.episodes_per_task > least:
            raise InspireError(
                f"{self.episodes_per_task} episodes a task, but {where} has {least} fixed initial state"
                f"{'s' * (least > 1)} a task: each is played once at most. Possible: at most {least}."
            )
        filmed = {st for s in self.suites for st in [t for t in tasks if t[0] == s][: self.filmed_tasks]}
        jobs = [
            EpisodeJob(*st, e, self.first_seed + e, record_video=e < self.videos_per_task and st in filmed)
            for st in tasks
            for e in range(self.episodes_per_task)
        ]
        return jobs[self.shard[0] :: self.shard[1]]

    def identity(self, benchmark: Benchmark) -> dict[str, Any]:
        """What must agree for a run to be resumed: the plan, and the benchmark's `conditions`."""
        return {
            "suites": list(self.suites),
            "tasks": None if self.tasks is None else list(self.tasks),
            "episodes_per_task": self.episodes_per_task,
            "policy": dict(self.policy),
            "first_seed": self.first_seed,
            "n_action_steps": self.n_action_steps,
            "max_steps": self.max_steps,
            "control": self.control,
            "shard": list(self.shard),
            "conditions": dict(getattr(benchmark, "conditions", {})),
        }
