import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import (
    EpisodeRecord,
    Run,
    compare,
    compare_over_seeds,
    group_of,
    pool,
    tasks_in_training,
)
from inspire_vla.evaluation.comparison import differing_conditions
from inspire_vla.evaluation.confusion import merge
from inspire_vla.reports.tables import warnings


def record(suite, task, seed, success, confusion=None, **changes):
    by_mention = (confusion,) if confusion else ()
    scored = sum(sum(row.values()) for row in (confusion or {}).values())
    return EpisodeRecord(
        suite, task, task, seed, seed, success, 10, confusion=confusion or {}, confusion_by_mention=by_mention,
        answers_scored=scored, **changes,
    )  # fmt: skip


def run(name, records):
    groups = {record.suite: "seen" if record.suite.endswith("_seen") else "unseen" for record in records}
    return Run(Path(name), {"policy": {"name": name}, "groups": groups}, tuple(records))


def grid(successes, **kwargs):
    """{suite: successes out of 10}: the first seeds of each suite succeed."""
    return [
        record(suite, "t", seed, seed < k, **kwargs) for suite, k in successes.items() for seed in range(10)
    ]


def test_groups_are_macro_averages_and_pairs_are_pooled():
    base = run("base", grid({"a_seen": 8, "b_new": 1, "c_new": 0}))
    inspire = run("inspire", grid({"a_seen": 8, "b_new": 5, "c_new": 2}))
    result = compare([base, inspire])
    seen, unseen = result["groups"]
    assert [g["group"] for g in result["groups"]] == ["seen", "unseen"]
    assert [r["rate"] for r in unseen["rates"]] == pytest.approx([0.05, 0.35])
    assert unseen["paired"][1]["only_second"] == 6
    assert unseen["paired"][1]["difference"] == pytest.approx(0.3)
    assert unseen["paired"][1]["p_value"] == pytest.approx(2 * 0.5**6)
    assert seen["paired"][1]["p_value"] == 1.0
    assert result["suites"][0]["suite"] == "a_seen"
    assert result["unpaired"] == []
    json.dumps(result, allow_nan=False)


def test_what_was_trained_on_decides_what_is_seen():
    runs = [run(name, grid({"libero_90": 3, "libero_goal": 5})) for name in ("base", "inspire")]
    for one in runs:
        del one.info["groups"]  # its benchmark says nothing
    groups = lambda: [(g["group"], g["suites"]) for g in compare(runs)["groups"]]  # noqa: E731
    assert groups() == [("trained on unknown", ["libero_90", "libero_goal"])]
    for one in runs:
        one.info["trained_on"] = ["libero_goal"]
    assert groups() == [("seen", ["libero_goal"]), ("unseen", ["libero_90"])]


def test_an_experiment_may_group_suites_itself():
    """Of two groups that are unseen alike, each has its own mean. A group that nobody played is left out."""
    runs = [
        run(name, grid({"libero_90": 3, "libero_goal": 5, "libero_10": 2})) for name in ("base", "inspire")
    ]
    given = {"held out": ["libero_90"], "unseen": ["libero_goal", "libero_10"], "other": ["libero_spatial"]}
    result = compare(runs, given)
    assert [(g["group"], g["suites"]) for g in result["groups"]] == [
        ("held out", ["libero_90"]),
        ("unseen", ["libero_10", "libero_goal"]),
    ]
    assert [s["suite"] for s in result["suites"]] == ["libero_90", "libero_10", "libero_goal"]
    assert {s["group"] for s in result["suites"][1:]} == {"unseen"}


def test_a_policy_equals_itself():
    records = grid({"a_seen": 4})
    paired = compare([run("x", records), run("y", records)])["groups"][0]["paired"][1]
    assert paired["difference"] == 0
    assert paired["p_value"] == 1


def test_episodes_are_counted_by_the_goals_that_they_reached():
    reached = {"none": (None, None), "some": (4, None), "lost": (4, 9), "won": (4, 9)}
    records = [
        record("long_new", "t", seed, name == "won", goals=goals)
        for seed, (name, goals) in enumerate([*reached.items(), ("some", (None, 3))])
    ]
    two = compare([run("base", [*records, record("a_new", "t", 1, True)]), run("i", records[:1])])
    counts = {
        "n": 5,
        "none": 1,
        "some_with_first": 1,
        "some_without_first": 1,
        "one_after_another": 1,
        "at_once": 1,
    }
    assert two["goals"][0] == {"suite": "long_new", "policy": "base", **counts}
    assert two["goals"][1]["none"] == two["goals"][1]["n"] == 1
    assert len(two["goals"]) == 2  # a_new's tasks have one goal


