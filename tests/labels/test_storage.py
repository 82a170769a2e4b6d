"""Laws of the storage step: the original stays, a killed call changes nothing, LeRobot opens the result."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels import LABELS_FILE, read_labels
from inspire_vla.labels.custom import FunctionLabeller, TableLabeller
from inspire_vla.labels.episode_labeller import DemonstrationLabeller
from inspire_vla.labels.lerobot_files import LeRobotFiles, matrix, read_rows
from inspire_vla.labels.storage import CONFIDENCE_COLUMN, label_dataset
from inspire_vla.labels.summary import timelines
from inspire_vla.spatial import decode_answers


@pytest.fixture
def dataset(synthetic, tmp_path: Path) -> Path:
    return synthetic.make_dataset(tmp_path / "source")


def tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_the_original_is_untouched_and_videos_are_shared(dataset, tmp_path):
    before = tree(dataset)
    report = label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")
    assert tree(dataset) == before
    after = tree(tmp_path / "out")
    assert set(after) == set(before) | {LABELS_FILE}
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {name for name in before if name.startswith("data/")} | {
        "meta/info.json",
        "meta/stats.json",
    }
    assert os.path.samefile(dataset / "videos/film.mp4", tmp_path / "out/videos/film.mp4")
    assert report.episodes == 4
    assert report.unlabelled == 0
    assert read_labels(tmp_path / "out").labeller == "from_demonstration"


def test_only_label_columns_are_added(synthetic, dataset, tmp_path):
    label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")
    for path in LeRobotFiles.open(dataset).data_files():
        old, new = pq.read_table(path), pq.read_table(tmp_path / "out" / path.relative_to(dataset))
        assert new.select(old.column_names).equals(old)
        assert set(new.column_names) - set(old.column_names) == {
            "observation.answers.direction",
            CONFIDENCE_COLUMN,
        }
        assert matrix(new["observation.answers.direction"]).shape == (len(old), len(synthetic.mentions))


class Killed(BaseException):
    """Not caught by anything, like a kill."""


@pytest.mark.parametrize("in_place", [False, True])
def test_killed_at_any_moment_the_result_is_the_same(synthetic, tmp_path, monkeypatch, in_place):
    calm = tmp_path / "calm/source"
    shutil.copytree(synthetic.make_dataset(tmp_path / "made", episodes=2), calm)
    where = {"in_place": True} if in_place else {"out": tmp_path / "calm/out"}
    label_dataset(calm, DemonstrationLabeller(), **where)
    wanted = tree(calm if in_place else tmp_path / "calm/out")
    original = tree(tmp_path / "calm/source.before_labels") if in_place else tree(calm)

    moment, survived = 0, False
    while not survived:
        place = tmp_path / f"killed_{moment}"
        source = place / "source"
        shutil.copytree(tmp_path / "made", source)
        where = {"in_place": True} if in_place else {"out": place / "out"}
        with monkeypatch.context() as patch:
            _kill_at(patch, moment)
            try:
                label_dataset(source, DemonstrationLabeller(), **where)
                survived = True
            except Killed:
                pass
        if not survived:
            label_dataset(source, DemonstrationLabeller(), **where)
        assert tree(source if in_place else place / "out") == wanted
        assert tree(place / "source.before_labels" if in_place else source) == original
        assert {path.name for path in place.iterdir()} == {
            "source",
            "source.before_labels" if in_place else "out",
        }
        moment += 1
    assert moment > 6


def _kill_at(patch: pytest.MonkeyPatch, moment: int) -> None:
    """Raise before the `moment`-th change of a file's name or link, the only things a call does to others."""
    count = 0

    def guarded(function):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count > moment:
                raise Killed
            return function(*arguments, **options)

        return call

    patch.setattr(Path, "rename", guarded(Path.rename))
    patch.setattr(Path, "replace", guarded(Path.replace))
    patch.setattr(Path, "unlink", guarded(Path.unlink))
    patch.setattr(os, "link", guarded(os.link))
    patch.setattr(os, "replace", guarded(os.replace))


