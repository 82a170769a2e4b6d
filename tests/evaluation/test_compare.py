import json
from dataclasses import replace
from pathlib import Path

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import EpisodeRecord, Run, compare, group_of, write_comparison
from inspire_vla.evaluation.truth import merge


def record(suite, task, seed, success, confusion=None, **changes):
    by_mention = (confusion,) if confusion else ()
    asked = sum(sum(row.values()) for row in (confusion or {}).values())
    return EpisodeRecord(
        suite, task, task, seed, seed, success, 10, confusion=confusion or {}, confusion_by_mention=by_mention,
        answers_scored=asked, **changes,
    )  # fmt: skip


def run(name, records):
    return Run(Path(name), {"policy": {"name": name}}, tuple(records))


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
    groups = lambda: [(g["group"], g["suites"]) for g in compare(runs)["groups"]]  # noqa: E731
    assert groups() == [("trained on unknown", ["libero_90", "libero_goal"])]
    for one in runs:
        one.info["trained_on"] = ["libero_goal"]
    assert groups() == [("seen", ["libero_goal"]), ("unseen", ["libero_90"])]


def test_a_policy_equals_itself():
    records = grid({"a_seen": 4})
    paired = compare([run("x", records), run("y", records)])["groups"][0]["paired"][1]
    assert paired["difference"] == 0
    assert paired["p_value"] == 1


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


def test_groups_by_name(tmp_path):
    names = ("tabletop_seen", "tabletop_validation", "tabletop_goal", "libero_90", "libero_spatial")
    by_name = ["seen", "validation", "unseen", "trained on unknown", "trained on unknown"]
    assert [group_of(suite) for suite in names] == by_name
    assert [group_of(suite, [["libero_90"], None]) for suite in names] == by_name
    trained = [["libero_90", "tabletop_validation"], ["libero_90", "libero_spatial"]]
    assert [group_of(suite, trained) for suite in names] == [
        "unseen", "validation", "unseen", "seen", "seen by some",
    ]  # fmt: skip
    write_comparison(tmp_path / "c.json", compare([run("a", grid({"b_new": 1}))]))
    assert json.loads((tmp_path / "c.json").read_text())["version"] == 1
