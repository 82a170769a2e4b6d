"""Rollouts, success rates with intervals, paired comparison. Knows neither a simulator nor a policy."""

from inspire_vla.evaluation.clusters import PairedClusters
from inspire_vla.evaluation.compare import compare, group_of, write_comparison
from inspire_vla.evaluation.episode import EpisodeJob, RolloutSettings
from inspire_vla.evaluation.on_ray import RayCluster
from inspire_vla.evaluation.plan import FIRST_SEED, EvaluationPlan
from inspire_vla.evaluation.pooling import pool
from inspire_vla.evaluation.protocols import Agent, Benchmark, Decision, Factory, select_tasks
from inspire_vla.evaluation.provenance import provenance
from inspire_vla.evaluation.records import EpisodeLog, EpisodeRecord, Run, read_run
from inspire_vla.evaluation.rollout import rollout
from inspire_vla.evaluation.runner import evaluate
from inspire_vla.evaluation.statistics import (
    Estimate,
    PairCounts,
    average,
    mcnemar,
    paired_difference,
    wilson,
)
from inspire_vla.evaluation.truth import AnswerRule

__all__ = [
    "FIRST_SEED",
    "Agent",
    "AnswerRule",
    "Benchmark",
    "Decision",
    "EpisodeJob",
    "EpisodeLog",
    "EpisodeRecord",
    "Estimate",
    "EvaluationPlan",
    "Factory",
    "PairCounts",
    "PairedClusters",
    "RayCluster",
    "RolloutSettings",
    "Run",
    "average",
    "compare",
    "evaluate",
    "group_of",
    "mcnemar",
    "paired_difference",
    "pool",
    "provenance",
    "read_run",
    "rollout",
    "select_tasks",
    "wilson",
    "write_comparison",
]