def test_labelling_again_replaces_labels(dataset, tmp_path):
    label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "once")
    label_dataset(tmp_path / "once", DemonstrationLabeller(), out=tmp_path / "twice", frame="official_libero")
    read = {
        name: pq.read_table(next((tmp_path / name).glob("data/**/*.parquet"))) for name in ("once", "twice")
    }
    assert set(read["once"].column_names) == set(read["twice"].column_names)
    codes = {name: matrix(table["observation.answers.direction"]) for name, table in read.items()}
    mirrored = np.array([1, 0, 2, 3, 4, 5, 6, 7])[codes["once"]]
    assert (codes["twice"] == mirrored).all()
    assert read_labels(tmp_path / "twice").frame.name == "official_libero"


def test_every_data_file_has_the_columns_that_the_dataset_declares(dataset, tmp_path):
    """Also one whose instructions name no object: of it no labeller says how sure it is."""
    (first,) = (dataset / "data").rglob("*.parquet")
    table = pq.read_table(first)
    last = pc.equal(table["episode_index"], 3)
    other = table.filter(last)
    place = other.schema.get_field_index("task_index")
    other = other.set_column(place, "task_index", pa.array(np.ones(len(other), np.int64)))
    pq.write_table(table.filter(pc.invert(last)), first)
    pq.write_table(other.cast(table.schema), first.with_name("file-001.parquet"))
    tasks = [*LeRobotFiles.open(dataset).tasks.values(), "do it again"]
    pq.write_table(pa.table({"task_index": [0, 1], "task": tasks}), dataset / "meta/tasks.parquet")
    label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")
    declared = set(LeRobotFiles.open(tmp_path / "out").info["features"])
    assert CONFIDENCE_COLUMN in declared
    written = [pq.read_table(path) for path in LeRobotFiles.open(tmp_path / "out").data_files()]
    assert [set(one.column_names) for one in written] == [declared] * 2
    assert not matrix(written[1][CONFIDENCE_COLUMN]).any()
    assert {timeline.episode for timeline in timelines(tmp_path / "out")} == {0, 1, 2}
    label_dataset(
        dataset, FunctionLabeller(_nowhere), out=tmp_path / "plain"
    )  # which says of nothing how sure it is
    assert CONFIDENCE_COLUMN not in LeRobotFiles.open(tmp_path / "plain").info["features"]


def _nowhere(episode):
    return np.zeros((len(episode), len(episode.mentions), 3)), np.zeros(
        (len(episode), len(episode.mentions)), bool
    )


@pytest.mark.parametrize("name", ["labels.confidence", "confidence"])
def test_a_missing_column_is_named(dataset, name):
    with pytest.raises(InspireError, match=rf"lacks the columns \['{name}'\]. It has \["):
        read_rows(next((dataset / "data").rglob("*.parquet")), (name,))


def test_min_confidence_leaves_labels_out_and_counts_them(dataset, tmp_path):
    report = label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out", min_confidence=0.9)
    tables = [pq.read_table(path) for path in (tmp_path / "out").glob("data/**/*.parquet")]
    codes = np.concatenate([matrix(table["observation.answers.direction"]) for table in tables])
    assert report.unlabelled == (codes == -1).sum() > 0


def test_lerobot_opens_the_result(dataset, tmp_path):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out", modes=["direction", "distance"])
    opened = LeRobotDataset("any/name", root=tmp_path / "out")
    assert opened[3]["observation.answers.direction"].shape == (2,)
    assert opened[3]["observation.answers.distance"].shape == (2,)


def test_bad_input_is_refused(dataset, tmp_path):
    with pytest.raises(InspireError, match="say where"):
        label_dataset(dataset, DemonstrationLabeller())
    with pytest.raises(InspireError, match="exists"):
        label_dataset(dataset, DemonstrationLabeller(), out=dataset)
    with pytest.raises(InspireError, match="no LeRobot dataset"):
        label_dataset(tmp_path, DemonstrationLabeller(), out=tmp_path / "out")
    path = LeRobotFiles.open(dataset).data_files()[0]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InspireError, match="damaged or truncated"):
        label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nan_poses_are_counted_not_labelled(dataset, tmp_path):
    path = LeRobotFiles.open(dataset).data_files()[0]
    table = pq.read_table(path)
    state = matrix(table["observation.state"]).copy()
    state[3] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(state.ravel()), state.shape[1])
    place = table.column_names.index("observation.state")
    pq.write_table(table.set_column(place, "observation.state", column), path)
    report = label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")
    assert report.notes["positions that are no numbers"] == 1


# --- more than one task in an episode


