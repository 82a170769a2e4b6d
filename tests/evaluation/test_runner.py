import contextlib
import json
import multiprocessing
import os
import signal
import time
from functools import partial
from multiprocessing.connection import Connection

import pytest
from tests.evaluation import toys

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import (
    AnswerRule,
    EvaluationPlan,
    Factory,
    PlaybackPlan,
    RolloutSettings,
    evaluate,
    read_run,
    rollout,
)
from inspire_vla.evaluation.controls import CONTROLS
from inspire_vla.evaluation.provenance import commit, versions
from inspire_vla.files import folder_lock

BENCHMARK = Factory("tests.evaluation.toys:ToyBenchmark")
GOOD = Factory("tests.evaluation.toys:GoodAgent")


def plan(episodes=2, name="good", **changes):
    return EvaluationPlan(("toy_seen",), episodes, {"name": name}, **changes)


def run(out, the_plan, agent=GOOD, **kwargs):
    return evaluate(
        out, the_plan, benchmark=BENCHMARK, agent=agent, progress=False, **{"workers": 0, **kwargs}
    )


def outcomes(records):
    return sorted((r.key, r.success, r.steps) for r in records)


def test_a_run_says_where_it_comes_from(tmp_path):
    done = run(tmp_path / "run", plan(), video_writer=toys.touch_video)
    assert len(done.records) == 4
    assert {"command", "commit", "versions", "machine", "started", "finished", "plan"} <= done.info.keys()
    assert done.info["plan"]["first_seed"] == 1_000_000
    assert done.name == "good"
    assert json.loads((tmp_path / "run" / "episodes.jsonl").read_text().splitlines()[0])["seed"] >= 1_000_000


def test_videos_of_the_first_episodes_of_each_task(tmp_path):
    done = run(tmp_path, plan(3, videos_per_task=1), video_writer=toys.touch_video)
    filmed = [r for r in done.records if r.video]
    assert [r.episode for r in filmed] == [0, 0]
    assert all((tmp_path / r.video).read_bytes() == bytes([r.steps + 1]) for r in filmed)


@pytest.mark.parametrize("more", ["please ", "𠮷"])
def test_films_of_long_names_that_begin_alike_are_kept_apart(tmp_path, monkeypatch, more):
    long = ["go left " + more * 80 + variant for variant in ("one", "two")]
    monkeypatch.setitem(toys.SUITES, "toy_seen", tuple(long))
    done = run(tmp_path, plan(1, videos_per_task=1), video_writer=toys.touch_video)
    assert len({r.video for r in done.records}) == 2
    assert all((tmp_path / r.video).is_file() and len(r.video) < 130 for r in done.records)


def test_processes_give_what_one_process_gives(tmp_path):
    one = run(tmp_path / "one", plan(3))
    two = run(tmp_path / "two", plan(3), workers=2)
    assert outcomes(one.records) == outcomes(two.records)


def test_a_finished_run_is_not_played_again_and_another_plan_is_refused(tmp_path):
    run(tmp_path, plan())
    again = run(tmp_path, plan(), agent=Factory("tests.evaluation.toys:CrashesOn"))
    assert len(again.records) == 4
    assert all(r.error is None for r in again.records)
    assert len(again.info["resumed"]) == 1
    with pytest.raises(InspireError, match=r"episodes_per_task: there 2, now 3"):
        run(tmp_path, plan(3))


def test_what_an_earlier_call_played_is_told_with_what_it_lacks(tmp_path, capfd):
    """Else a fault that was mended, or a film that is asked for later, seems to be in the numbers that are shown."""
    run(tmp_path, plan(), agent=Factory("tests.evaluation.toys:CrashesOn"), slots=1)
    assert capfd.readouterr().err == ""
    run(tmp_path, plan(videos_per_task=1), video_writer=toys.touch_video)
    assert capfd.readouterr().err == (
        f"note: 4 of 4 episodes were played before and are kept in {tmp_path}.\n"
        "note: 2 of them crashed and stay failures; another folder plays all again.\n"
        "note: 2 of them have no video and get none; another folder plays and films them.\n"
    )


def test_other_conditions_are_another_plan(tmp_path):
    calm, windy = (
        Factory("tests.evaluation.toys:ToyBenchmark", {"conditions": {"wind": wind}}) for wind in (0.0, 0.25)
    )
    evaluate(tmp_path, plan(), benchmark=calm, agent=GOOD, workers=0, progress=False)
    evaluate(tmp_path, plan(), benchmark=calm, agent=GOOD, workers=0, progress=False)
    with pytest.raises(InspireError, match=r"conditions.wind: there 0.0, now 0.25"):
        evaluate(tmp_path, plan(), benchmark=windy, agent=GOOD, workers=0, progress=False)


