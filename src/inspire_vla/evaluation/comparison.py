"""Two or more policies on the same (suite, task, seed): success rates, paired differences, answer accuracy.

The result is a plain dictionary (comparison.json), which `reports` draws: see comparison_format.py.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from inspire_vla.comparison_format import (
    AnswerSummary,
    Compared,
    Comparison,
    Differing,
    GoalsEntry,
    GroupEntry,
    Offline,
    Paired,
    PolicyEntry,
    Rate,
    RatesEntry,
    Unpaired,
)
from inspire_vla.errors import InspireError, counted
from inspire_vla.evaluation.compare_offline import Table, compare_offline
from inspire_vla.evaluation.confusion import Accuracy, Confusion, correct, merge, scored
from inspire_vla.evaluation.records import EpisodeKey, EpisodeRecord
from inspire_vla.evaluation.runs import Run, differing
from inspire_vla.evaluation.statistics import (
    PairCounts,
    average,
    mcnemar,
    paired_difference,
    wilson,
)

UNKNOWN = "trained on unknown"
CHANGED = "seen, changed"
GROUPS = ("seen", "seen by some", "seen in part", CHANGED, "validation", "unseen", UNKNOWN)
"""Of suites. "seen by some": by some of the policies. "seen in part": a policy was trained on some of its tasks. "seen,
changed": a policy was trained on the suite whose tasks it changes."""


def group_of(
    suite: str,
    trained_on: Sequence[Collection[str] | None] = (),
    groups: Mapping[str, str] | None = None,
    in_part: Collection[str] = (),
    changed: Collection[str] = (),
) -> str:
    """Return a suite's group, one of `GROUPS`.

    Args:
        trained_on: the suites that each policy was trained on; None for a policy of which they are unknown.
        in_part: suites of which one of the policies was trained on some tasks only.
        changed: suites that change the tasks of a suite that one of the policies was trained on.
        groups: the suites' roles in the benchmark's protocol (`Benchmark.groups`). "validation" always holds; the
            others hold if it is not known for every policy what it was trained on.
    """
    role = (groups or {}).get(suite, UNKNOWN)
    known = [suites for suites in trained_on if suites is not None]
    if role == "validation" or not known or len(known) < len(trained_on):
        return role
    if suite in in_part:
        return "seen in part"
    was_trained_on = [suite in suites for suites in known]
    if suite in changed and not any(was_trained_on):
        return CHANGED
    return "seen" if all(was_trained_on) else "seen by some" if any(was_trained_on) else "unseen"


def compare(runs: Sequence[Run], groups: Mapping[str, Collection[str]] | None = None) -> Comparison:
    """Compare `runs` with the first of them (the base model). A single run has rates only.

    A group (seen, unseen, …) averages its suites, each counting equally, as the paper's tables do. Its pairs are
    pooled for McNemar's test.

    Args:
        groups: name → suites, in the order of the tables; every suite of the runs is in one. By default what the
            policies were trained on decides, see `group_of`.

    Runs on recorded frames (`Run.is_offline`) are compared with each other alone, under "offline": a policy may have a
    run of either kind, of the same name.

    Raises InspireError without runs, for two runs of one name, or for an episode that a run holds twice.
    """
    if not runs:
        raise InspireError(
            "No run is given. Name at least one: a folder that `inspire evaluate --out` wrote."
        )
    offline, runs = [r for r in runs if r.is_offline], [r for r in runs if not r.is_offline]
    _check_names(offline)
    _check_names(runs)
    names = [run.name for run in runs]
    tables = [_by_key(run) for run in runs]
    played = sorted({k[0] for table in tables for k in table})
    groups = groups or groups_by_training([run.info for run in runs], played)
    members_of = {name: [s for s in played if s in members] for name, members in groups.items()}
    members_of = {name: members for name, members in members_of.items() if members}
    group = {suite: name for name, members in members_of.items() for suite in members}
    suites = list(group)
    by_task = [_by_task(table) for table in tables]
    tasks = sorted({task for parts in by_task for task in parts}, key=lambda st: (suites.index(st[0]), st[1]))
    return {
        "version": 1,
        "policies": [_policy(run, table) for run, table in zip(runs, tables, strict=True)],
        "groups": [_group(name, members, tables) for name, members in members_of.items()],
        "suites": [{"suite": s, "group": group[s], **_rates([_part(t, s) for t in tables])} for s in suites],
        "tasks": [
            {"suite": s, "task": t, **_rates([parts.get((s, t), {}) for parts in by_task])} for s, t in tasks
        ],
        "answers": [
            {
                "policy": run.name,
                **{name: answer_summary(table.values(), members) for name, members in members_of.items()},
                "suites": {suite: answer_summary(table.values(), [suite]) for suite in suites},
            }
            for run, table in zip(runs, tables, strict=True)
        ],
        "goals": _goals(suites, runs, tables),
        "unpaired": _unpaired(names, tables),
        "differing_conditions": _all_differing_conditions(runs),
        "episodes": [
            _episode(run, record) for run, t in zip(runs, tables, strict=True) for record in t.values()
        ],
        "offline": _offline(offline) if offline else None,
    }


