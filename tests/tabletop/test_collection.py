"""Collecting demonstrations: what is in the dataset, and that nothing is lost or half written."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels import answer_column, collected_dataset, dataset_writer, label_states, read_labels
from inspire_vla.labels.demonstration import load_demonstration, save_demonstration
from inspire_vla.labels.simulator_state import PrivilegedLabeller
from inspire_vla.labels.storage import label_dataset
from inspire_vla.lerobot_plugin.dataset_origin import suites_of
from inspire_vla.spatial import NO_LABEL, decode_answers
from inspire_vla.tabletop import collection
from inspire_vla.tabletop.benchmark import tasks_of
from inspire_vla.tabletop.collection import MAX_OBJECTS, Conditions, collect, demonstrate, seed_of, task_of
from inspire_vla.tabletop.suites import SUITES

SUITE = "tabletop_seen"
CONDITIONS = Conditions(SUITE, 0, ("image",), 24, 0.15, 0.0, 0.0)
SMALL = {"image_size": 24, "progress": False}


def digests(root: Path) -> dict[str, str]:
    """Every file of a folder and what is in it."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Three episodes of three tasks, two cameras, two modes."""
    root = tmp_path_factory.mktemp("collected") / "data"
    report = collect(SUITE, 3, root, modes=("direction", "distance"), wrist=True, **SMALL)
    assert report.episodes == 3
    return root


def test_it_says_which_tasks_it_holds(dataset):
    assert suites_of(dataset, None) == {SUITE: tuple(sorted(task.name for task in tasks_of(SUITE)[:3]))}
    assert suites_of(dataset, [1]) == {SUITE: (tasks_of(SUITE)[1].name,)}


def test_lerobot_opens_it(dataset):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    opened = LeRobotDataset("any/name", root=dataset)
    assert opened.num_episodes == 3
    assert opened.fps == 10
    frame = opened[0]
    assert tuple(frame["observation.images.image"].shape) == (3, 24, 24)
    assert tuple(frame["observation.images.image2"].shape) == (3, 24, 24)
    assert tuple(frame["observation.state"].shape) == (8,)
    assert tuple(frame["action"].shape) == (7,)
    assert frame["task"] == SUITES[SUITE][0].instruction
    assert tuple(frame["observation.answers.direction"].shape) == (MAX_OBJECTS,)
    assert {"action", "observation.state", "observation.images.image"} <= set(opened.meta.stats)


def test_the_frames_are_the_demonstration(dataset):
    """Images to the pixel, states and clean actions to the bit."""
    import io

    import pyarrow.parquet
    from PIL import Image

    table = pyarrow.parquet.read_table(next(dataset.glob("data/**/*.parquet"))).to_pydict()
    conditions = Conditions(SUITE, 0, ("image", "image2"), 24, collection.NOISE, 0.0, 0.0)
    shown = demonstrate(conditions, 1)
    rows = [row for row, episode in enumerate(table["episode_index"]) if episode == 1]
    assert len(rows) == len(shown)
    for name in ("state", "action"):
        column = {"state": "observation.state", "action": "action"}[name]
        np.testing.assert_array_equal(
            np.array([table[column][row] for row in rows], np.float32), getattr(shown, name)
        )
    for camera in ("image", "image2"):
        for row, image in zip(rows, shown.images[camera], strict=True):
            stored = Image.open(io.BytesIO(table[f"observation.images.{camera}"][row]["bytes"]))
            np.testing.assert_array_equal(np.asarray(stored), np.asarray(Image.open(io.BytesIO(image))))


def test_labels_can_be_made_again_from_the_privileged_columns(dataset):
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(next(dataset.glob("data/**/*.parquet"))).to_pydict()
    labels = read_labels(dataset)
    assert set(labels.modes) == {"direction", "distance"}
    assert labels.tasks == {task.instruction: task.mentions for task in SUITES[SUITE]}
    offsets = np.array(table["privileged.gripper_to_object_m"], np.float32).reshape(-1, MAX_OBJECTS, 3)
    grasped = np.array(table["privileged.grasped"]) == 1
    objects = np.array([len(task_of(CONDITIONS, episode).mentions) for episode in table["episode_index"]])
    labelled = np.arange(MAX_OBJECTS) < objects[:, None]
    for mode in labels.modes:
        codes = np.array(table[answer_column(mode)])
        again = label_states(offsets, grasped, max_objects=MAX_OBJECTS, mode=mode, frame=labels.frame)
        np.testing.assert_array_equal(codes, np.where(labelled, again, NO_LABEL))
        assert "grasped" in decode_answers(codes, mode)


