"""Datasets as commands take them: folders, LeRobot's cache, the hub. A folder is complete or refused, never fetched."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from inspire_vla.cli import main
from inspire_vla.errors import InspireError
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.find_dataset import find_dataset
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.storage import label_dataset
from inspire_vla.labels.video_defects import check_videos

INSTRUCTION = "put the red cube on the plate"
STATE = ["x", "y", "z", "axis_angle_x", "axis_angle_y", "axis_angle_z", "finger_left", "finger_right"]


def record(root: Path) -> Path:
    """A dataset of two episodes with video, as LeRobot records it, whose cube is grasped and carried."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    features = {
        "observation.images.front": {
            "dtype": "video",
            "shape": (64, 64, 3),
            "names": ["height", "width", "channels"],
        },
        "observation.state": {"dtype": "float32", "shape": (8,), "names": STATE},
        "action": {"dtype": "float32", "shape": (7,), "names": None},
    }
    dataset = LeRobotDataset.create("local/tabletop", fps=10, features=features, root=root, use_videos=True)
    places = np.array([[0.4, 0, 0.3], [0.5, 0.2, 0.02], [0.5, 0.2, 0.2], [0.6, -0.1, 0.05], [0.6, -0.1, 0.3]])
    path = np.concatenate([np.linspace(a, b, 6) for a, b in itertools.pairwise(places)])
    for _ in range(2):
        for i, position in enumerate(path):
            closed = 6 <= i < 18
            opening = 0.02 if closed else 0.04
            dataset.add_frame(
                {
                    "observation.images.front": np.full((64, 64, 3), 8 * i, np.uint8),
                    "observation.state": np.float32([*position, 0, 0, 0, opening, -opening]),
                    "action": np.float32([0, 0, 0, 0, 0, 0, 1 if closed else -1]),
                    "task": INSTRUCTION,
                }
            )
        dataset.save_episode()
    dataset.finalize()
    return root


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = record(tmp_path_factory.mktemp("recorded") / "source")
    label_dataset(root, DemonstrationLabeller(), out=root.with_name("labelled"))
    return root.with_name("labelled")


@pytest.fixture
def dataset(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "data"))


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Names that the hub was asked for. The cache is an empty folder."""
    names: list[str] = []

    def ask(name: str, *_: object, local_files_only: bool = False, **__: object) -> str:
        if not local_files_only:
            names.append(name)
        raise FileNotFoundError(f"no connection to {name}")

    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path / "cache"))
    for place in ("dataset_metadata.snapshot_download", "dataset_metadata.get_safe_version",
                  "lerobot_dataset.snapshot_download", "lerobot_dataset.get_safe_version"):  # fmt: skip
        monkeypatch.setattr(f"lerobot.datasets.{place}", ask, raising=False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", ask)
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_refs", lambda _, name, **__: ask(name))
    return names


MISSING = {
    "a data file": "data/chunk-000/file-000.parquet",
    "all data": "data",
    "the episodes' metadata": "meta/episodes",
    "the instructions": "meta/tasks.parquet",
    "a video": "videos/observation.images.front/chunk-000/file-000.mp4",
    "all videos": "videos",
}


@pytest.mark.parametrize("missing", MISSING)
def test_an_incomplete_dataset_is_refused_by_every_command_and_nothing_is_fetched(
    dataset: Path, tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture, missing: str
) -> None:
    gone = dataset / MISSING[missing]
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    before = sorted(dataset.rglob("*"))
    out = str(tmp_path / "out")
    for command in (
        ["label", str(dataset), "--out", out],
        ["label", str(dataset), "--in-place"],
        ["labels", str(dataset)],
        ["labels", str(dataset), "--review", str(tmp_path / "review.html")],
        ["train", "--dataset", str(dataset), "--out", out],
        ["train", "--dataset", str(dataset), "--out", out, "--no-reasoning"],
    ):
        assert main(command) == 2, command
        said = capsys.readouterr().err
        assert str(dataset) in said, said
        assert "incomplete" in said or "no meta/tasks.parquet" in said, said
    assert asked == []
    assert sorted(dataset.rglob("*")) == before
    assert not Path(out).exists()


def test_a_dataset_without_an_episode_is_called_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """As LeRobot leaves it where nothing was recorded."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    root = tmp_path / "nothing"
    features = {"action": {"dtype": "float32", "shape": (7,), "names": None}}
    LeRobotDataset.create("local/nothing", fps=10, features=features, root=root, use_videos=False).finalize()
    for command in (["label", str(root), "--dry-run"], ["mentions", str(root)]):
        assert main(command) == 2
        assert f"{root} holds no episode" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.98])