def groups_by_training(infos: Sequence[Mapping[str, Any]], suites: Sequence[str]) -> dict[str, list[str]]:
    """Return the suites of each group, by what the run.json of each policy says that it was trained on.

    Its suites decide where it does not count their tasks, as of earlier versions.
    """
    roles = {suite: role for info in infos for suite, role in info.get("groups", {}).items()}
    trained_on: list[set[str] | None] = []
    in_part: set[str] = set()
    changes = {suite: of for info in infos for suite, of in info.get("changes", {}).items()}
    changed: set[str] = set()
    for info in infos:
        suites_known, tasks = info.get("trained_on"), info.get("tasks_trained_on", {})
        whole = {suite for suite, (known, played) in tasks.items() if known == played}
        trained_on.append(None if suites_known is None else {*suites_known} - tasks.keys() | whole)
        in_part |= {suite for suite, (known, played) in tasks.items() if 0 < known < played}
        changed |= {suite for suite, of in changes.items() if of in (suites_known or ())}
    groups = {suite: group_of(suite, trained_on, roles, in_part, changed) for suite in suites}
    return {name: [suite for suite in suites if groups[suite] == name] for name in GROUPS}


def _offline(runs: Sequence[Run]) -> Offline:
    tables = [_by_key(run) for run in runs]
    suites = sorted({record.suite for table in tables for record in table.values()})
    summaries = [answer_summary(table.values(), suites) for table in tables]
    compared: Compared = {
        "policies": [_policy(run, table) for run, table in zip(runs, tables, strict=True)],
        "unpaired": _unpaired([run.name for run in runs], tables),
        "differing_conditions": _all_differing_conditions(runs),
    }
    return compare_offline(runs, tables, summaries, compared)


def _check_names(runs: Sequence[Run]) -> None:
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise InspireError(
            f"Runs must have different names, found {names}. `inspire evaluate --name` gives a policy its name."
        )


def differing_conditions(first: Run, other: Run) -> dict[str, tuple[Any, Any]]:
    """Return {condition: (first's, other's)} where both are known and differ: then their episodes are not pairs."""
    return differing(first.conditions, other.conditions)


def _all_differing_conditions(runs: Sequence[Run]) -> list[Differing]:
    return [
        {"policy": run.name, "differing": differences}
        for run in runs[1:]
        if (differences := differing_conditions(runs[0], run))
    ]


def _by_key(run: Run) -> Table:
    twice = [key for key, count in Counter(record.key for record in run.records).items() if count > 1]
    if twice:
        raise InspireError(f"{run.path} holds {counted(len(twice), 'episode')} twice, such as {twice[0]}.")
    if not run.records:
        raise InspireError(f"{run.path} holds no finished episode.")
    return {record.key: record for record in run.records}


def _part(table: Table, suite: str) -> Table:
    return {key: record for key, record in table.items() if key[0] == suite}


def _by_task(table: Table) -> Mapping[tuple[str, str], Table]:
    """(suite, task) → its episodes. LIBERO-Plus has ten thousand tasks, so none is searched for in the whole table."""
    parts: dict[tuple[str, str], dict[EpisodeKey, EpisodeRecord]] = defaultdict(dict)
    for key, record in table.items():
        parts[key[:2]][key] = record
    return parts


def _rates(tables: Sequence[Table]) -> RatesEntry:
    return {
        "rates": [
            _rate([_success(table)]) or Rate(successes=0, n=0, **wilson(0, 0).to_json()) for table in tables
        ],
        "paired": [None, *(_paired([_pairs(tables[0], other)]) for other in tables[1:])],
    }


def _success(table: Table) -> tuple[int, int]:
    return sum(bool(record.success) for record in table.values()), len(table)


def _pairs(first: Table, second: Table) -> PairCounts:
    return PairCounts.count(
        [(bool(first[key].success), bool(second[key].success)) for key in first if key in second]
    )


def _rate(counts: Sequence[tuple[int, int]]) -> Rate | None:
    """The mean of suites given as (successes, n); None if no episode was played."""
    played = [(successes, n) for successes, n in counts if n]
    if not played:
        return None
    successes, n = map(sum, zip(*played, strict=True))
    return {"successes": successes, "n": n, **average([wilson(*each) for each in played]).to_json()}


def _paired(counts: Sequence[PairCounts]) -> Paired | None:
    """The mean difference of suites, and McNemar's test of their pooled pairs; None without pairs."""
    counted = [each for each in counts if each.n]
    if not counted:
        return None
    pooled = sum(counted[1:], counted[0])
    estimate = average([paired_difference(each) for each in counted])
    return {
        "both": pooled.both,
        "only_first": pooled.only_first,
        "only_second": pooled.only_second,
        "neither": pooled.neither,
        "n": pooled.n,
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "p_value": mcnemar(pooled),
    }