def test_unpaired_episodes_are_told():
    base = run("base", grid({"b_new": 3})[:8])
    other = run("other", grid({"b_new": 3})[1:])
    result = compare([base, other])
    assert result["unpaired"] == [{"policy": "other", "only_here": 2, "missing_here": 1}]
    assert result["suites"][0]["paired"][1]["n"] == 7


def test_a_crashed_episode_stays_in_the_denominator_and_is_listed():
    records = [*grid({"b_new": 5}), record("b_new", "t", 99, False, error="RuntimeError: x", traceback="…")]
    result = compare([run("base", records)])
    assert result["suites"][0]["rates"][0]["n"] == 11
    assert result["policies"][0]["crashed"][0]["seed"] == 99


def test_answers_stand_beside_the_majority_guess():
    confusion = {"left": {"left": 6, "right": 2}, "right": {"left": 2}}
    result = compare([run("i", grid({"b_new": 5}, confusion=confusion)), run("base", grid({"b_new": 5}))])
    answers = result["answers"][0]["unseen"]
    assert answers["n"] == 100
    assert answers["rate"] == pytest.approx(0.6)
    assert answers["majority_class"] == pytest.approx(0.8)
    assert answers["majority_answers"] == ["left"]
    assert answers["confusion"]["left"]["right"] == 20
    assert result["answers"][1]["unseen"] is None


def test_what_is_known_by_heart_is_the_most_frequent_truth_of_each_thing_of_each_task():
    """Two tasks whose things lie on opposite sides: one guess for both is right half the time, one each always."""
    left, right, up = {"left": {"left": 4}}, {"right": {"left": 4}}, {"up": {"up": 3}, "down": {"up": 1}}
    records = [
        replace(
            record("b_new", task, 0, True, confusion=merge([first, up])), confusion_by_mention=(first, up)
        )
        for task, first in (("to the left", left), ("to the right", right))
    ]
    answers = compare([run("i", records)])["answers"][0]["unseen"]
    assert answers["majority_class"] == pytest.approx((4 + 6) / 16)
    assert answers["per_task_majority"] == pytest.approx((8 + 6) / 16)
    assert [m["per_task_majority"] for m in answers["by_mention"]] == [1.0, 0.75]
    assert [m["majority_class"] for m in answers["by_mention"]] == [0.5, 0.75]


def test_bad_runs_are_refused():
    with pytest.raises(InspireError, match="different names"):
        compare([run("a", grid({"b_new": 1}))] * 2)
    with pytest.raises(InspireError, match="twice"):
        compare([run("a", grid({"b_new": 1}) * 2)])
    with pytest.raises(InspireError, match="no finished episode"):
        compare([run("a", [])])
    with pytest.raises(InspireError):
        compare([])


def test_groups(tmp_path):
    roles = {"a_seen": "seen", "a_validation": "validation", "a_goal": "unseen"}
    suites = (*roles, "b_90", "b_goal")
    by_role = ["seen", "validation", "unseen", "trained on unknown", "trained on unknown"]
    assert [group_of(suite, groups=roles) for suite in suites] == by_role
    assert [group_of(suite, [["b_90"], None], roles) for suite in suites] == by_role
    trained = [["b_90", "a_validation"], ["b_90", "b_goal"]]
    assert [group_of(suite, trained, roles) for suite in suites] == [
        "unseen", "validation", "unseen", "seen", "seen by some",
    ]  # fmt: skip
    assert json.loads(json.dumps(compare([run("a", grid({"b_new": 1}))])))["version"] == 1


class Overlapping:
    """A suite, two parts of it that share a task, and another suite that has a task of the same name."""

    part_of: ClassVar = {"x_new": "x_all", "x_known": "x_all"}
    members: ClassVar = {"x_all": "abcd", "x_known": "ab", "x_new": "bc", "y": "abz"}

    def suites(self):
        return tuple(self.members)

    def tasks(self, suite):
        return tuple(self.members[suite])


WHOLE = {"x_known": None, "x_new": None, "y": None}