def test_relabelling_equals_collecting_in_that_mode(dataset, tmp_path):
    """Same columns as a collection made with these labels; the original keeps every byte."""
    import pyarrow.parquet
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    before = digests(dataset)
    other = {"modes": ("position", "direction"), "frame": "official_libero"}
    relabelled = {"out": tmp_path / "relabelled", "max_objects": MAX_OBJECTS, **other}
    label_dataset(dataset, PrivilegedLabeller(), **relabelled)
    assert digests(dataset) == before
    collect(SUITE, 3, tmp_path / "collected", wrist=True, **other, **SMALL)
    made, expected = (
        pyarrow.parquet.read_table(next((tmp_path / name).glob("data/**/*.parquet"))).to_pydict()
        for name in ("relabelled", "collected")
    )
    assert set(made) == set(expected)
    assert all(made[column] == expected[column] for column in expected)
    again, collected = (read_labels(tmp_path / name) for name in ("relabelled", "collected"))
    assert again.tasks.items() <= collected.tasks.items()  # only the tasks with episodes
    assert replace(again, extra=collected.extra, tasks=collected.tasks) == collected
    opened = LeRobotDataset("any/name", root=tmp_path / "relabelled")
    assert tuple(opened[0]["observation.answers.position"].shape) == (MAX_OBJECTS,)
    assert "observation.answers.distance" not in opened.features
    with pytest.raises(InspireError, match="is a labelled dataset already"):
        label_dataset(dataset, PrivilegedLabeller(), **relabelled)


def test_the_record_says_how_each_episode_was_made(dataset):
    record = json.loads((dataset / collected_dataset.COLLECTION_FILE).read_text())
    assert record["settings"]["suite"] == SUITE
    for number, episode in enumerate(record["episodes"]):
        shown = demonstrate(CONDITIONS, number)
        assert (episode["task"], episode["seed"], episode["frames"]) == (
            shown.task_name,
            shown.seed,
            len(shown),
        )


def test_seeds_are_distinct_and_never_small():
    seeds = {seed_of(CONDITIONS, task, number, attempt)
             for task in SUITES[SUITE] for number in range(50) for attempt in range(3)}  # fmt: skip
    assert len(seeds) == len(SUITES[SUITE]) * 150
    assert min(seeds) > 1_000_000


def test_episodes_are_dealt_round_robin():
    tasks = SUITES[SUITE]
    assert [task_of(CONDITIONS, episode) for episode in range(len(tasks) + 1)] == [*tasks, tasks[0]]


