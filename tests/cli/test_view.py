"""inspire view on a run and on a dataset."""

import io
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from inspire_vla.cli import main
from inspire_vla.errors import InspireError
from inspire_vla.evaluation import EpisodeRecord
from inspire_vla.labels.columns import LabelInfo, ModeRule, answer_column, answer_feature, write_labels
from inspire_vla.reports.moments import DatasetEpisode
from inspire_vla.spatial import encode_answers


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(
        json.dumps({"version": 1, "policy": {"name": "InSpire"}}), encoding="utf-8"
    )
    timeline = ((0, ("left",), ("left",), (0.9,)),)
    records = [
        EpisodeRecord(
            "seen", task, f"do {task}", 0, seed, True, 5, "InSpire", mentions=("the cube",), timeline=timeline
        )
        for task in ("b", "a")
        for seed in (1, 0)
    ]
    (folder / "episodes.jsonl").write_text(
        "".join(record.to_json() + "\n" for record in records), encoding="utf-8"
    )
    return folder


def test_timelines_of_a_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["view", str(run), "--timeline", str(tmp_path / "t.svg")]) == 0
    drawn = (tmp_path / "t.svg").read_text(encoding="utf-8")
    assert drawn.index("do a") < drawn.index("do b")
    assert "4 of 4 episodes" in capsys.readouterr().out
    assert main(["view", str(run), "--timeline", str(tmp_path / "t.svg"), "--most", "3"]) == 0
    said = capsys.readouterr().out
    assert "3 of 4 episodes" in said
    assert "--most 4 draws all" in said
    for name in ("t.json", "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        assert main(["view", str(run), "--timeline", str(tmp_path / name)]) == 2
        assert re.search("ends in .svg or .png or .pdf, found 't.json'|is a folder", capsys.readouterr().err)
    assert main(["view", str(run), "--timeline", str(tmp_path / "t.svg"), "--task", "c"]) == 2
    assert "No task 'c'" in capsys.readouterr().err


def test_an_episode_of_a_run_as_a_recording(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("rerun")
    assert main(["view", str(run), "--episode", "3", "--save", str(tmp_path / "e.rrd")]) == 0
    said = capsys.readouterr().out
    assert "Episode 3 of 4: InSpire seen b 1, success" in said
    assert "It was not filmed" in said
    assert (tmp_path / "e.rrd").stat().st_size > 1000
    assert main(["view", str(run), "--episode", "4", "--save", str(tmp_path / "e.rrd")]) == 2
    assert "there are 4, from 0" in capsys.readouterr().err


def test_a_run_on_recorded_frames_has_the_numbers_of_the_dataset(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("inspire_vla.cli.view._need_rerun", lambda instead: None)
    monkeypatch.setattr("inspire_vla.reports.viewer.view", lambda *_, **__: None)
    info = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps(info | {"kind": "dataset"}), encoding="utf-8")
    records = [
        EpisodeRecord(
            "frames", "put it", "put it", number, number, None, 5, "InSpire", mentions=("the cube",)
        )
        for number in (47, 41)
    ]
    (run / "episodes.jsonl").write_text("".join(r.to_json() + "\n" for r in records), encoding="utf-8")
    for given, shown in (([], 41), (["--episode", "47"], 47)):
        assert main(["view", str(run), *given]) == 0
        assert (
            f"Episode {shown} of 2: InSpire frames put it {shown}, recorded frames" in capsys.readouterr().out
        )
    assert main(["view", str(run), "--episode", "1"]) == 2
    assert "Episode 1 was not evaluated. Possible: 41,47" in capsys.readouterr().err


def test_without_rerun_the_extra_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("inspire_vla.cli.view.importlib.util.find_spec", lambda name: None)
    assert main(["view", str(run), "--save", str(tmp_path / "e.rrd")]) == 2
    said = capsys.readouterr().err
    assert "-c constraints.txt -e '.[view]'" in said
    assert f"`inspire view {run} --timeline SVG` does without" in said


def test_without_rerun_a_dataset_is_sent_to_the_figure_of_its_labels(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("inspire_vla.cli.view.importlib.util.find_spec", lambda name: None)
    assert main(["view", str(dataset), "--save", str(tmp_path / "e.rrd")]) == 2
    assert f"`inspire labels {dataset} --figure PNG` does without" in capsys.readouterr().err
    assert main(["view", str(dataset), "--episode", "2", "--save", str(tmp_path / "e.rrd")]) == 2
    assert "there are 2" in capsys.readouterr().err


def test_a_wrong_name_of_a_recording_is_refused_first(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["view", str(tmp_path / "nowhere"), "--save", "x.mp4"]) == 2
    assert "saved as .rrd" in capsys.readouterr().err


def test_what_is_neither_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["view", str(tmp_path), "--save", "x.rrd"]) == 2
    assert "neither a run" in capsys.readouterr().err


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two episodes of three and four frames as LeRobot v3 stores them, labelled; written without LeRobot."""
    root = tmp_path / "data"
    (root / "meta").mkdir(parents=True)
    (root / "data" / "chunk-000").mkdir(parents=True)
    features = {
        "observation.images.image": {"dtype": "image", "shape": [8, 8, 3], "names": None},
        "observation.state": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        "action": {"dtype": "float32", "shape": [2], "names": None},
        answer_column("direction"): answer_feature(2),
    }
    info = {
        "codebase_version": "v3.0",
        "fps": 10,
        "total_episodes": 2,
        "total_frames": 7,
        "features": features,
    }
    (root / "meta" / "info.json").write_text(json.dumps(info), encoding="utf-8")
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(pa.table({"episode_index": [0, 1]}), root / "meta/episodes/chunk-000/file-000.parquet")
    tasks = pa.table({"task_index": [0, 1], "task": ["open the drawer", "pick up the cube"]})
    pq.write_table(tasks, root / "meta" / "tasks.parquet")
    rows = []
    for episode, length in ((0, 3), (1, 4)):
        for frame in range(length):
            png = io.BytesIO()
            Image.new("RGB", (8, 8), (10 * frame, 100 * episode, 0)).save(png, "PNG")
            codes = encode_answers([["left", "down"][frame % 2], None]).tolist()
            rows.append(
                {
                    "observation.images.image": {"bytes": png.getvalue(), "path": ""},
                    "observation.state": [float(frame), 1.0], "action": [0.5, float(episode)],
                    answer_column("direction"): codes,
                    "episode_index": episode, "frame_index": frame, "task_index": episode,
                }
            )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), root / "data" / "chunk-000" / "file-000.parquet")
    said = {"open the drawer": ("the drawer",), "pick up the cube": ("the cube",)}
    write_labels(
        root,
        LabelInfo(frame="robot", modes={"direction": ModeRule()}, tasks=said, max_objects=2, labeller="x"),
    )
    return root


def test_an_episode_of_a_dataset_holds_its_own_frames_and_labels(dataset: Path) -> None:
    episode = DatasetEpisode(dataset, 1)
    moments = list(episode.moments())
    assert (episode.instruction, episode.mentions) == ("pick up the cube", ("the cube",))
    assert [moment.truths for moment in moments] == [["left"], ["down"], ["left"], ["down"]]
    assert [moment.images["image"][0, 0].tolist() for moment in moments] == [
        [10 * t, 100, 0] for t in range(4)
    ]
    assert moments[2].state == {"x": 2.0, "y": 1.0}
    assert moments[2].action == {"0": 0.5, "1": 1.0}
    with pytest.raises(InspireError, match="there are 2"):
        DatasetEpisode(dataset, 2)


def test_a_dataset_without_labels_is_shown_too(dataset: Path) -> None:
    """A person looks at a recording before labelling it. Labels of other instructions are refused still."""
    labelled = list(DatasetEpisode(dataset, 1).moments())
    tasks = pa.table({"task_index": [0, 1], "task": ["open the drawer", "pick up the mug"]})
    pq.write_table(tasks, dataset / "meta" / "tasks.parquet")
    with pytest.raises(InspireError, match="cannot be trusted"):
        DatasetEpisode(dataset, 1)
    (dataset / "meta" / "inspire_labels.json").unlink()
    episode = DatasetEpisode(dataset, 1)
    moments = list(episode.moments())
    assert (episode.instruction, episode.mentions) == ("pick up the mug", ())
    assert [moment.truths for moment in moments] == [[]] * 4
    assert [moment.state for moment in moments] == [moment.state for moment in labelled]
    assert all((a.images["image"] == b.images["image"]).all() for a, b in zip(moments, labelled, strict=True))


def test_columns_of_one_number_are_stored_as_plain_numbers(dataset: Path) -> None:
    """One object a task, a state and an action of one number: LeRobot writes no lists."""
    (file,) = (dataset / "data").rglob("*.parquet")
    rows = pq.read_table(file).to_pylist()
    for row in rows:
        for name in ("observation.state", "action", answer_column("direction")):
            row[name] = row[name][0]
    pq.write_table(pa.Table.from_pylist(rows), file)
    info = json.loads((dataset / "meta" / "info.json").read_text(encoding="utf-8"))
    info["features"]["observation.state"] |= {"shape": [1], "names": ["x"]}
    info["features"]["action"] |= {"shape": [1]}
    info["features"][answer_column("direction")] = answer_feature(1)
    (dataset / "meta" / "info.json").write_text(json.dumps(info), encoding="utf-8")
    moments = list(DatasetEpisode(dataset, 1).moments())
    assert [moment.truths for moment in moments] == [["left"], ["down"], ["left"], ["down"]]
    assert (moments[2].state, moments[2].action) == ({"x": 2.0}, {"0": 0.5})


def test_a_dataset_as_a_recording(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("rerun")
    assert main(["view", str(dataset), "--save", str(tmp_path / "d.rrd")]) == 0
    assert b"/camera/image" in (tmp_path / "d.rrd").read_bytes()
    assert main(["view", str(dataset), "--timeline", str(tmp_path / "d.svg")]) == 2
    assert "draws runs" in capsys.readouterr().err
