import json
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.toys import GoodAgent, ToyBenchmark

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import (
    EpisodeLog,
    EpisodeRecord,
    EvaluationPlan,
    Factory,
    Run,
    compare,
    evaluate,
    join_shards,
    pool,
    read_arrays,
    read_run,
)
from inspire_vla.evaluation.recording import Recording
from inspire_vla.evaluation.records import read_episodes
from inspire_vla.reports.page import render_page
from inspire_vla.reports.tables import warnings


def record(episode=0, **changes):
    values = {
        "suite": "s", "task": "t", "instruction": "pick up the bowl", "episode": episode, "seed": 7 + episode,
        "success": True, "steps": 3, "mentions": ("the bowl",), "confusion": {"left": {"left": 2, "up": 1}},
        "confusion_by_mention": ({"left": {"left": 2, "up": 1}},),
        "timeline": ((0, ("left",), ("left",), (0.5,)), (2, ("up",), (None,), (0.25,))),
    }  # fmt: skip
    return EpisodeRecord(**{**values, **changes})


def test_json_round_trip():
    assert EpisodeRecord.from_json(record().to_json()) == record()
    assert "\n" not in record(traceback="a\nb").to_json()


def test_a_later_versions_keys_are_left_out_and_missing_ones_named():
    later = json.dumps({**json.loads(record().to_json()), "mood": "good"})
    assert EpisodeRecord.from_json(later) == record()
    with pytest.raises(InspireError, match="task: Field required"):
        EpisodeRecord.from_json('{"suite": "s"}')


def test_a_torn_last_line_is_dropped_and_the_rest_kept(tmp_path):
    path = tmp_path / "episodes.jsonl"
    with EpisodeLog(path) as log:
        log.append(record(0))
        log.append(record(1))
    whole = path.read_bytes()
    for cut in (1, 10, len(record(1).to_json())):
        path.write_bytes(whole[:-cut])
        with EpisodeLog(path) as log:
            assert log.records == [record(0)]
            log.append(record(2))
        assert [json.loads(line)["episode"] for line in path.read_text().splitlines()] == [0, 2]


def test_a_broken_line_in_the_middle_is_an_error_with_its_number(tmp_path):
    path = tmp_path / "episodes.jsonl"
    path.write_text(record(0).to_json() + "\n{broken\n" + record(1).to_json() + "\n")
    with pytest.raises(InspireError, match="line 2"):
        EpisodeLog(path)


