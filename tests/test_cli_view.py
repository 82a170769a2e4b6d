import importlib.util
import json
from pathlib import Path

import pytest

from inspire_vla.cli import main
from inspire_vla.cli.view import DatasetEpisode
from inspire_vla.errors import InspireError
from inspire_vla.evaluation import EpisodeRecord
from inspire_vla.labels import read_labels


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"version": 1, "policy": {"name": "InSpire"}}))
    timeline = ((0, ("left",), ("left",), (0.9,)),)
    records = [
        EpisodeRecord(
            "seen", task, f"do {task}", 0, seed, True, 5, "InSpire", mentions=("the cube",), timeline=timeline
        )
        for task in ("b", "a")
        for seed in (1, 0)
    ]
    (folder / "episodes.jsonl").write_text("".join(record.to_json() + "\n" for record in records))
    return folder


def test_timelines_of_a_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["view", str(run), "--timeline", str(tmp_path / "t.svg")]) == 0
    drawn = (tmp_path / "t.svg").read_text()
    assert drawn.index("do a") < drawn.index("do b")
    assert main(["view", str(run), "--timeline", str(tmp_path / "t.svg"), "--task", "c"]) == 2
    assert "No task 'c'" in capsys.readouterr().err


def test_an_episode_of_a_run_as_a_recording(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("rerun")
    assert main(["view", str(run), "--episode", "3", "--save", str(tmp_path / "e.rrd")]) == 0
    assert (tmp_path / "e.rrd").stat().st_size > 1000
    assert main(["view", str(run), "--episode", "4", "--save", str(tmp_path / "e.rrd")]) == 2
    assert "there are 4, from 0" in capsys.readouterr().err


def test_what_is_neither_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["view", str(tmp_path), "--save", "x.rrd"]) == 2
    assert "neither a run" in capsys.readouterr().err


def test_an_episode_of_a_dataset_holds_its_own_frames_and_labels(tmp_path: Path) -> None:
    source = Path(__file__).parent / "lerobot_plugin" / "conftest.py"
    spec = importlib.util.spec_from_file_location("noise_dataset_to_view", source)
    noise = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(noise)
    folder = noise.write_dataset(tmp_path / "data")
    episode = DatasetEpisode(folder, 1)
    moments = list(episode.moments())
    assert episode.instruction == noise.TASKS[1]
    assert episode.mentions == read_labels(folder).tasks[noise.TASKS[1]]
    assert len(moments) == 12
    assert moments[3].pictures["image"].shape == (32, 32, 3)
    assert len(moments[3].truths) == len(episode.mentions)
    assert list(moments[3].action) == [f"a{i}" for i in range(7)]
    with pytest.raises(InspireError, match="there are 4"):
        DatasetEpisode(folder, 4)