@pytest.mark.parametrize(
    ("tasks", "trained_on", "counts"),
    [
        (None, {"x_all": None}, {"x_all": (4, 4), "x_known": (2, 2), "x_new": (2, 2), "y": (0, 3)}),
        (None, {"x_known": None}, {"x_all": (2, 4), "x_known": (2, 2), "x_new": (1, 2), "y": (0, 3)}),
        (None, WHOLE, {"x_all": (3, 4), "x_known": (2, 2), "x_new": (2, 2), "y": (3, 3)}),
        (["c", "d", "z"], {"x_known": None}, {"x_all": (0, 2), "x_new": (0, 1), "y": (0, 1)}),
        (["a"], {"x_known": None}, {"x_all": (1, 1), "x_known": (1, 1), "y": (0, 1)}),
        (None, {"y": None}, {"x_all": (0, 4), "x_known": (0, 2), "x_new": (0, 2), "y": (3, 3)}),
        (None, {"x_known": "a"}, {"x_all": (1, 4), "x_known": (1, 2), "x_new": (0, 2), "y": (0, 3)}),
        (["b"], {"x_known": "a"}, {"x_all": (0, 1), "x_known": (0, 1), "x_new": (0, 1), "y": (0, 1)}),
        (["a", "z"], {"y": "z"}, {"x_all": (0, 1), "x_known": (0, 1), "y": (1, 2)}),
        (["z"], {"y": "z"}, {"y": (1, 1)}),
        (["a"], {"x_known": "a", "x_new": "c"}, {"x_all": (1, 1), "x_known": (1, 1), "y": (0, 1)}),
        (["z"], {"y": ("a", "an old name")}, {"y": (1, 1)}),
        (["z"], {}, {"y": (0, 1)}),
        (None, None, {}),
    ],
)
def test_seen_is_counted_by_the_tasks_that_are_played(tasks, trained_on, counts):
    suites = Overlapping().suites()
    assert tasks_in_training(Overlapping(), suites, tasks, trained_on) == counts
    runs = [run(name, grid(dict.fromkeys(suites, 1))) for name in "ab"]
    for one in runs:
        known = json.loads(json.dumps(counts))
        names = None if trained_on is None else list(trained_on)
        one.info.update(groups={}, trained_on=names, tasks_trained_on=known)
    groups = {suite: group["group"] for group in compare(runs)["groups"] for suite in group["suites"]}
    for suite, (known, played) in counts.items():
        assert groups[suite] == ("seen" if known == played else "seen in part" if known else "unseen")
    for suite in {*suites} - {*counts}:
        assert groups[suite] == (
            "trained on unknown" if trained_on is None else "seen" if suite in trained_on else "unseen"
        )


@pytest.mark.parametrize(
    ("trained_on", "group"),
    [
        ([["shelf"], ["shelf"]], "seen, changed"),
        ([["shelf"], ["table"]], "seen, changed"),
        ([["table"], ["table"]], "unseen"),
        ([["shelf", "shelf_moved"], ["shelf", "shelf_moved"]], "seen"),
        ([["shelf"], None], "trained on unknown"),
    ],
)
def test_a_suite_that_changes_tasks_trained_on_is_not_called_unseen(trained_on, group):
    runs = [run(name, grid({"shelf_moved": 1})) for name in "ab"]
    for one, suites in zip(runs, trained_on, strict=True):
        one.info.update(groups={}, changes={"shelf_moved": "shelf"}, trained_on=suites, tasks_trained_on={})
        if suites is not None:
            one.info["tasks_trained_on"] = {"shelf_moved": (2 * ("shelf_moved" in suites), 2)}
    assert [entry["group"] for entry in compare(runs)["groups"]] == [group]


def played_under(name, **plan):
    info = {"policy": {"name": name}, "plan": plan}
    return Run(Path(name), info, (EpisodeRecord("s", "t", "t", 0, 0, True, 1),))


CALM = {"conditions": {"layout_randomness": 0.0}, "max_steps": None}


@pytest.mark.parametrize(
    ("other", "differences"),
    [
        (CALM, {}),
        ({"conditions": {"layout_randomness": 0.25}}, {"layout_randomness": (0.0, 0.25)}),
        ({"max_steps": 100}, {"max_steps": (None, 100)}),
        ({"conditions": {"split": "D"}}, {}),  # not known of the first
        ({}, {}),
    ],
)
def test_conditions_differ_only_if_both_are_known(other, differences):
    first, second = played_under("base", **CALM), played_under("InSpire", **other)
    assert differing_conditions(first, second) == differences
    assert differing_conditions(second, first) == {name: (b, a) for name, (a, b) in differences.items()}
    reported = compare([first, second])["differing_conditions"]
    assert reported == ([{"policy": "InSpire", "differing": differences}] if differences else [])