def test_a_truncated_video_is_refused_before_the_work_begins(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture, kept: float
) -> None:
    """`labels` and `mentions` read no images, so they go on."""
    film = dataset / MISSING["a video"]
    whole = film.read_bytes()
    film.unlink()  # a hard link to the file of other tests
    film.write_bytes(whole[: int(kept * len(whole))])
    out = tmp_path / "out"
    for command in (
        ["label", str(dataset), "--out", str(out)],
        ["label", str(dataset), "--dry-run"],
        ["train", "--recipe=nano_own", "--dataset", str(dataset), "--out", str(out), "--no-reasoning"],
    ):
        assert main(command) == 2, command
        said = capsys.readouterr()
        assert "truncated or damaged videos, 1 of 1: videos/observation.images.front" in said.err, said
        assert "action tokenizer" not in said.out + said.err
    assert main(["labels", str(dataset)]) == 0
    assert main(["mentions", str(dataset)]) == 0


def test_zeros_in_a_video_are_refused_with_the_episode_that_they_are_in(dataset: Path) -> None:
    film = dataset / MISSING["a video"]
    whole = bytearray(film.read_bytes())
    film.unlink()
    whole[-200:] = bytes(200)
    film.write_bytes(whole)
    files = LeRobotFiles.open(dataset)
    check_videos(files, [0])
    wanted = r"1 of 1: videos/observation\.images\.front\S* \(is damaged at \d+\.\d\d s, in episode 1\)"
    with pytest.raises(InspireError, match=wanted):
        check_videos(files)


def test_a_truncated_video_matters_only_to_the_episodes_that_it_has_lost(dataset: Path) -> None:
    film = dataset / MISSING["a video"]
    whole = film.read_bytes()
    film.unlink()
    film.write_bytes(whole[: int(0.75 * len(whole))])
    files = LeRobotFiles.open(dataset)
    check_videos(files, [0])
    for episodes in ([1], [0, 1], None):
        with pytest.raises(InspireError, match="truncated or damaged videos, 1 of 1"):
            check_videos(files, episodes)


def test_a_training_refuses_what_became_incomplete_before_it_began(
    dataset: Path, tmp_path: Path, asked: list[str]
) -> None:
    """As when a training is resumed, or the dataset is named in a configuration."""

    from lerobot.scripts import lerobot_train

    from inspire_vla.lerobot_plugin.lerobot_host import run_lerobot_train

    shutil.rmtree(dataset / "videos")
    config = SimpleNamespace(
        dataset=SimpleNamespace(root=str(dataset)), output_dir=str(tmp_path), policy=None
    )

    def training() -> None:
        lerobot_train.make_train_eval_datasets(config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lerobot_train, "train", training)
        with pytest.raises(InspireError, match="is incomplete"):
            run_lerobot_train([], lambda _, found: found)
    assert asked == []


def as_recorded_here(dataset: Path, cache: Path) -> None:
    shutil.copytree(dataset, cache / "someone/cubes")


def as_downloaded(dataset: Path, cache: Path) -> None:
    """As huggingface_hub keeps it: links to blobs."""
    folder = cache / "hub/datasets--someone--cubes"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/v3.0").write_text("1234abcd", encoding="utf-8")
    shutil.copytree(dataset, folder / "snapshots/1234abcd")
    (folder / "blobs").mkdir()
    for number, path in enumerate(sorted((folder / "snapshots").rglob("*.*"))):
        if path.is_file():
            path.rename(folder / f"blobs/{number}")
            path.symlink_to(folder / f"blobs/{number}")