def _group(name: str, suites: Sequence[str], tables: Sequence[Table]) -> GroupEntry:
    parts = [[_part(table, suite) for suite in suites] for table in tables]
    rates = [_rate([_success(part) for part in each]) for each in parts]
    for rate, each in zip(rates, parts, strict=True):
        if rate is not None:
            rate["suites_played"] = sum(map(bool, each))
    paired = [_paired([_pairs(a, b) for a, b in zip(parts[0], each, strict=True)]) for each in parts[1:]]
    return {"group": name, "suites": list(suites), "rates": rates, "paired": [None, *paired]}


def answer_summary(records: Iterable[EpisodeRecord], suites: Sequence[str]) -> AnswerSummary | None:
    """Return the accuracy of the scored answers on `suites`, and two baselines; None without answers.

    `majority_class`: accuracy of one constant answer for each mention (first, second, …). `per_task_majority`: accuracy
    of one constant answer for each mention of each task. Both baselines are chosen on the evaluated episodes, so they
    are the best of their kind.
    """
    chosen = [record for record in records if record.suite in suites]
    total = merge(record.confusion for record in chosen)
    n = scored(total)
    if n == 0:
        return None
    by_mention = _by_mention(chosen)
    return {
        "n": n,
        "correct": correct(total),
        **wilson(correct(total), n).to_json(),
        "majority_class": sum(each.majority for each in by_mention) / n,
        "majority_answers": [each.majority_answer for each in by_mention],
        "per_task_majority": sum(each.per_task_majority for each in by_mention) / n,
        "by_mention": [
            {
                "n": each.n,
                "correct": each.correct,
                "majority_answer": each.majority_answer,
                "majority_class": each.majority / each.n,
                "per_task_majority": each.per_task_majority / each.n,
            }
            for each in by_mention
            if each.n
        ],
        "confusion": total,
    }


def _by_mention(records: Sequence[EpisodeRecord]) -> list[Accuracy]:
    """The answers about the first, second, … mention."""
    tasks: dict[tuple[str, str], list[tuple[Confusion, ...]]] = defaultdict(list)
    for record in records:
        tasks[record.suite, record.task].append(record.confusion_by_mention)
    longest = max(len(record.confusion_by_mention) for record in records)
    return [
        Accuracy.of_tasks([merge(row[i] for row in rows if i < len(row)) for rows in tasks.values()])
        for i in range(longest)
    ]


def _policy(run: Run, table: Table) -> PolicyEntry:
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
        "answers_to_override": sum(r.answers_to_override for r in records),
        "answers_overridden": sum(r.answers_overridden for r in records),
        "crashed": [
            {"suite": r.suite, "task": r.task, "seed": r.seed, "error": r.error, "traceback": r.traceback}
            for r in records
            if r.error
        ],
    }


def _episode(run: Run, record: EpisodeRecord) -> dict[str, Any]:
    names = ["suite", "task", "instruction", "seed", "success", "steps", "mentions"]
    names += ["answers_scored", "answers_correct"]
    if record.video is not None:
        names += ["error", "timeline", "gripper"]  # for the page
    video = None if record.video is None else str(run.path / record.video)
    return {"policy": run.name, **{name: getattr(record, name) for name in names}, "video": video}


def _goals(suites: Sequence[str], runs: Sequence[Run], tables: Sequence[Table]) -> list[GoalsEntry]:
    """How far each policy came in the tasks with several goals: episodes in which none, some, or all ever held.

    Of some, whether the first goal was among them: on the tabletop the one that the instruction names first.
    """
    entries: list[GoalsEntry] = []
    for suite in suites:
        for run, table in zip(runs, tables, strict=True):
            records = [record for record in table.values() if record.suite == suite and record.goals]
            if not records:
                continue
            ever_held = [[step is not None for step in record.goals] for record in records]
            successes = sum(record.success is True for record in records)
            entries.append(
                {
                    "suite": suite,
                    "policy": run.name,
                    "n": len(records),
                    "none": sum(not any(goals) for goals in ever_held),
                    "at_once": successes,
                    "one_after_another": sum(map(all, ever_held)) - successes,
                    "some_with_first": sum(goals[0] and not all(goals) for goals in ever_held),
                    "some_without_first": sum(any(goals) and not goals[0] for goals in ever_held),
                }
            )
    return entries


def _unpaired(names: Sequence[str], tables: Sequence[Table]) -> list[Unpaired]:
    """Count episodes that only one of a policy and the first policy has played."""
    if not tables:
        return []
    first = tables[0].keys()
    return [
        {"policy": name, "only_here": len(table.keys() - first), "missing_here": len(first - table.keys())}
        for name, table in zip(names[1:], tables[1:], strict=True)
        if table.keys() != first
    ]