def test_another_version_of_the_simulator_is_another_condition():
    first, second = played_under("base", **CALM), played_under("InSpire", **CALM)
    for run, version in ((first, "3.8.1"), (second, "3.9.0")):
        run.info["versions"] = {"mujoco": version, "torch": version}
    assert differing_conditions(first, second) == {"MuJoCo": ("3.8.1", "3.9.0")}
    message = "played under other conditions than the first run (MuJoCo 3.8.1 and 3.9.0)"
    assert any(message in line for line in warnings(compare([first, second])))
    with pytest.raises(InspireError, match=r"MuJoCo: there '3\.8\.1', here '3\.9\.0'"):
        pool([[first, second]], "both")
    second.info["kind"] = "dataset"  # nothing is simulated
    assert not differing_conditions(first, second)


EPISODES = 5


def runs_of_seeds(successes: np.ndarray, name: str, suite: str = "toy_goal") -> Run:
    """successes (seeds, tasks): how many of five episodes succeed."""
    seeds = []
    for row in successes:
        records = tuple(
            EpisodeRecord(suite, f"task {task}", "do it", e, e, bool(e < count), 3)
            for task, count in enumerate(row)
            for e in range(EPISODES)
        )
        seeds.append([Run(Path(name), {}, records)])
    return pool(seeds, name)


def over_seeds(second: np.ndarray) -> dict:
    first = runs_of_seeds(np.zeros_like(second), "base")
    return compare_over_seeds(first, runs_of_seeds(second, "inspire"), ["toy_goal"])


def test_the_difference_over_seeds_is_that_of_the_comparison() -> None:
    first, second = np.random.default_rng(0).integers(0, 6, (2, 3, 7))
    base, inspire = runs_of_seeds(first, "base"), runs_of_seeds(second, "inspire")
    (group,) = compare([base, inspire])["groups"]
    result = compare_over_seeds(base, inspire, ["toy_goal"])
    assert result["difference"] == pytest.approx(group["paired"][1]["difference"])


def test_seeds_alone_are_students_t() -> None:
    successes = np.array([[5, 4], [2, 3], [1, 0], [5, 5]])
    interval = over_seeds(successes)["seeds"]
    plain = ttest_1samp(successes.mean(1) / EPISODES, 0)
    assert (interval["low"], interval["high"]) == pytest.approx(tuple(plain.confidence_interval()))
    assert interval["p_value"] == pytest.approx(plain.pvalue)
    assert over_seeds(np.array([[5, 4]]))["seeds"] is None


@pytest.mark.parametrize("count", [0, 5])
def test_where_no_task_and_no_seed_differs_there_is_no_interval(count: int) -> None:
    """Neither solves anything: that is no proof that they are equal."""
    result = over_seeds(np.full((3, 4), count))
    assert result["difference"] == count / EPISODES
    assert np.isnan([result["low"], result["high"]]).all()
    assert result["seeds"] is None


def test_suites_count_equally_and_better_and_worse_are_counted() -> None:
    def both(*counts: np.ndarray) -> Run:
        parts = [runs_of_seeds(c, "x", s) for c, s in zip(counts, ("toy_goal", "toy_long"), strict=True)]
        return Run(Path("x"), {}, tuple(record for part in parts for record in part.records))

    first = both(np.array([[0, 0, 3, 1]]), np.array([[0]]))
    second = both(np.array([[5, 5, 3, 0]]), np.array([[5]]))
    result = compare_over_seeds(first, second, ["toy_goal", "toy_long"])
    assert result["difference"] == pytest.approx(((1 + 1 + 0 - 0.2) / 4 + 1) / 2)
    assert (result["better"], result["worse"], result["tasks"]) == (3, 1, 5)
    assert result["seeds"] is None


def test_incomplete_seeds_and_unknown_suites_are_refused() -> None:
    base, inspire = (runs_of_seeds(np.ones((2, 2), int), name) for name in ("base", "inspire"))
    with pytest.raises(InspireError, match="no pairs of 'toy_far'"):
        compare_over_seeds(base, inspire, ["toy_far"])
    uneven = Run(inspire.path, inspire.info, inspire.records[:-EPISODES])
    with pytest.raises(InspireError, match="Not every training seed played every task"):
        compare_over_seeds(base, uneven, ["toy_goal"])
