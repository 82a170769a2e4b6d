"""Rollouts, success rates with intervals, paired comparison. Knows neither a simulator nor a policy.

protocols.py   what a benchmark and an agent offer
controls.py    answers that are replaced                  confusion.py        counts of given and true answers
episode.py     one episode being played                   answer_log.py       its answers beside the truth
rollout.py     many episodes in one process               workers.py          many processes
ray_workers.py many processes of a Ray cluster            plan.py             what an evaluation plays
runner.py      `evaluate`                                 records.py          the episodes of a run
runs.py        a run; shards and seeds together           recording.py        what is filmed of an episode
policy_description.py  what a run records of a policy     provenance.py       where numbers come from
comparison.py  policies against each other                compare_over_seeds.py  the same over tasks and seeds
playback.py    recorded episodes as a benchmark           statistics.py       intervals and tests
offline.py     actions against demonstrations             compare_offline.py  policies on the same recorded frames
"""

from inspire_vla.dialogue import AnswerRule
from inspire_vla.episode_conventions import FIRST_SEED
from inspire_vla.evaluation.compare_over_seeds import compare_over_seeds
from inspire_vla.evaluation.comparison import CHANGED, compare, group_of, groups_by_training
from inspire_vla.evaluation.controls import check_control_of
from inspire_vla.evaluation.episode import EpisodeJob, RolloutSettings
from inspire_vla.evaluation.plan import EvaluationPlan, PlaybackPlan
from inspire_vla.evaluation.playback import PlaybackBenchmark, PolicyInputs
from inspire_vla.evaluation.policy_description import PolicyDescription, PolicyShapes
from inspire_vla.evaluation.protocols import Agent, Benchmark, Factory, select_tasks, tasks_in_training
from inspire_vla.evaluation.provenance import provenance
from inspire_vla.evaluation.ray_workers import RayCluster
from inspire_vla.evaluation.recording import read_arrays
from inspire_vla.evaluation.records import EpisodeLog, EpisodeRecord
from inspire_vla.evaluation.rollout import rollout
from inspire_vla.evaluation.runner import evaluate
from inspire_vla.evaluation.runs import Run, join_shards, pool, read_run
from inspire_vla.evaluation.statistics import (
    Estimate,
    PairCounts,
    average,
    mcnemar,
    paired_difference,
    wilson,
)

__all__ = [
    "CHANGED",
    "FIRST_SEED",
    "Agent",
    "AnswerRule",
    "Benchmark",
    "EpisodeJob",
    "EpisodeLog",
    "EpisodeRecord",
    "Estimate",
    "EvaluationPlan",
    "Factory",
    "PairCounts",
    "PlaybackBenchmark",
    "PlaybackPlan",
    "PolicyDescription",
    "PolicyInputs",
    "PolicyShapes",
    "RayCluster",
    "RolloutSettings",
    "Run",
    "average",
    "check_control_of",
    "compare",
    "compare_over_seeds",
    "evaluate",
    "group_of",
    "groups_by_training",
    "join_shards",
    "mcnemar",
    "paired_difference",
    "pool",
    "provenance",
    "read_arrays",
    "read_run",
    "rollout",
    "select_tasks",
    "tasks_in_training",
    "wilson",
]