def of_two_tasks(synthetic, root: Path) -> Path:
    """In the second half of each episode another cube is brought to a bowl, by the same path mirrored."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    features = {
        "observation.state": {"dtype": "float32", "shape": (8,), "names": list(synthetic.state_names)},
        "action": {"dtype": "float32", "shape": (7,), "names": list(synthetic.action_names)},
    }
    dataset = LeRobotDataset.create("any/name", fps=10, features=features, root=root, use_videos=False)
    for _ in range(2):
        for task, side in ((synthetic.instruction, 1), ("put the blue block in the bowl", -1)):
            for hand, told, opening in zip(*synthetic.path(), strict=True):
                state = np.float32([*(hand * [1, side, 1]), 0, 0, 0, opening / 2, -opening / 2])
                action = np.float32([*[0] * 6, told])
                dataset.add_frame({"observation.state": state, "action": action, "task": task})
        dataset.save_episode()
    dataset.finalize()
    return root


def words_of(root: Path) -> np.ndarray:
    table = pq.read_table(LeRobotFiles.open(root).data_files()[0])
    return decode_answers(matrix(table["observation.answers.direction"])).reshape(2, 2, -1, 2)


def test_each_tasks_frames_are_labelled_with_its_objects(synthetic, tmp_path):
    source = of_two_tasks(synthetic, tmp_path / "source")
    report = label_dataset(source, DemonstrationLabeller(), out=tmp_path / "out", language=True)
    assert (report.episodes, report.frames, report.unlabelled) == (2, 4 * len(synthetic.path()[0]), 0)
    first, second = words_of(tmp_path / "out").swapaxes(0, 1)
    mirrored = {"left": "right", "right": "left"}
    assert (second == np.vectorize(lambda word: mirrored.get(word, word))(first)).all()
    assert "right" in first
    rows = pq.read_table(LeRobotFiles.open(tmp_path / "out").data_files()[0])["language_persistent"][
        0
    ].as_py()
    turn = len(synthetic.path()[0]) / 10
    assert all(("the red cube" in row["content"]) == (row["timestamp"] < turn - 0.05) for row in rows)
    assert any("the bowl" in row["content"] for row in rows)
    shown = [(t.episode, t.mentions[0], len(t.answers)) for t in timelines(tmp_path / "out")]
    half = len(synthetic.path()[0])
    assert shown == [(e, thing, half) for e in (0, 1) for thing in ("the red cube", "the blue block")]


def test_a_table_counts_frames_from_the_episodes_first(synthetic, tmp_path):
    source = of_two_tasks(synthetic, tmp_path / "source")
    turn = len(synthetic.path()[0])
    places = {"the red cube": (0, synthetic.cube), "the plate": (0, synthetic.plate)}
    places |= {
        "blue block": (turn, [1, -1, 1] * synthetic.cube),
        "bowl": (turn, [1, -1, 1] * synthetic.plate),
    }
    lines = [
        f"{e},{frame},{name},{','.join(map(str, at))}" for e in (0, 1) for name, (frame, at) in places.items()
    ]
    (tmp_path / "objects.csv").write_text("\n".join(["episode,frame,object,x,y,z", *lines]) + "\n")
    report = label_dataset(source, TableLabeller.read(tmp_path / "objects.csv"), out=tmp_path / "out")
    assert (report.unlabelled, dict(report.notes)) == (0, {})
    first, second = words_of(tmp_path / "out").swapaxes(0, 1)
    mirrored = {"left": "right", "right": "left"}
    assert (second == np.vectorize(lambda word: mirrored.get(word, word))(first)).all()


# --- nothing is written where nothing is known


def test_no_label_at_all_is_an_error_that_says_why(dataset, tmp_path):
    (tmp_path / "objects.csv").write_text("episode,frame,object,x,y,z\n0,0,the red cub,0.5,0.2,0.02\n")
    with pytest.raises(
        InspireError, match=r"nothing is written(?s:.*)1 episodes: .*Did you mean 'the red cube'"
    ):
        label_dataset(dataset, TableLabeller.read(tmp_path / "objects.csv"), out=tmp_path / "out")
    with pytest.raises(InspireError, match=r"confidence below 1\.1"):
        label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out", min_confidence=1.1)
    with pytest.raises(InspireError, match="failed in episode 0"):
        label_dataset(dataset, FunctionLabeller(lambda episode: 1 / 0), out=tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"source", "objects.csv"}