def test_a_run_of_another_version_says_which_setting_differs_and_which_version_continues_it(tmp_path):
    """As runs of LIBERO that were begun when a layout randomness was recorded, which LIBERO does not have."""
    run(tmp_path, plan())
    info = json.loads((tmp_path / "run.json").read_text())
    info["plan"]["policy"]["layout_randomness"] = 0.0
    info["commit"] = "0123456789abcdef"
    (tmp_path / "run.json").write_text(json.dumps(info))
    with pytest.raises(InspireError) as refusal:
        run(tmp_path, plan())
    assert "(policy.layout_randomness: there 0.0, now not recorded)" in str(refusal.value)
    assert "at commit 0123456" in str(refusal.value)
    info["commit"] = commit()
    (tmp_path / "run.json").write_text(json.dumps(info))
    with pytest.raises(InspireError, match=r"Give another folder\.$"):
        run(tmp_path, plan())


def test_other_settings_of_a_checkpoint_are_another_plan_and_an_older_run_without_them_goes_on(tmp_path):
    one, other = (
        EvaluationPlan(("toy_seen",), 2, {"name": "good", "settings_sha256": each * 64}) for each in "ab"
    )
    run(tmp_path, one)
    with pytest.raises(InspireError, match=r"another plan \(policy.settings_sha256: another\)"):
        run(tmp_path, other)
    run(tmp_path / "older", plan())
    run(tmp_path / "older", one)


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    process = multiprocessing.get_context("spawn").Process(
        target=toys.slow_evaluation, args=(tmp_path, plan(6))
    )
    process.start()
    episodes = tmp_path / "episodes.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (episodes.exists() and episodes.read_bytes().count(b"\n") >= 2):
        assert process.is_alive()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    before = read_run(tmp_path).records
    assert 2 <= len(before) < 12
    assert "finished" not in read_run(tmp_path).info
    done = run(tmp_path, plan(6))
    assert done.records[: len(before)] == before
    assert outcomes(done.records) == outcomes(run(tmp_path / "whole", plan(6)).records)


def test_a_dying_worker_costs_only_the_episodes_it_was_playing(tmp_path):
    done = run(tmp_path, plan(2), agent=Factory("tests.evaluation.toys:DiesOn"), workers=1, slots=1)
    assert len(done.records) == 4
    died = [r for r in done.records if r.error]
    assert {r.task for r in died} == {"go right"}
    assert all("signal 9" in r.error and not r.success for r in died)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_agent_that_cannot_be_made_stops_the_run(tmp_path, workers):
    with pytest.raises(InspireError, match="no 'Nobody'"):
        run(tmp_path, plan(), agent=Factory("tests.evaluation.toys:Nobody"), workers=workers)


def test_shards_are_parts_of_the_whole(tmp_path):
    whole = {r.key for r in run(tmp_path / "all", plan(3)).records}
    parts = [{r.key for r in run(tmp_path / str(i), plan(3, shard=(i, 2))).records} for i in range(2)]
    assert parts[0] | parts[1] == whole
    assert not parts[0] & parts[1]


def test_a_shard_without_episodes_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(InspireError, match="no episode to play: shard 7/8 has none"):
        run(tmp_path / "run", plan(1, shard=(7, 8)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "bad",
    [
        {"control": "orcale"},
        {"shard": (2, 2)},
        {"episodes": 0},
        {"first_seed": -1},
        {"first_seed": 10**12 - 1},
    ],
)
def test_a_plan_is_checked_before_anything_runs(bad):
    with pytest.raises(InspireError):
        plan(**bad)


def test_a_run_in_which_everything_crashes_is_stopped_and_leaves_nothing(tmp_path):
    always = Factory("tests.evaluation.toys:AlwaysCrashes")
    with pytest.raises(InspireError, match=r"first 8 episodes crashed(.|\n)*wrong keyword"):
        run(tmp_path, plan(20), agent=always)
    assert read_run(tmp_path).records == ()


@pytest.mark.parametrize(("episodes", "tasks", "message"), [
    (2, None, "The first 4 episodes crashed"), (1, ("go left",), "The episode crashed"),
])  # fmt: skip
def test_so_is_a_short_run_whose_folder_can_be_used_again(tmp_path, episodes, tasks, message):
    short = plan(episodes, tasks=tasks)
    always = Factory("tests.evaluation.toys:AlwaysCrashes")
    with pytest.raises(InspireError, match=rf"^{message}, so none was recorded(.|\n)*wrong keyword"):
        run(tmp_path, short, agent=always)
    assert read_run(tmp_path).records == ()
    mended = plan(episodes, tasks=tasks, max_steps=7)
    assert len(run(tmp_path, mended).records) == len(short.jobs(BENCHMARK()))


def test_a_run_is_continued_with_the_same_simulator(tmp_path, monkeypatch):
    run(tmp_path, plan(1))
    here = versions()
    monkeypatch.setattr("inspire_vla.evaluation.runner.versions", lambda: here | {"mujoco": "9.0"})
    with pytest.raises(InspireError, match=rf"another plan \(MuJoCo: there '{here['mujoco']}', now '9.0'\)"):
        run(tmp_path, plan(1))
    info = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(info | {"versions": {}}))  # of an earlier version
    run(tmp_path, plan(1))


