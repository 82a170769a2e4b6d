"""Recorded episodes as a benchmark: what a policy would have done, compared with what was demonstrated."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.evaluation import recordings, toys
from tests.evaluation.recordings import CLOSES, FRAMES, OPENS, TASKS, actions_of

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import (
    AnswerRule,
    Factory,
    PlaybackBenchmark,
    PlaybackPlan,
    PolicyInputs,
    compare,
    evaluate,
    read_run,
)
from inspire_vla.evaluation.offline import ActionScale, gripper_events, match_events, score_actions
from inspire_vla.evaluation.statistics import ratio_difference, ratio_over_episodes
from inspire_vla.labels.columns import LABELS_FILE
from inspire_vla.labels.recorded import EpisodeReader
from inspire_vla.reports.tables import comparison_tables, warnings

INPUTS = PolicyInputs({"front": (16, 16)}, 2, 7, AnswerRule(max_objects=1))
PLAYBACK = "inspire_vla.evaluation.playback:PlaybackBenchmark"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return recordings.write_recording(tmp_path_factory.mktemp("data") / "recording")


def played(
    dataset, out, agent="Repeats", episodes=(2, 3), workers=0, held_out=None, inputs=INPUTS, **arguments
):
    factory = Factory(PLAYBACK, {"dataset": dataset, "inputs": inputs, "evaluated": episodes})
    plan = PlaybackPlan(
        {"name": out.name}, factory().describe(), tuple(episodes),
        extra={"held_out": held_out or {"known": True, "trained_on": []}},
    )  # fmt: skip
    made = Factory(f"tests.evaluation.recordings:{agent}", arguments)
    return evaluate(out, plan, benchmark=factory, agent=made, workers=workers, progress=False)


def test_a_perfect_policy_has_no_error_and_hits_every_gripper_event(dataset, tmp_path):
    run = played(dataset, tmp_path / "perfect")
    assert run.is_offline
    assert [(r.task, r.episode, r.seed, r.steps, r.success) for r in run.records] == [
        (TASKS[0], 2, 2, FRAMES, None), (TASKS[1], 3, 3, FRAMES, None),
    ]  # fmt: skip
    for record in run.records:
        assert record.error is None
        assert record.decisions == FRAMES / 4
        assert record.offline.compared == (6, 6, 6, 6, 5, 5)  # a chunk of six, the last one cut by the end
        assert max(record.offline.error["policy"]) == 0
        assert min(record.offline.error["last action"][0], record.offline.error["mean action"][0]) > 0
        for kind in ("close", "open"):
            scores = record.offline.gripper[kind]
            assert (scores.demonstrated, scores.hit, scores.predicted, scores.delays) == (1, 1, 1, (0,))
        # front at the first half, left afterwards; asked at every fourth frame
        assert (record.answers_correct, record.answers_scored) == (3, 6)


def test_errors_are_those_of_the_definition(dataset, tmp_path):
    run = played(dataset, tmp_path / "off", error=2.0)
    scale = PlaybackBenchmark(dataset, INPUTS, evaluated=(2, 3)).scale
    others = np.concatenate([actions_of(0), actions_of(1)])
    np.testing.assert_allclose(scale.spread, others.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scale.mean, others.mean(axis=0), rtol=1e-5)
    row = compare([run])["offline"]["actions"]["rows"][0]
    assert row["by_dimension"] == pytest.approx([2.0, 0, 0, 0, 0, 0, 0], abs=1e-5)
    # of the seven numbers only x and the gripper vary
    assert row["relative"]["rate"] == pytest.approx(2.0 / scale.spread[0] / 2, rel=1e-5)
    assert row["by_horizon"] == pytest.approx([2.0 / scale.spread[0] / 2] * 6, rel=1e-5)
    for name, predicted in (("mean action", scale.mean), ("last action", None)):
        (baseline,) = (r for r in compare([run])["offline"]["actions"]["rows"] if r["name"] == name)
        truth = [
            (actions_of(e)[t : t + 6], actions_of(e)[t - 1] if t else scale.mean)
            for e in (2, 3)
            for t in range(0, FRAMES, 4)
        ]
        errors = np.concatenate([np.abs((last if predicted is None else predicted) - a) for a, last in truth])
        assert baseline["by_dimension"] == pytest.approx(errors.mean(axis=0).tolist(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("value", [1, 6])
def test_an_action_that_is_no_number_refuses_its_episode_and_counts_for_no_other(
    dataset, tmp_path, monkeypatch, value
):
    whole = PlaybackBenchmark(dataset, INPUTS, evaluated=(2,)).scale

    def damaged(episode):
        actions = actions_of(episode)
        if episode == 1:
            actions[5, value] = np.nan
        return actions

    monkeypatch.setattr(recordings, "actions_of", damaged)
    copy = recordings.write_recording(tmp_path / "damaged")
    run = played(copy, tmp_path / "out")
    assert [record.error for record in run.records] == [None, None]
    scale = PlaybackBenchmark(copy, INPUTS, evaluated=(2, 3)).scale
    np.testing.assert_allclose(scale.mean, actions_of(0).mean(axis=0), rtol=1e-5)
    assert scale.grippers == whole.grippers
    with pytest.raises(InspireError, match=r"action of episode 1, frame 5 is \[.*nan.*in 1 episode of those"):
        played(copy, tmp_path / "refused", episodes=(1, 2))


@pytest.mark.parametrize(("late", "hits"), [(0, 1), (3, 1), (5, 1), (6, 0)])
def test_a_late_gripper_is_hit_within_half_a_second_only(dataset, tmp_path, late, hits):
    record = played(dataset, tmp_path / "late", episodes=[0], late=late).records[0]
    for kind in ("close", "open"):
        scores = record.offline.gripper[kind]
        predicted = int((CLOSES if kind == "close" else OPENS) + late < FRAMES)
        assert (scores.demonstrated, scores.hit, scores.predicted) == (1, hits, predicted)
        assert scores.delays == ((late,) if hits else ())


def test_events_are_matched_one_to_one():
    assert match_events([10, 20], [10, 11, 21], 5) == (0, 1)
    assert match_events([10, 20], [16], 5) == (-4,)
    assert match_events([10], [], 5) == ()
    assert match_events([10, 12], [11], 5) == (1,)
    opening = np.array([1, 1, 0.5, 0.2, 0.5, 0.9])
    assert gripper_events(opening, closed_before=False) == {"close": [3], "open": [5]}
    assert gripper_events(opening, closed_before=True) == {"close": [3], "open": [0, 5]}


def test_the_events_of_a_trigger_that_is_neutral_between_its_pulses():
    actions = np.zeros((2 * FRAMES, 3))
    for start in (0, FRAMES):
        actions[start + CLOSES, 2], actions[start + OPENS, 2] = -1.0, 1.0
    scale = ActionScale.of(actions, np.array([0, FRAMES]), ("x", "y", "gripper"), tolerance=2)
    episode = actions[:FRAMES]
    events = score_actions(episode, [(0, episode)], episode, scale).gripper
    assert (events["close"].demonstrated, events["open"].demonstrated) == (1, 1)
    assert (events["close"].delays, events["open"].delays) == ((0,), (0,))
    still = score_actions(episode, [(0, episode)], np.zeros_like(episode), scale).gripper
    assert (still["close"].hit, still["close"].predicted) == (0, 0)


def gripper_of(dataset, evaluated=()):
    scale = PlaybackBenchmark(dataset, PolicyInputs({"front": (16, 16)}, 2, 7), evaluated=evaluated).scale
    return {i: (round(gripper.closed), round(gripper.open)) for i, gripper in scale.grippers.items()}


def test_which_values_of_a_gripper_are_open_is_not_guessed_where_it_is_known(dataset, tmp_path, monkeypatch):
    """Arms that rest closed begin their demonstrations closed."""
    assert gripper_of(dataset) == {6: (0, 100)}

    def turned(episode):
        actions = actions_of(episode)
        actions[:, 6] = 100 - actions[:, 6]
        return actions

    monkeypatch.setattr(recordings, "actions_of", turned)
    begins_closed = recordings.write_recording(tmp_path / "begins_closed")
    assert gripper_of(begins_closed) == {6: (100, 0)}
    info = begins_closed / "meta/info.json"
    text = info.read_text(encoding="utf-8")
    info.write_text(text.replace('"robot_type": "arm"', '"robot_type": "so101_follower"'), encoding="utf-8")
    assert gripper_of(begins_closed) == {6: (0, 100)}
    info.write_text(text.replace('"gripper"', '"gripper_open"'), encoding="utf-8")
    assert gripper_of(begins_closed) == {6: (0, 100)}
    info.write_text(text, encoding="utf-8")
    arm = {"end_effector": {"command": "action:6"}, "gripper_closed_and_open": {"command": [0, 100]}}
    labels = begins_closed / "meta/inspire_labels.json"
    content = json.loads(labels.read_text(encoding="utf-8"))
    for arms, expected in (
        ([arm], (0, 100)),
        ([arm | {"gripper_closed_and_open": {"command": None}}, {}], (100, 0)),
    ):
        stored = content | {"extra": {"settings": {"arms": arms}}}
        labels.write_text(json.dumps(stored), encoding="utf-8")
        assert gripper_of(begins_closed) == {6: expected}


@pytest.mark.parametrize(("names", "grippers"), [
    (("gripper_x", "gripper_y", "gripper_opening"), [2]),
    (("left_jaw", "x", "right_jaw"), [0, 2]),
    (("joint_0", "joint_1", "joint_2"), []),  # an arm without a gripper
    (("0", "1", "2"), [2]),
])  # fmt: skip
def test_grippers_are_found_by_name(names, grippers):
    actions = np.random.default_rng(0).integers(0, 100, (60, 3)).astype(float)
    scale = ActionScale.of(np.sort(actions, axis=0), np.array([0, 30]), names, tolerance=2)
    assert list(scale.grippers) == grippers


def test_a_gripper_that_never_moves_has_no_events():
    actions = np.random.default_rng(0).normal(size=(20, 3))
    actions[:, 2] = 1.0
    scale = ActionScale.of(actions, np.array([0]), ("x", "y", "gripper"), tolerance=2)
    scores = score_actions(actions, [(0, actions)], actions, scale)
    assert scale.grippers == {}
    assert scores.gripper["close"].demonstrated == 0
    assert all(np.isfinite(values).all() for values in scores.relative_by_horizon.values())


def test_worker_processes_and_a_resumed_run_give_the_same(dataset, tmp_path):
    one, two = (
        played(dataset, tmp_path / n, workers=w, episodes=range(4)) for n, w in (("one", 0), ("two", 2))
    )
    scores = lambda run: sorted((r.key, str(r.offline), r.confusion) for r in run.records)  # noqa: E731
    assert scores(one) == scores(two)
    lines = (tmp_path / "two" / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "two" / "episodes.jsonl").write_bytes(
        b"".join(lines[:2]) + lines[2][:30]
    )  # killed while writing
    again = played(dataset, tmp_path / "two", episodes=range(4))
    assert scores(again) == scores(one)
    assert len(again.info["resumed"]) == 1


def test_a_run_is_not_resumed_on_other_episodes_or_other_labels(dataset, tmp_path):
    run = played(dataset, tmp_path / "run", episodes=[1])
    moved = tmp_path / "moved"
    shutil.copytree(dataset, moved)
    assert played(moved, tmp_path / "run", episodes=[1]).records == run.records  # it counts by its content
    with pytest.raises(InspireError, match="another plan"):
        played(dataset, tmp_path / "run", episodes=[1, 2])
    other = recordings.write_recording(tmp_path / "more", episodes=6)
    with pytest.raises(InspireError, match="another plan"):
        played(other, tmp_path / "run", episodes=[1])


def test_base_and_inspire_stand_in_one_comparison(dataset, tmp_path):
    base = played(dataset, tmp_path / "base", "RepeatsInSilence", range(4), error=3.0)
    inspire = played(dataset, tmp_path / "InSpire", episodes=range(4), error=1.0)
    comparison = compare([base, inspire])
    assert comparison["policies"] == []
    offline = comparison["offline"]
    silent, spoken = offline["answers"]
    assert (silent["n"], silent["rate"]) == (0, None)
    assert (spoken["n"], spoken["rate"]) == (24, 0.5)
    assert [(o["object"], o["n"], o["correct"]) for o in spoken["by_object"]] == [
        ("the blue cube", 12, 6), ("the red cube", 12, 6),
    ]  # fmt: skip
    words = {entry["word"]: entry for entry in spoken["by_word"]}
    assert (words["front"]["labelled"], words["front"]["answered"], words["front"]["correct"]) == (12, 24, 12)
    assert (words["left"]["labelled"], words["left"]["answered"]) == (12, 0)
    rows = offline["actions"]["rows"]
    assert [row["name"] for row in rows] == ["base", "InSpire", "last action", "mean action"]
    difference = rows[1]["difference"]
    assert difference["high"] < 0  # less error than base, in every episode
    assert difference["n"] == 4
    titles = [table.title for table in comparison_tables(comparison)]
    assert len([t for t in titles if t.startswith(("Answers", "Mean absolute", "Error", "Gripper"))]) == 6
    for table in comparison_tables(comparison):
        table.rich(), table.markdown()
    assert warnings(comparison) == []


def test_what_is_measured_by_other_labels_or_another_scale_has_no_difference(dataset, tmp_path):
    first = played(dataset, tmp_path / "first", episodes=[0, 1, 2])
    same = played(dataset, tmp_path / "same", episodes=[0, 1, 2], error=1.0)
    fewer = played(dataset, tmp_path / "fewer", episodes=[0, 1])
    relabelled = replace(same, info=json.loads(json.dumps(same.info)))
    relabelled.info["policy"]["name"] = "relabelled"
    relabelled.info["plan"]["labels_sha256"] = "0" * 64
    comparison = compare([first, same, fewer, relabelled])
    actions = [row["difference"] is not None for row in comparison["offline"]["actions"]["rows"]]
    answers = [entry["difference"] is not None for entry in comparison["offline"]["answers"]]
    assert actions == [False, True, False, True, True, True]  # the last two are baselines
    assert answers == [False, True, True, False]
    messages = [line for line in warnings(comparison) if "no difference is shown" in line]
    assert [line.split(":")[0] for line in messages] == ["relabelled", "fewer"]


def test_rollouts_and_recorded_frames_share_a_page(dataset, tmp_path):
    from inspire_vla.evaluation import EvaluationPlan
    from inspire_vla.reports.page import render_page

    plan = EvaluationPlan(("toy_seen",), 1, {"name": "InSpire"})
    toy, good = (Factory(f"tests.evaluation.toys:{name}") for name in ("ToyBenchmark", "GoodAgent"))
    rollouts = evaluate(tmp_path / "sim", plan, benchmark=toy, agent=good, workers=0, progress=False)
    recorded = played(dataset, tmp_path / "InSpire")
    page = render_page(compare([rollouts, recorded]))
    assert "On recorded frames" in page
    assert "Gripper events" in page
    assert "Success by task" in page
    alone = render_page(compare([recorded]))
    assert "Success" not in alone.split("On recorded frames")[0].split("<h1>")[1]
    assert "succeed" in alone


def test_training_episodes_are_warned_of(dataset, tmp_path):
    run = played(dataset, tmp_path / "p", held_out={"known": True, "trained_on": [2]})
    assert any("trained on 1 of these 2 episodes" in line for line in warnings(compare([run])))
    run = played(dataset, tmp_path / "q", held_out={"known": False, "trained_on": []})
    assert any("not known" in line for line in warnings(compare([run])))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (PolicyInputs({"wrist": (16, 16)}, 2, 7), r"no camera 'wrist'; found \['front'\].*--camera wrist="),
        (PolicyInputs({"front": (16, 24)}, 2, 7), "16 × 16; the policy takes 16 × 24"),
        (PolicyInputs({"front": (16, 16)}, 8, 7), "'observation.state' has 2 numbers; the policy has 8"),
        (PolicyInputs({"front": (16, 16)}, 2, 6), "'action' has 7 numbers; the policy has 6"),
        (PolicyInputs({"front": (16, 16)}, 2, 7, AnswerRule(mode="position")), "mode"),
        (PolicyInputs({"front": (16, 16)}, 2, 7, AnswerRule(grasped_word=False)), "grasped"),
    ],
)  # fmt: skip
def test_a_dataset_of_another_robot_is_refused(dataset, inputs, message):
    with pytest.raises(InspireError, match=message):
        PlaybackBenchmark(dataset, inputs)


def test_labels_of_a_dataset_that_was_edited_since_are_refused(dataset, tmp_path):
    """LeRobot modifies instructions in place; the answers would be scored as those about other objects."""
    edited = shutil.copytree(dataset, tmp_path / "edited")
    tasks = pd.read_parquet(edited / "meta" / "tasks.parquet")
    tasks.index = tasks.index[::-1]  # both instructions are still known
    tasks.to_parquet(edited / "meta" / "tasks.parquet")
    with pytest.raises(InspireError, match="cannot be trusted: it was modified or renumbered"):
        PlaybackBenchmark(edited, INPUTS)
    silent = PolicyInputs({"front": (16, 16)}, 2, 7)
    assert PlaybackBenchmark(edited, silent).labels is None  # a base model is compared by its actions alone


def test_another_camera_and_a_smaller_image(dataset, tmp_path):
    inputs = PolicyInputs({"eye": (8, 8)}, 2, 7, columns={"eye": "observation.images.front"})
    env = PlaybackBenchmark(dataset, inputs).make("", TASKS[0])
    observation, info = env.reset(seed=2)
    assert observation["pixels"]["eye"].shape == (8, 8, 3)
    assert info["episode"] == 2
    assert "true_answers" not in info  # a base model is asked nothing


def test_a_task_that_comes_back_in_an_episode_has_a_film_of_each_part(dataset, tmp_path):
    copy = shutil.copytree(dataset, tmp_path / "copy")
    for path in (copy / "data").glob("*/*.parquet"):
        rows = pd.read_parquet(path)
        inside = (rows.episode_index == 2) & rows.frame_index.between(8, 15)
        rows.loc[inside, "task_index"] = 1 - rows.loc[inside, "task_index"]
        rows.to_parquet(path)
    (copy / LABELS_FILE).unlink()
    factory = Factory(PLAYBACK, {"dataset": copy, "inputs": INPUTS, "evaluated": (2,)})
    plan = PlaybackPlan({"name": "policy"}, factory().describe(), (2,), videos=3)
    run = evaluate(
        tmp_path / "run", plan, benchmark=factory, agent=recordings.Repeats, workers=0, progress=False,
        video_writer=toys.touch_video,
    )  # fmt: skip
    assert [(r.task, r.steps) for r in run.records] == [(TASKS[0], 8), (TASKS[1], 8), (TASKS[0], 8)]
    assert len({r.video for r in run.records}) == 3
    assert all((run.path / r.video).is_file() for r in run.records)


def test_videos_are_read_in_order(tmp_path):
    """Two cameras as video, several episodes in one file: each frame is the one that was recorded."""
    from lerobot.datasets import LeRobotDataset

    features = {
        "observation.images.front": {
            "dtype": "video",
            "shape": (64, 64, 3),
            "names": ["height", "width", "channels"],
        },
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "gripper"]},
    }
    dataset = LeRobotDataset.create("local/video", fps=10, root=tmp_path / "video", features=features)
    for episode in range(3):
        for frame in range(12):
            image = np.full((64, 64, 3), 30 * episode + 10 * frame + 5, np.uint8)
            dataset.add_frame(
                {"observation.images.front": image, "action": np.zeros(2, np.float32), "task": "go"}
            )
        dataset.save_episode()
    dataset.finalize()
    reader = EpisodeReader(tmp_path / "video")
    for segment in reader.segments:
        means = [image.mean() for image in reader.images(segment, "observation.images.front")]
        expected = 30 * segment.episode + 10 * np.arange(12) + 5
        np.testing.assert_allclose(means, expected, atol=4)
    with pytest.MonkeyPatch.context() as patch:  # an option of a training helps nobody who shows or evaluates
        patch.setattr(reader, "columns", lambda *_: {"timestamp": np.full((12, 1), 99.0)})
        with pytest.raises(InspireError, match=r"the nearest is at \S+ s\. Record it again\.$"):
            list(reader.images(reader.segments[0], "observation.images.front"))
    (film,) = (tmp_path / "video" / "videos").rglob("*.mp4")
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 3])
    with pytest.raises(InspireError, match=r"cannot be decoded|ends after|no image"):
        list(reader.images(reader.segments[-1], "observation.images.front"))


def test_intervals_resample_episodes():
    rng = np.random.default_rng(1)
    n = np.full(40, 10.0)
    right = rng.binomial(1, 0.7, 40) * 10.0  # all answers of an episode are alike
    estimate = ratio_over_episodes(right, n)
    assert estimate.value == right.sum() / n.sum()
    assert estimate.high - estimate.low > 0.2  # 400 independent answers would give 0.09
    same = ratio_difference(right, n, right, n)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    alone = ratio_over_episodes(right[:1], n[:1])
    assert np.isnan(alone.low)


def test_the_run_says_what_it_was_measured_with(dataset, tmp_path):
    info = read_run(played(dataset, tmp_path / "r").path).info
    recorded = info["plan"]["dataset"]
    assert recorded["action_names"] == list(recordings.NAMES)
    assert recorded["grippers"] == ["gripper"]
    assert recorded["gripper_tolerance_s"] == 0.5
    assert OPENS > CLOSES
    assert info["kind"] == "dataset"