def test_a_whole_last_line_that_cannot_be_read_is_an_error_and_stays(tmp_path):
    """It is no rest of a kill: opened for a resumption, it would be lost without a word."""
    path = tmp_path / "episodes.jsonl"
    path.write_text(record(0).to_json() + "\n" + '{"suite": "s", "task": 3}\n')
    before = path.read_bytes()
    with pytest.raises(InspireError, match="line 2: An episode record does not fit: task"):
        EpisodeLog(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"version": 2}, "later version of inspire_vla: its run.json is of version 2, and this one reads up to 1"),
        ({"version": "new"}, "version: Input should be a valid integer"),
        ({"policy": None}, "policy: Input should be an object"),
        ({"policy": {"name": 3}}, r"policy\.name: Input should be a valid string"),
        ({"plan": "all"}, "plan: Input should be an object"),
        ({"plan": {"conditions": []}}, r"plan\.conditions"),
        ({"plan": {"suites": 1}}, r"plan\.suites"),
        ({"groups": ["s"]}, "groups"),
        ({"held_out": {"trained_on": 3}}, r"held_out\.trained_on"),
        ({"machine": "fast"}, "machine"),
    ],
)  # fmt: skip
def test_a_run_json_of_another_form_is_refused_by_its_field(tmp_path, info, message):
    (tmp_path / "run.json").write_text(json.dumps(info))
    with pytest.raises(InspireError, match=message):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "missing", [("plan",), ("policy",), ("groups",), ("plan", "suites"), ("plan", "first_seed")]
)
def test_a_run_json_that_says_less_is_compared_and_shown(tmp_path, missing):
    plan = EvaluationPlan(("toy_seen",), 1, {"name": "good"})
    evaluate(tmp_path / "run", plan, benchmark=ToyBenchmark, agent=GoodAgent, workers=0, progress=False)
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    within = info
    for key in missing[:-1]:
        within = within[key]
    del within[missing[-1]]
    (tmp_path / "run" / "run.json").write_text(json.dumps(info))
    assert "toy_seen" in render_page(compare([read_run(tmp_path / "run")]))


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "e.jsonl"
    with EpisodeLog(path) as log:
        log.append(record(0))

        def full(_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("inspire_vla.evaluation.records.os.fsync", full)
        with pytest.raises(InspireError, match="No space left"):
            log.append(record(1))
        monkeypatch.undo()
        log.append(record(2))
    with EpisodeLog(path) as log:
        assert [r.episode for r in log.records] == [0, 2]


def test_a_line_that_did_not_fit_leaves_the_file_as_it_was(tmp_path):
    """The kernel's own refusal, in the middle of a line: nothing of it may come later, on closing."""
    path = tmp_path / "e.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with EpisodeLog(path) as log:
        log.append(record(0))
        before = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
        try:
            with pytest.raises(InspireError, match="What was finished before is kept"):
                log.append(record(1))
            log.close()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before


def test_reading_what_is_not_a_run_lists_what_is(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "run.json").write_text("{}")
    with pytest.raises(InspireError, match=r"no such folder.*base"):
        read_run(tmp_path / "bsae")
    with pytest.raises(InspireError, match=r"no run\.json"):
        read_run(tmp_path)


def run(name, suite, outcomes):
    records = [
        EpisodeRecord(suite=suite, task="t", instruction="i", episode=e, seed=e, success=s, steps=1)
        for e, s in enumerate(outcomes)
    ]
    groups = {suite: "seen" if suite.endswith("_seen") else "unseen"}
    return Run(Path(name), {"policy": {"name": name}, "groups": groups}, tuple(records))


def test_training_seeds_stay_paired():
    """The second base policy's episode meets the second InSpire policy's, not the first's."""
    base = pool([[run("b0", "a_seen", [1, 1])], [run("b1", "a_seen", [0, 0])]], "base")
    inspire = pool([[run("i0", "a_seen", [1, 1])], [run("i1", "a_seen", [0, 1])]], "InSpire")
    pair = compare([base, inspire])["groups"][0]["paired"][1]
    assert (pair["both"], pair["only_first"], pair["only_second"], pair["neither"]) == (2, 0, 1, 1)


def test_suites_of_one_policy_become_one_run():
    whole = pool([[run("b", "a_seen", [1]), run("b", "a_goal", [0, 1])]], "base")
    groups = {g["group"]: g["rates"][0]["n"] for g in compare([whole])["groups"]}
    assert groups == {"seen": 1, "unseen": 2}
    assert whole.info["pooled"] == ["b", "b"]


@pytest.mark.parametrize(
    ("first", "second", "group"),
    [
        ([1, 1], [2, 2], "seen"),
        ([1, 1], [0, 1], "seen in part"),
        ([0, 1], [0, 1], "unseen"),
        ([0, 1], None, "trained on unknown"),
    ],
)
def test_tasks_trained_on_of_pooled_runs_add_up(first, second, group):
    """Such as of `--task` in two runs. What one of them does not say is not known of both."""
    parts = [run("b", "a", [1]), run("c", "a", [0])]
    parts[1] = replace(parts[1], records=tuple(replace(record, task="u") for record in parts[1].records))
    for part, counts in zip(parts, (first, second), strict=True):
        part.info["groups"] = {}
        if counts is not None:
            part.info.update(trained_on=["a"], tasks_trained_on={"a": counts})
    for runs in ([parts], [[part] for part in parts]):
        assert [g["group"] for g in compare([pool(runs, "b")])["groups"]] == [group]


@pytest.mark.parametrize(
    ("first", "other", "message"),
    [
        (
            {"conditions": {"layout_randomness": 0.0}},
            {"conditions": {"layout_randomness": 1.0}},
            "0.0, here 1.0",
        ),
        ({"max_steps": None}, {"max_steps": 9}, "max_steps: there None, here 9"),
        ({"n_action_steps": 1}, {"n_action_steps": 4}, "n_action_steps: there 1, here 4"),
        ({"labels_sha256": "a"}, {"labels_sha256": "b"}, "labels_sha256"),
        ({"policy": {}}, {"policy": {"mention_overrides": {"i": []}}}, "mention_overrides"),
        ({}, {"max_steps": 9}, None),  # what is not known is not compared
    ],
)
def test_runs_under_different_conditions_are_no_one_result(first, other, message):
    runs = [run("a", "a_seen", [1]), run("b", "a_goal", [0])]
    for each, plan in zip(runs, (first, other), strict=True):
        each.info["plan"] = plan
    if message is None:
        pool([runs], "base")
        return
    with pytest.raises(InspireError, match=f"b was not played as a was .*{message}"):
        pool([runs], "base")


def filmed(folder, shard=(0, 1), first_seed=1_000_000):
    plan = EvaluationPlan(
        ("toy_seen",), 3, {"name": "good"}, videos_per_task=1, shard=shard, first_seed=first_seed
    )

    def write(path, frames, fps, record):
        path.write_text(folder.name)

    made = {"benchmark": ToyBenchmark, "agent": GoodAgent, "workers": 0, "progress": False}
    return evaluate(folder, plan, video_writer=write, **made)


def test_a_pooled_episode_has_its_own_video(tmp_path):
    """Each run has videos of the same names, in its own folder."""
    runs = [filmed(tmp_path / name) for name in ("one", "two")]
    episodes = compare([pool([[run] for run in runs], "good")])["episodes"]
    shown = {(e["task"], e["seed"]): Path(e["video"]).read_text("utf-8") for e in episodes if e["video"]}
    assert shown == {
        (task, 1_000_000 + number * 10**12): run.path.name
        for number, run in enumerate(runs)
        for task in ("go left", "go right")
    }


def test_a_pooled_episode_has_its_video_where_the_runs_are_links(tmp_path):
    """As on a cluster, where runs lie on another disk."""
    runs = []
    for seed, where in enumerate(("far/away/disk", "other")):
        (folder := tmp_path / where / f"run{seed}" / "videos").mkdir(parents=True)
        (folder / "x.mp4").touch()
        link = tmp_path / "runs" / f"run{seed}"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(folder.parent)
        runs.append(Run(link, {"policy": {"name": "p"}}, (record(video="videos/x.mp4"),)))
    pooled = pool([[run] for run in runs], "p")
    assert all((pooled.path / one.video).is_file() for one in pooled.records)


def test_half_a_character_in_an_error_costs_no_run(tmp_path):
    """Python names a file whose name is no UTF-8 so."""
    crashed = record(error="No such file: /\udcff.png", crashed=True)
    with EpisodeLog(tmp_path / "e.jsonl") as log:
        log.append(crashed)
    assert read_episodes(tmp_path / "e.jsonl")[0] == [replace(crashed, error="No such file: /?.png")]


def test_the_shards_of_a_run_are_one_run(tmp_path):
    whole = filmed(tmp_path / "whole")
    shards = [filmed(tmp_path / str(i), (i, 3)) for i in range(3)]
    (joined,) = join_shards(shards)
    assert {(r.key, r.success, r.steps) for r in joined.records} == {
        (r.key, r.success, r.steps) for r in whole.records
    }
    assert "finished" in joined.info
    assert compare([joined])["groups"] == compare([whole])["groups"]
    assert sum(bool(e["video"]) and Path(e["video"]).is_file() for e in compare([joined])["episodes"]) == 2
    (part,) = join_shards([shards[2], shards[0]])
    assert "shard 1/3, which is not given" in "".join(warnings(compare([part])))
    assert [len(run.records) for run in join_shards([whole, shards[0], shards[1], shards[2]])] == [6, 6]
    other = filmed(tmp_path / "other", (1, 3), first_seed=7)
    assert len(join_shards([shards[0], other])) == 2
    with pytest.raises(InspireError, match="is shard 0/3 of 'good', which is given twice"):
        join_shards([shards[0], shards[1], shards[0]])


def test_a_pool_is_finished_when_all_of_it_is():
    done, going_on = run("done", "a_seen", [1]), run("going_on", "a_goal", [0])
    done.info["finished"] = "then"
    assert pool([[done]], "base").info["finished"] == "then"
    pooled = pool([[done, going_on]], "base")
    assert pooled.info["unfinished"] == ["going_on"]
    assert "base: not finished: going_on (2 episodes so far)" in warnings(compare([pooled]))


def test_nothing_pools_to_an_error():
    with pytest.raises(InspireError, match="no runs of 'base'"):
        pool([], "base")
    with pytest.raises(InspireError):
        pool([[]], "base")


def test_a_recording_comes_back(tmp_path: Path) -> None:
    actions, states = np.random.default_rng(0).random((2, 5, 7)).astype(np.float32)
    Recording(actions=list(actions), states=list(states)).write_arrays(tmp_path / "x.npz")
    back = read_arrays(tmp_path / "x.npz")
    np.testing.assert_array_equal(back[0], actions)
    np.testing.assert_array_equal(back[1], states)
    Recording(actions=list(actions)).write_arrays(tmp_path / "y.npz")
    assert read_arrays(tmp_path / "y.npz")[1].shape == (0, 0)
    assert [len(table) for table in read_arrays(tmp_path / "none.npz")] == [0, 0]


def test_other_files_are_refused_and_nothing_is_unpickled(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"no")
    np.savez(tmp_path / "y.npz", actions=np.array([print], dtype=object), states=np.zeros(1))
    np.savez(tmp_path / "z.npz", actions=np.zeros(1))
    for name in "xyz":
        with pytest.raises(InspireError, match=rf"{name}.npz is damaged \(.*\)\.$"):  # not made again
            read_arrays(tmp_path / f"{name}.npz")


def test_compressed_arrays_with_a_wrong_byte_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    Recording(actions=list(np.random.default_rng(0).random((50, 7)))).write_arrays(path)
    whole = path.read_bytes()
    for position in range(100, 900, 50):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        with pytest.raises(InspireError, match="is damaged"):
            read_arrays(path)


def test_actions_and_states_are_stored_beside_the_video(tmp_path: Path) -> None:
    plan = EvaluationPlan(
        suites=("toy_seen",), episodes_per_task=2, policy={"name": "good"}, videos_per_task=1
    )
    run = evaluate(
        tmp_path / "run", plan, benchmark=Factory("tests.evaluation.toys:ToyBenchmark", {}), agent=GoodAgent, workers=0,
        video_writer=lambda path, frames, fps, record: path.write_bytes(b"film"),
    )  # fmt: skip
    filmed = [record for record in run.records if record.video]
    assert len(filmed) == len(ToyBenchmark().tasks("toy_seen"))
    for record in filmed:
        actions, states = read_arrays((run.path / record.video).with_suffix(".npz"))
        assert actions.shape == (record.steps, 7)
        assert states.shape == (record.steps + 1, 2)
        np.testing.assert_allclose(states[1:, 0], np.cumsum(0.1 * actions[:, 1]), atol=1e-6)
    assert not list(run.path.glob("videos/**/*001.npz"))