def test_what_is_left_of_a_run_may_all_crash(tmp_path):
    """Interrupted after the healthy half, it must be able to end: the crashing task is told, not asked for ever."""
    crashing = Factory("tests.evaluation.toys:CrashesOn")  # on the right
    whole = run(tmp_path, plan(10), agent=crashing, slots=1)
    episodes = tmp_path / "episodes.jsonl"
    lines = episodes.read_text().splitlines(keepends=True)
    episodes.write_text("".join(line for line in lines if not json.loads(line)["crashed"]))
    again = run(tmp_path, plan(10), agent=crashing, slots=1)
    assert sum(r.crashed for r in again.records) == 10
    assert outcomes(again.records) == outcomes(whole.records)


def test_so_is_a_run_in_which_every_worker_dies(tmp_path, monkeypatch):
    monkeypatch.setattr("inspire_vla.evaluation.runner.MAX_FIRST_CRASHES", 2)
    dies = Factory("tests.evaluation.toys:DiesOn")
    with pytest.raises(InspireError, match=r"first 2 episodes crashed(.|\n)*signal 9"):
        run(tmp_path, plan(3, tasks=("go right",)), agent=dies, workers=1, slots=1)
    assert read_run(tmp_path).records == ()  # run again, all are played


def test_what_the_policy_did_is_no_crash(tmp_path, monkeypatch):
    monkeypatch.setattr("inspire_vla.evaluation.runner.MAX_FIRST_CRASHES", 2)
    records = run(tmp_path, plan(2), agent=Factory("tests.evaluation.toys:Undecodable")).records
    assert [(bool(r.error), r.crashed) for r in records] == [(True, False)] * 4


def test_a_worker_killed_in_the_middle_of_a_message_is_a_dead_worker(tmp_path, monkeypatch):
    """The pipe then says so by an OSError: half a message has come."""
    receive = Connection.recv

    def torn(self):
        try:
            return receive(self)
        except EOFError:
            raise OSError("got end of file during message") from None

    monkeypatch.setattr(Connection, "recv", torn)
    whole = run(tmp_path, plan(2), agent=Factory("tests.evaluation.toys:DiesOn"), workers=1, slots=1)
    assert {r.task: r.crashed for r in whole.records} == {"go left": False, "go right": True}
    assert len(whole.records) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_objects_that_are_not_asked_about_are_told_once_before_the_run(tmp_path, workers, capfd):
    complains, wordy = (Factory(f"tests.evaluation.toys:{name}") for name in ("Complains", "WordyBenchmark"))
    warning = (
        f"warning: '{toys.WORDY}' names 3 objects; this policy is asked about the first 2: the cup, the pen\n"
    )
    options = {"agent": complains, "workers": workers, "progress": False}
    evaluate(tmp_path / "told", plan(), benchmark=wordy, rule=AnswerRule(max_objects=2), **options)
    assert capfd.readouterr().err == warning
    evaluate(tmp_path / "all", plan(), benchmark=wordy, rule=AnswerRule(max_objects=3), **options)
    assert capfd.readouterr().err == ""


def test_workers_warn_where_the_instructions_are_not_known_before(tmp_path, capfd):
    complains = Factory("tests.evaluation.toys:Complains")
    run(tmp_path / "run", plan(), complains, workers=1, rule=AnswerRule(max_objects=2))
    assert "not asked about everything" in capfd.readouterr().err


def test_two_writers_are_refused(tmp_path):
    with folder_lock(tmp_path / "run"), pytest.raises(InspireError, match="Another process"):
        run(tmp_path / "run", plan())


KINDS = {
    "base": {"enabled": False},
    "asked apart": {"enabled": True, "separate_questions": True},
    "InSpire": {"enabled": True},
}


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_refuses_the_controls_that_its_policy_cannot_take(kind, control):
    """From the policy's description alone, as the rollout does with the policy itself."""
    agent = toys.GoodAgent()
    agent.reasoning_enabled = KINDS[kind]["enabled"]
    agent.answers_precede_action = not KINDS[kind].get("separate_questions", False)
    policy = {"name": kind, "reasoning": KINDS[kind]}
    allowed = {"base": ("none",), "asked apart": ("none", "unasked"), "InSpire": CONTROLS}[kind]
    played = partial(rollout, (), toys.ToyBenchmark(), agent, RolloutSettings(control=control))
    for make in (
        lambda: EvaluationPlan(("toy_seen",), 1, policy, control=control),
        lambda: PlaybackPlan(policy, {}, (0,), control=control),
        lambda: list(played()),
    ):
        with (
            contextlib.nullcontext()
            if control in allowed
            else pytest.raises(InspireError, match="Possible: none")
        ):
            make()


def test_an_unknown_control_is_told_with_the_possible_ones():
    with pytest.raises(InspireError, match="Did you mean 'truth'"):
        plan(control="truht")
