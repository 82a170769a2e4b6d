"""Policies on the same recorded frames: answers against labels, actions against demonstrations, gripper events.

Intervals resample episodes (statistics.ratio_over_episodes), except those of gripper events, which are Wilson's.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inspire_vla.comparison_format import (
    ActionErrors,
    AnswerSummary,
    Compared,
    GripperEvent,
    GripperEvents,
    IntervalOfPairs,
    ObjectAccuracy,
    Offline,
    OfflineActions,
    OfflineAnswers,
    OfflineEpisodes,
    WordCounts,
)
from inspire_vla.errors import InspireError
from inspire_vla.evaluation.confusion import Accuracy, Confusion, merge, scored
from inspire_vla.evaluation.offline import LAST, MEAN, POLICY
from inspire_vla.evaluation.records import EpisodeKey, EpisodeRecord
from inspire_vla.evaluation.runs import Run
from inspire_vla.evaluation.statistics import Estimate, ratio_difference, ratio_over_episodes, wilson

Table = Mapping[EpisodeKey, EpisodeRecord]
"""The episodes of a run."""
_SCALE = ("action_mean", "action_spread")


def compare_offline(
    runs: Sequence[Run],
    tables: Sequence[Table],
    summaries: Sequence[AnswerSummary | None],
    compared: Compared,
) -> Offline:
    """Return the comparison of runs on recorded frames; policies are paired with the first by episode.

    Args:
        summaries: `comparison.answer_summary` of each run.
        compared: what is said of the policies.

    Raises InspireError for runs on datasets whose actions are not the same numbers.
    """
    dataset = _dataset(runs[0])
    names = dataset.get("action_names", [])
    for run in runs[1:]:
        other = _dataset(run).get("action_names", [])
        if other != names:
            raise InspireError(
                f"The runs are on datasets whose actions differ, so they cannot be compared: {names} and {other}."
            )
    return {
        **compared,
        "dataset": {"path": runs[0].info.get("dataset", {}).get("path", "")} | dataset,
        "other_labels": [run.name for run in runs if _differ(*(r.labels_sha256 for r in (runs[0], run)))],
        "other_scale": [run.name for run in runs if _differ(*map(_scale, (runs[0], run)))],
        "episodes": [_episodes(run, table) for run, table in zip(runs, tables, strict=True)],
        "answers": [
            _answers(runs[0], run, table, tables[0], summary)
            for run, table, summary in zip(runs, tables, summaries, strict=True)
        ],
        "actions": _actions(runs, tables, dataset),
        "gripper": [
            {"policy": run.name, "close": _gripper(table, "close"), "open": _gripper(table, "open")}
            for run, table in zip(runs, tables, strict=True)
        ],
    }


def _dataset(run: Run) -> dict[str, Any]:
    return dict(run.info.get("plan", {}).get("dataset", {}))


def _scale(run: Run) -> list[Any] | None:
    """What relative errors are relative to: it comes from the episodes that were not evaluated."""
    return [_dataset(run)[name] for name in _SCALE] if _dataset(run).keys() >= set(_SCALE) else None


def _differ(there: Any, here: Any) -> bool:
    """Whether both are known and not the same."""
    return there is not None and here is not None and there != here


def _episodes(run: Run, table: Table) -> OfflineEpisodes:
    """What was evaluated, and whether the policy was trained on it."""
    held_out = run.info.get("held_out", {})
    trained_on = set(held_out.get("trained_on", ()))
    episodes = {record.episode for record in table.values()}
    return {
        "policy": run.name,
        "n": len(episodes),
        "known": bool(held_out.get("known")),
        "trained_on": len(episodes & trained_on),
    }


# Answers


def _answers(
    reference: Run, run: Run, table: Table, first: Table, summary: AnswerSummary | None
) -> OfflineAnswers:
    records = list(table.values())
    total = merge(record.confusion for record in records)
    estimate = _accuracy(records)
    paired = [key for key in table if key in first]
    theirs, ours = [first[key] for key in paired], [table[key] for key in paired]
    difference = None
    same = not _differ(reference.labels_sha256, run.labels_sha256)
    if first is not table and same and all(any(r.answers_scored for r in each) for each in (theirs, ours)):
        columns = (_column(r, name) for r in (theirs, ours) for name in ("answers_correct", "answers_scored"))
        difference = ratio_difference(*columns).to_json()
    by_object: dict[str, dict[tuple[str, str], list[Confusion]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for mention, confusion in zip(record.mentions, record.confusion_by_mention, strict=False):
            by_object[mention][record.suite, record.task].append(confusion)
    objects = [
        _object(mention, Accuracy.of_tasks([merge(confusions) for confusions in tasks.values()]))
        for mention, tasks in sorted(by_object.items())
    ]
    answered = sum(len(answers) for record in records for _, answers, _, _ in record.timeline)
    return {
        "policy": run.name,
        "n": scored(total),
        "unlabelled": answered - scored(total),
        **estimate.to_json(),
        "difference": difference,
        "majority_class": None if summary is None else summary["majority_class"],
        "per_task_majority": None if summary is None else summary["per_task_majority"],
        "by_object": [entry for entry in objects if entry["n"]],
        "by_word": _by_word(total),
    }


def _accuracy(records: Sequence[EpisodeRecord]) -> Estimate:
    return ratio_over_episodes(_column(records, "answers_correct"), _column(records, "answers_scored"))


def _column(records: Sequence[EpisodeRecord], name: str) -> np.ndarray:
    return np.array([getattr(record, name) for record in records], dtype=float)


def _object(mention: str, accuracy: Accuracy) -> ObjectAccuracy:
    """The accuracy on one object beside the best constant answer, for all tasks together and for each task."""
    n = accuracy.n
    return {
        "object": mention,
        "n": n,
        "correct": accuracy.correct,
        "rate": accuracy.correct / n if n else None,
        "majority_answer": accuracy.majority_answer,
        "majority_class": accuracy.majority / n if n else None,
        "per_task_majority": accuracy.per_task_majority / n if n else None,
    }


def _by_word(confusion: Confusion) -> list[WordCounts]:
    """For each word: how often it is the label, how often it is answered, and how often both."""
    given: dict[str, int] = defaultdict(int)
    for row in confusion.values():
        for word, count in row.items():
            given[word] += count
    rows: list[WordCounts] = []
    for word in sorted({*confusion, *given}, key=lambda word: (-sum(confusion.get(word, {}).values()), word)):
        true, right = sum(confusion.get(word, {}).values()), confusion.get(word, {}).get(word, 0)
        rows.append({"word": word, "labelled": true, "answered": given[word], "correct": right})
    return rows


# Actions


def _actions(runs: Sequence[Run], tables: Sequence[Table], dataset: Mapping[str, Any]) -> OfflineActions:
    """Errors of each policy, and of the two baselines at the decisions of the first run."""
    spread = np.array(dataset.get("action_spread", ()), dtype=float)
    rows = [
        _row(run.name, POLICY, table, tables[0], same_scale=not _differ(*map(_scale, (runs[0], run))))
        for run, table in zip(runs, tables, strict=True)
    ]
    rows += [_row(name, name, tables[0], tables[0]) for name in (LAST, MEAN)]
    return {"names": list(dataset.get("action_names", ())), "spread": spread.tolist(), "rows": rows}


def _row(name: str, predictor: str, table: Table, first: Table, *, same_scale: bool = True) -> ActionErrors:
    scores = {key: record.offline for key, record in table.items() if record.offline is not None}
    compared = _added([each.compared for each in scores.values()])
    steps = compared.sum()
    by_dimension = _added([each.error[predictor] for each in scores.values()])
    by_horizon = _added([each.relative_by_horizon[predictor] for each in scores.values()])
    sums = np.array([sum(each.relative_by_horizon[predictor]) for each in scores.values()])
    counts = np.array([sum(each.compared) for each in scores.values()])
    relative = ratio_over_episodes(sums, counts) if len(scores) else Estimate(*[float("nan")] * 3)
    theirs = {key: record.offline for key, record in first.items() if record.offline is not None}
    paired = [key for key in scores if key in theirs]
    difference: IntervalOfPairs | None = None
    if paired and same_scale and (predictor, table) != (POLICY, first):
        columns = (
            np.array([total(each[key]) for key in paired], dtype=float)
            for each, total in (
                (theirs, lambda one: sum(one.relative_by_horizon[POLICY])),
                (theirs, lambda one: sum(one.compared)),
                (scores, lambda one: sum(one.relative_by_horizon[predictor])),
                (scores, lambda one: sum(one.compared)),
            )
        )
        difference = {**ratio_difference(*columns).to_json(), "n": len(paired)}
    return {
        "name": name,
        "baseline": predictor != POLICY,
        "relative": relative.to_json(),
        "difference": difference,
        "by_dimension": [float(value / steps) for value in by_dimension] if steps else [],
        "by_horizon": [float(v / n) if n else None for v, n in zip(by_horizon, compared, strict=True)],
    }


def _added(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Add rows that may differ in length."""
    total = np.zeros(max((len(row) for row in rows), default=0))
    for row in rows:
        total[: len(row)] += row
    return total


# Gripper


def _gripper(table: Table, kind: GripperEvent) -> GripperEvents:
    """Hits of all demonstrated events, with Wilson's interval; events of the policy that hit nothing; the delay."""
    scores = [r.offline.gripper[kind] for r in table.values() if r.offline and kind in r.offline.gripper]
    demonstrated, hit = sum(s.demonstrated for s in scores), sum(s.hit for s in scores)
    delays = [delay for s in scores for delay in s.delays]
    return {
        "demonstrated": demonstrated,
        "hit": hit,
        "extra": sum(s.predicted for s in scores) - hit,
        "delay_median": float(np.median(delays)) if delays else None,
        **wilson(hit, demonstrated).to_json(),
    }
