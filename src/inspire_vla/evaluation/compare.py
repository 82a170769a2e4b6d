"""Two or more policies on the same (suite, task, seed): what each achieved, and what the pairs say.

The result is a plain dictionary (comparison.json), which `reports` draws. Every rate is {successes, n, rate, low,
high}; every paired entry compares a policy with the first one, over the episodes that both have played.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.evaluation.conditions import differing
from inspire_vla.evaluation.records import EpisodeRecord, Run, write_json
from inspire_vla.evaluation.statistics import (
    Estimate,
    PairCounts,
    average,
    mcnemar,
    paired_difference,
    wilson,
)
from inspire_vla.evaluation.truth import Confusion, asked, correct, majority, merge

Key = tuple[str, str, int]


UNKNOWN = "trained on unknown"
GROUPS = ("seen", "seen by some", "validation", "unseen", UNKNOWN)


def group_of(suite: str, trained_on: Sequence[Collection[str] | None] = ()) -> str:
    """A suite's group: seen in training, by some or all of the policies; validation, which is tuned on; unseen.

    Args:
        trained_on: the suites of each policy, None where they are unknown. Then the tabletop's names decide, which has
            one suite to train on; of other benchmarks it is said that it is not known.
    """
    if suite.endswith("_validation"):
        return "validation"
    known = [suites for suites in trained_on if suites is not None]
    if not known or len(known) < len(trained_on):
        if suite.startswith("libero"):
            return UNKNOWN
        return "seen" if suite.endswith("_seen") else "unseen"
    seen = [suite in suites for suites in known]
    return "seen" if all(seen) else "seen by some" if any(seen) else "unseen"


def compare(runs: Sequence[Run], *, group: Callable[[str], str] | None = None) -> dict[str, Any]:
    """Compare `runs`, the first being what the others are held against (the base model).

    Groups (seen, unseen: by what the runs say their policies were trained on, unless `group` is given) average
    over their suites, each suite counting alike, as the paper's tables do; their
    pairs are pooled for McNemar's test. With a single run there is nothing paired, only its rates.

    Raises InspireError without runs, for two runs of one name, or an episode that a run holds twice.
    """
    if not runs:
        raise InspireError("compare() needs at least one run, found none.")
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise InspireError(
            f"runs must have different names, found {names}. Give the policies names (--name)."
        )
    if group is None:
        group = partial(group_of, trained_on=[run.info.get("trained_on") for run in runs])
    tables = [_by_key(run) for run in runs]
    suites = sorted({k[0] for table in tables for k in table}, key=lambda s: (GROUPS.index(group(s)), s))
    tasks = sorted({k[:2] for table in tables for k in table}, key=lambda st: (suites.index(st[0]), st[1]))
    groups = {name: [suite for suite in suites if group(suite) == name] for name in GROUPS}
    groups = {name: members for name, members in groups.items() if members}
    return {
        "version": 1,
        "policies": [_policy(run, table) for run, table in zip(runs, tables, strict=True)],
        "groups": [_group(name, members, tables) for name, members in groups.items()],
        "suites": [{"suite": s, "group": group(s), **_rates([_part(t, s) for t in tables])} for s in suites],
        "tasks": [{"suite": s, "task": t, **_rates([_part(x, s, t) for x in tables])} for s, t in tasks],
        "answers": [
            {
                "policy": run.name,
                **{name: answer_summary(table.values(), members) for name, members in groups.items()},
                "suites": {suite: answer_summary(table.values(), [suite]) for suite in suites},
            }
            for run, table in zip(runs, tables, strict=True)
        ],
        "unpaired": _unpaired(names, tables),
        "differing_conditions": [
            {"policy": run.name, "differing": found} for run in runs[1:] if (found := differing(runs[0], run))
        ],
        "episodes": [
            _episode(run, record) for run, t in zip(runs, tables, strict=True) for record in t.values()
        ],
    }


def write_comparison(path: str | Path, comparison: dict[str, Any]) -> None:
    """Write comparison.json, whole or not at all."""
    write_json(Path(path), comparison)


def _by_key(run: Run) -> dict[Key, EpisodeRecord]:
    twice = [key for key, times in Counter(record.key for record in run.records).items() if times > 1]
    if twice:
        raise InspireError(f"{run.path} holds {len(twice)} episodes twice, such as {twice[0]}.")
    if not run.records:
        raise InspireError(f"{run.path} holds no finished episode.")
    return {record.key: record for record in run.records}


def _part(table: dict[Key, EpisodeRecord], suite: str, task: str | None = None) -> dict[Key, EpisodeRecord]:
    return {key: r for key, r in table.items() if key[0] == suite and task in (None, key[1])}


def _rates(tables: Sequence[dict[Key, EpisodeRecord]]) -> dict[str, Any]:
    return {
        "rates": [_rate(table.values()) for table in tables],
        "paired": [None] + [_paired(pair_counts(tables[0], other)) for other in tables[1:]],
    }


def _rate(records: Iterable[EpisodeRecord]) -> dict[str, Any]:
    outcomes = [record.success for record in records]
    estimate = wilson(sum(outcomes), len(outcomes))
    return {"successes": sum(outcomes), "n": len(outcomes), **_as_dict(estimate)}


def pair_counts(first: dict[Key, EpisodeRecord], second: dict[Key, EpisodeRecord]) -> PairCounts:
    """Count how the episodes that both have played came out."""
    return PairCounts.count([(first[key].success, second[key].success) for key in first if key in second])


def _paired(counts: PairCounts) -> dict[str, Any] | None:
    if counts.n == 0:
        return None
    return {
        **asdict(counts),
        "n": counts.n,
        **_difference(paired_difference(counts)),
        "p_value": mcnemar(counts),
    }


def _group(name: str, suites: Sequence[str], tables: Sequence[dict[Key, EpisodeRecord]]) -> dict[str, Any]:
    """Macro averages over suites, with intervals; the pairs of all suites pooled for the test."""
    rates: list[dict[str, Any] | None] = []
    for table in tables:
        per_suite = [list(_part(table, suite).values()) for suite in suites]
        played = [records for records in per_suite if records]
        if not played:
            rates.append(None)
            continue
        parts = [wilson(sum(r.success for r in records), len(records)) for records in played]
        rates.append(
            {
                "successes": sum(r.success for records in played for r in records),
                "n": sum(map(len, played)),
                "suites_played": len(played),
                **_as_dict(average(parts)),
            }
        )
    paired: list[dict[str, Any] | None] = [None]
    for table in tables[1:]:
        per_suite_counts = [pair_counts(_part(tables[0], suite), _part(table, suite)) for suite in suites]
        counted = [counts for counts in per_suite_counts if counts.n]
        if not counted:
            paired.append(None)
            continue
        pooled = PairCounts(
            *(sum(getattr(c, f) for c in counted) for f in ("both", "only_first", "only_second", "neither"))
        )
        difference = average([paired_difference(counts) for counts in counted])
        paired.append(
            {**asdict(pooled), "n": pooled.n, **_difference(difference), "p_value": mcnemar(pooled)}
        )  # fmt: skip
    return {"group": name, "suites": list(suites), "rates": rates, "paired": paired}


def answer_summary(records: Iterable[EpisodeRecord], suites: Sequence[str]) -> dict[str, Any] | None:
    """Answers against truth over `suites`; None where nothing was answered.

    `majority_class`: accuracy of one constant answer for each mention (first, second, …). `per_task_majority`: accuracy
    of one constant answer for each mention of each task. Both baselines are chosen on the evaluated episodes, so they
    are the best of their kind.
    """
    chosen = [record for record in records if record.suite in suites]
    total = merge(record.confusion for record in chosen)
    n = asked(total)
    if n == 0:
        return None
    by_mention = _by_mention(chosen)
    guesses = [majority(confusion) for confusion in by_mention]
    by_task = defaultdict(list)
    for record in chosen:
        by_task[record.suite, record.task].append(record)
    known = [0] * len(by_mention)
    for records_of_task in by_task.values():
        for i, confusion in enumerate(_by_mention(records_of_task)):
            known[i] += majority(confusion)[1]
    accuracy = wilson(correct(total), n)
    return {
        "n": n,
        "correct": correct(total),
        **_as_dict(accuracy),
        "majority_class": sum(times for _, times in guesses) / n,
        "majority_answers": [word for word, _ in guesses],
        "per_task_majority": sum(known) / n,
        "by_mention": [
            {
                "n": asked(c),
                "correct": correct(c),
                "majority_answer": word,
                "majority_class": times / asked(c),
                "per_task_majority": right / asked(c),
            }
            for c, (word, times), right in zip(by_mention, guesses, known, strict=True)
            if asked(c)
        ],
        "confusion": total,
    }


def _by_mention(records: Sequence[EpisodeRecord]) -> list[Confusion]:
    longest = max(len(record.confusion_by_mention) for record in records)
    return [
        merge(r.confusion_by_mention[i] for r in records if i < len(r.confusion_by_mention))
        for i in range(longest)
    ]


def _policy(run: Run, table: dict[Key, EpisodeRecord]) -> dict[str, Any]:
    records = list(table.values())
    times = [r.inference_ms_median for r in records if r.inference_ms_median is not None]
    batches = [r.batch_mean for r in records if r.batch_mean is not None]
    return {
        "name": run.name,
        "run": run.info,
        "episodes": len(records),
        "timing": {
            "inference_ms_median": median(times) if times else None,
            "batch_mean": sum(batches) / len(batches) if batches else None,
            "episode_s_median": median(r.wall_s for r in records),
            "steps_median": median(r.steps for r in records),
        },
        "decisions": sum(r.decisions for r in records),
        "undecodable": sum(r.undecodable for r in records),
        "answers_to_override": sum(r.answers_to_override or 0 for r in records),
        "answers_overridden": sum(r.answers_overridden or 0 for r in records),
        "crashed": [
            {"suite": r.suite, "task": r.task, "seed": r.seed, "error": r.error, "traceback": r.traceback}
            for r in records
            if r.error
        ],
    }


def _episode(run: Run, record: EpisodeRecord) -> dict[str, Any]:
    kept = (
        "suite",
        "task",
        "instruction",
        "seed",
        "success",
        "steps",
        "mentions",
        "answers_scored",
        "answers_correct",
    )
    values = {key: getattr(record, key) for key in kept}
    if record.video is None:
        return {"policy": run.name, **values, "video": None}
    shown = {"error": record.error, "timeline": record.timeline, "gripper": record.gripper}  # to be drawn
    return {"policy": run.name, **values, **shown, "video": str(run.path / record.video)}


def _unpaired(names: Sequence[str], tables: Sequence[dict[Key, EpisodeRecord]]) -> list[dict[str, Any]]:
    """Episodes that one policy has played and the first has not, or the other way round."""
    first = tables[0].keys()
    return [
        {"policy": name, "only_here": len(table.keys() - first), "missing_here": len(first - table.keys())}
        for name, table in zip(names[1:], tables[1:], strict=True)
        if table.keys() != first
    ]


def _as_dict(estimate: Estimate) -> dict[str, float | None]:
    rate = None if estimate.value != estimate.value else estimate.value  # nan is not JSON
    return {"rate": rate, "low": estimate.low, "high": estimate.high}


def _difference(estimate: Estimate) -> dict[str, float]:
    return {"difference": estimate.value, "low": estimate.low, "high": estimate.high}