@pytest.mark.parametrize("kept", [as_recorded_here, as_downloaded])
def test_a_name_in_lerobots_cache_is_taken_wherever_a_folder_is(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, kept
) -> None:
    from huggingface_hub import _snapshot_download

    from inspire_vla.cli import parse
    from inspire_vla.cli.train import train_arguments

    monkeypatch.setattr("huggingface_hub.snapshot_download", _snapshot_download.snapshot_download)
    kept(dataset, tmp_path / "cache")
    found = find_dataset("someone/cubes")
    assert found.is_relative_to(tmp_path / "cache")
    assert main(["labels", "someone/cubes", "--review", str(tmp_path / "review.html")]) == 0
    assert "the red cube" in capsys.readouterr().out
    assert main(["label", "someone/cubes", "--out", str(tmp_path / "out")]) == 0
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    LeRobotFiles.open(tmp_path / "out")
    options = parse(["train", "--dataset", "someone/cubes", "--out", str(tmp_path / "run")])
    assert train_arguments(options)[1][:3] == [
        f"--dataset.root={found}", f"--output_dir={tmp_path / 'run'}", "--dataset.repo_id=someone/cubes",
    ]  # fmt: skip
    in_place = main(["label", "someone/cubes", "--in-place"])
    assert in_place == (2 if kept is as_downloaded else 0)


def test_a_name_that_is_nowhere_is_refused_after_the_hub_was_asked(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["labels", "someone/nothing"]) == 2
    assert asked == ["someone/nothing"]
    assert "no folder someone/nothing here" in capsys.readouterr().err
    (tmp_path / "someone").mkdir()  # then it can only be a folder
    assert main(["labels", "someone/nothing"]) == 2
    assert asked == ["someone/nothing"]


def test_a_name_that_is_nowhere_is_refused_without_loading_lerobot(tmp_path: Path) -> None:
    """LeRobot takes many seconds to load."""
    code = (
        "import sys; from inspire_vla.cli import main; assert main(['mentions', 'no/where']) == 2; "
        "print({'lerobot', 'torch'} & set(sys.modules))"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout == "set()\n", said
    assert "cannot be had from the hub" in said.stderr


def test_one_word_is_said_to_be_read_as_an_instruction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """It may be the name of a folder, mistyped."""
    monkeypatch.chdir(tmp_path)
    assert main(["mentions", "labeled"]) == 0
    assert "There is no folder 'labeled' here" in capsys.readouterr().err
    assert main(["mentions", "open the drawer"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("inside", ["demo.hdf5", "lang_annotations/x"])
def test_a_stopped_import_says_what_the_same_command_does(inside, tmp_path, monkeypatch, capsys):
    source = tmp_path / "source"
    (source / inside).parent.mkdir(parents=True)
    (source / inside).touch()

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    for work in ("_import_libero", "_import_calvin"):
        monkeypatch.setattr(f"inspire_vla.cli.label.{work}", stopped)
    assert main(["label", str(source), "--out", str(tmp_path / "out")]) == 130
    said = f"Stopped. {source} is unchanged. The same command keeps what is finished.\n"
    assert capsys.readouterr().err.endswith(said)


# --- other versions


def test_the_hint_for_version_2_1_is_the_whole_command_and_does_not_push(dataset: Path) -> None:
    import argparse
    import runpy
    import shlex
    import sys

    file = dataset / "meta/info.json"
    info = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(info | {"codebase_version": "v2.1"}), encoding="utf-8")
    with pytest.raises(InspireError, match=r"format v2\.1") as error:
        LeRobotFiles.open(dataset)
    command = str(error.value).split("to the hub: ")[1]
    words = shlex.split(command)
    assert words[:2] == ["python", "-m"]
    taken: list[argparse.Namespace] = []
    original = argparse.ArgumentParser.parse_args

    def parse(self, *arguments):
        taken.append(original(self, *arguments))
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["converter", *words[3:]])
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        with pytest.raises(KeyboardInterrupt):
            runpy.run_module(words[2], run_name="__main__")
    (options,) = taken
    assert (Path(options.root), options.push_to_hub) == (dataset, False)
    (dataset.parent / "data_old").mkdir()
    with pytest.raises(InspireError, match=r"Move .*data_old away first"):
        LeRobotFiles.open(dataset)
    del info["codebase_version"]
    file.write_text(json.dumps(info), encoding="utf-8")
    with pytest.raises(InspireError, match="has no codebase_version"):
        LeRobotFiles.open(dataset)