def test_a_demonstration_survives_its_file(tmp_path):
    shown = demonstrate(CONDITIONS, 0)
    save_demonstration(shown, tmp_path / "one.npz")
    read = load_demonstration(tmp_path / "one.npz")
    assert read.images == shown.images
    assert (read.instruction, read.mentions, read.seed) == (shown.instruction, shown.mentions, shown.seed)
    for name in ("state", "action", "gripper_to_object_m", "grasped"):
        np.testing.assert_array_equal(getattr(read, name), getattr(shown, name))
    assert [path.name for path in tmp_path.iterdir()] == ["one.npz"]
    data = (tmp_path / "one.npz").read_bytes()
    for broken in (b"", data[: len(data) // 2], b"\x00" * 100):
        (tmp_path / "one.npz").write_bytes(broken)
        with pytest.raises(InspireError, match=r"damaged \(.*\)\. Delete it, and run the same command"):
            load_demonstration(tmp_path / "one.npz")


def test_a_failed_attempt_is_replaced_and_counted(tmp_path, monkeypatch):
    attempts = []

    def failing_at_first(env, seed, conditions, real=collection._attempt):
        attempts.append(seed)
        return None if len(attempts) == 1 else real(env, seed, conditions)

    monkeypatch.setattr(collection, "_attempt", failing_at_first)
    report = collect(SUITE, 1, tmp_path / "data", **SMALL)
    assert report.failed == {SUITES[SUITE][0].name: 1}
    assert "1 of 2 attempts" in str(report)
    record = json.loads((tmp_path / "data" / collected_dataset.COLLECTION_FILE).read_text())
    assert record["episodes"][0]["failed_seeds"] == attempts[:1]
    monkeypatch.setattr(collection, "_attempt", lambda *_: None)
    with pytest.raises(InspireError, match="failed 20 times"):
        collect(SUITE, 1, tmp_path / "never", **SMALL)


def test_an_interrupted_collection_goes_on_to_the_same_dataset(tmp_path, monkeypatch):
    """Cut in the demonstrations, then in the writing, then a damaged file: the result is the same to the byte."""
    collect(SUITE, 4, tmp_path / "whole", **SMALL)

    def cut_at(module, name, call):
        count = 0
        real = getattr(module, name)

        def wrapped(*arguments):
            nonlocal count
            count += 1
            if count == call:
                raise KeyboardInterrupt
            return real(*arguments)

        monkeypatch.setattr(module, name, wrapped)

    out = tmp_path / "cut"
    cut_at(collection, "demonstrate", 3)
    with pytest.raises(KeyboardInterrupt):
        collect(SUITE, 4, out, **SMALL)
    monkeypatch.undo()
    work = tmp_path / ".cut.collecting"
    assert len(list(work.glob("shard_*.npz"))) == 2
    cut_at(dataset_writer, "load_or_make", 3)
    with pytest.raises(KeyboardInterrupt):
        collect(SUITE, 4, out, **SMALL)
    monkeypatch.undo()
    assert not out.exists()
    first = work / "shard_000000.npz"
    first.write_bytes(first.read_bytes()[:1000])
    collect(SUITE, 4, out, **SMALL)
    assert digests(out) == digests(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "whole"]
    assert collect(SUITE, 4, out, **SMALL).episodes == 4  # already there: nothing to do


SCRIPT = """
import sys
from inspire_vla.tabletop.collection import collect
if __name__ == "__main__":
    collect("tabletop_seen", 4, sys.argv[1], processes=2, image_size=24, progress=False)
"""


def test_killed_with_two_processes_and_run_again(tmp_path):
    """SIGKILL to the parent: its workers leave, the rest is made, the dataset is that of one process."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "data")]
    work = tmp_path / ".data.collecting"
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(work.glob("shard_*.npz")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while time.monotonic() < deadline:  # a worker that is left behind lets go of nothing it needs
        try:
            collect(SUITE, 4, tmp_path / "data", **SMALL)
            break
        except InspireError as error:
            assert "Another process is collecting" in str(error)  # noqa: PT017  its worker still holds the lock
            time.sleep(0.5)
    collect(SUITE, 4, tmp_path / "whole", **SMALL)
    assert digests(tmp_path / "data") == digests(tmp_path / "whole")


def test_other_settings_do_not_mix(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(collected_dataset, "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect(SUITE, 1, tmp_path / "data", **SMALL)
    monkeypatch.undo()
    with pytest.raises(InspireError, match=r"had other settings \(seed: there 0, now 1\)"):
        collect(SUITE, 1, tmp_path / "data", seed=1, **SMALL)
    collect(SUITE, 1, tmp_path / "data", seed=1, resume=False, **SMALL)
    with pytest.raises(InspireError, match=r"collected with other settings \(episodes: there 1, now 2\)"):
        collect(SUITE, 2, tmp_path / "data", seed=1, **SMALL)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path, monkeypatch, number):
    saved = []

    def full_after_one(shown, path, real=save_demonstration):
        if saved:
            raise OSError(number, os.strerror(number))
        saved.append(path)
        real(shown, path)

    monkeypatch.setattr(collected_dataset, "save_demonstration", full_after_one)
    with pytest.raises(InspireError, match=f"{os.strerror(number)}.*run the same command again"):
        collect(SUITE, 2, tmp_path / "data", **SMALL)
    assert saved[0].exists()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("tabletop_sen", 1), {}, "Did you mean 'tabletop_seen'"),
        ((SUITE, 0), {}, "episodes must be"),
        ((SUITE, 1), {"processes": 0}, "processes must be"),
        ((SUITE, 1), {"seed": -1}, "seed must be"),
        ((SUITE, 1), {"noise": 2.0}, "noise must be"),
        ((SUITE, 1), {"noise": float("nan")}, "noise must be"),
        ((SUITE, 1), {"perturbations": -0.1}, "perturbations must be"),
        ((SUITE, 1), {"modes": ("directions",)}, "Did you mean 'direction'"),
        ((SUITE, 1), {"modes": ()}, "at least one mode"),
        ((SUITE, 1), {"frame": "robots"}, "Did you mean 'robot'"),
        ((SUITE, 1), {"image_size": 7}, "image_size"),
        ((SUITE, 1), {"layout_randomness": 2.0}, "layout_randomness"),
    ],
)
def test_bad_input_is_said_and_leaves_nothing(tmp_path, arguments, settings, message):
    with pytest.raises(InspireError, match=message):
        collect(*arguments, tmp_path / "data", **(SMALL | settings))
    assert not list(tmp_path.iterdir())


def test_what_exists_is_never_overwritten(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious.txt").write_text("mine")
    with pytest.raises(InspireError, match="exists and is no collected dataset"):
        collect(SUITE, 1, tmp_path / "data", **SMALL)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InspireError, match="Cannot write"):
        collect(SUITE, 1, tmp_path / "file" / "data", **SMALL)
    assert (tmp_path / "data" / "precious.txt").read_text() == "mine"
