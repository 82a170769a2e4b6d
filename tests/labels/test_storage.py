"""Laws of the storage step: the original stays, a killed call changes nothing, LeRobot opens the result."""

import hashlib
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from inspire_vla.cli import main
from inspire_vla.errors import InspireError, MachineFault
from inspire_vla.files import folder_lock, remove
from inspire_vla.labels import LABELS_FILE, kept_tracks, labelling, read_labels, storage
from inspire_vla.labels.columns import CONFIDENCE_COLUMN, write_labels
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.function_labeller import FunctionLabeller
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.parquet import matrix
from inspire_vla.labels.storage import label_dataset
from inspire_vla.labels.summary import timelines
from inspire_vla.labels.table_labeller import TableLabeller
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

    patch.setattr(kept_tracks, "SAVE_EVERY_S", math.inf)  # on a slow machine there would be more such moments
    patch.setattr(Path, "rename", guarded(Path.rename))
    patch.setattr(Path, "replace", guarded(Path.replace))
    patch.setattr(Path, "unlink", guarded(Path.unlink))
    patch.setattr(os, "link", guarded(os.link))
    patch.setattr(shutil, "copy2", guarded(shutil.copy2))
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


def test_new_labels_keep_where_an_imports_episodes_are_from(dataset, tmp_path):
    label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "once")
    of_import = {"suites": ["libero_90"], "render": "fast", "settings": {"of": "the importer"}}
    write_labels(tmp_path / "once", replace(read_labels(tmp_path / "once"), extra=of_import))
    label_dataset(tmp_path / "once", DemonstrationLabeller(), out=tmp_path / "twice", frame="official_libero")
    extra = read_labels(tmp_path / "twice").extra
    assert (extra["suites"], extra["render"]) == (["libero_90"], "fast")
    assert extra["settings"] != {"of": "the importer"}
    (tmp_path / "twice" / LABELS_FILE).write_text(
        "{", encoding="utf-8"
    )  # what cannot be read does not stop it
    label_dataset(tmp_path / "twice", DemonstrationLabeller(), in_place=True)
    assert "suites" not in read_labels(tmp_path / "twice").extra


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
    assert {timeline.segment.episode for timeline in timelines(tmp_path / "out")} == {0, 1, 2}
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
        LeRobotFiles.open(dataset).read(next((dataset / "data").rglob("*.parquet")), (name,))


def test_min_confidence_leaves_labels_out_and_counts_them(dataset, tmp_path):
    report = label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out", min_confidence=0.9)
    tables = [pq.read_table(path) for path in (tmp_path / "out").glob("data/**/*.parquet")]
    codes = np.concatenate([matrix(table["observation.answers.direction"]) for table in tables])
    assert report.unlabelled == (codes == -1).sum() > 0


def _near(episode):
    shape = (len(episode), len(episode.mentions))
    return np.full((*shape, 3), 0.1), np.zeros(shape, bool)


def test_min_confidence_for_labels_without_any_is_refused(dataset, tmp_path):
    with pytest.raises(InspireError, match=r"gives no confidence, so --min-confidence 0\.5 would"):
        label_dataset(dataset, FunctionLabeller(_near), out=tmp_path / "out", min_confidence=0.5)
    assert not (tmp_path / "out").exists()


def test_of_a_labeller_that_never_gives_confidence_it_is_refused_before_the_dataset_is_read(tmp_path):
    labeller = TableLabeller({}, "")
    with pytest.raises(InspireError, match=r"table gives no confidence, so --min-confidence 0\.5 would"):
        label_dataset(tmp_path / "none", labeller, out=tmp_path / "out", min_confidence=0.5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--max-objects", "1"],
            "names 2 objects, ['the red cube', 'the plate']; --max-objects 1 is too small",
        ),
        (["--labeller", "truth", "--min-confidence", "0.5"], "gives no confidence"),
    ],
)
def test_a_dry_run_refuses_what_the_real_run_refuses(dataset, tmp_path, capsys, options, says):
    for target in (["--dry-run"], ["--out", str(tmp_path / "out")]):
        assert main(["label", str(dataset), *target, *options]) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


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
    with pytest.raises(InspireError, match=r"datsaet is no LeRobot dataset: there is no such folder\.$"):
        label_dataset(tmp_path / "datsaet", DemonstrationLabeller(), out=tmp_path / "out")
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


# --- what the copy shares with its source


def modify_tasks(root: Path, replacements: dict[str, str]) -> None:
    """LeRobot's own tool, which rewrites the files of a dataset in place."""
    from lerobot.datasets.dataset_tools import modify_tasks
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    modify_tasks(LeRobotDataset("any/name", root=root), task_replacements=replacements)


@pytest.mark.parametrize("in_place", [False, True])
def test_tools_that_rewrite_a_labelled_dataset_in_place_leave_the_original_alone(
    synthetic, dataset, tmp_path, in_place
):
    if in_place:
        original = label_dataset(dataset, DemonstrationLabeller(), in_place=True).backup
        copy = dataset
    else:
        label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")
        original, copy = dataset, tmp_path / "out"
    before = tree(original)
    modify_tasks(copy, {synthetic.instruction: "put the blue block in the bowl"})
    assert tree(original) == before
    shared = {p.relative_to(copy).parts[0] for p in copy.rglob("*") if p.is_file() and p.stat().st_nlink > 1}
    assert shared == {"videos"}


@pytest.mark.parametrize("linked", ["videos", "meta/episodes", "data", "data/chunk-000", "meta"])
def test_linked_folders_are_followed(dataset, tmp_path, linked):
    label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "plain")
    elsewhere = tmp_path / "other_disk"
    (dataset / linked).rename(elsewhere)
    (dataset / linked).symlink_to(elsewhere)
    label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "linked")
    assert tree(tmp_path / "linked") == tree(tmp_path / "plain")
    assert not any(path.is_symlink() for path in (tmp_path / "linked").rglob("*"))
    assert {t.segment.episode for t in timelines(tmp_path / "linked")} == {0, 1, 2, 3}


def test_a_link_that_leads_nowhere_or_back_is_named(dataset, tmp_path):
    (dataset / "videos/again").symlink_to(dataset)
    with pytest.raises(InspireError, match="again is a link to a folder that it is in"):
        label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")
    (dataset / "videos/again").unlink()
    (dataset / "videos/gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InspireError, match=r"gone is a link to .*nowhere, which does not exist"):
        label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- two calls, and calls under other conditions


def test_two_calls_do_not_write_one_folder(dataset, tmp_path):
    with (
        folder_lock(tmp_path / "out"),
        pytest.raises(InspireError, match="Another process is labelling into"),
    ):
        label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")
    with folder_lock(dataset), pytest.raises(InspireError, match="Another process"):
        label_dataset(dataset, DemonstrationLabeller(), in_place=True)
    (tmp_path / "link").symlink_to(tmp_path)
    with folder_lock(tmp_path / "out"), pytest.raises(InspireError, match="Another process"):
        label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "link/out")
    label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")


MODULE = """
import numpy as np
SIDE = {side}
def where(episode):
    offsets = np.tile([0.0, SIDE, 0.0], (len(episode), len(episode.mentions), 1))
    return offsets, np.zeros(offsets.shape[:2], bool)
"""


def labeller_of(folder: Path, name: str) -> FunctionLabeller:
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, folder / "my_truth.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return FunctionLabeller(module.where)


def test_a_killed_call_resumed_with_another_labeller_starts_again(synthetic, dataset, tmp_path, monkeypatch):
    """The function is the same; a constant of its module is not."""
    synthetic.in_two_files(dataset)
    (tmp_path / "my_truth.py").write_text(MODULE.format(side=0.2))
    one = labeller_of(tmp_path, "one")
    settings = one.settings()
    written: list[Path] = []
    for moment in range(40):
        if len(written) == 1:  # between the two data files
            break
        remove(tmp_path / ".out.labelling")
        with monkeypatch.context() as patch:
            _kill_at(patch, moment)
            with pytest.raises(Killed):
                label_dataset(dataset, one, out=tmp_path / "out")
        written = [p for p in tmp_path.glob(".out.labelling/data/*/*.parquet") if p.name[0] != "."]
    assert len(written) == 1
    (tmp_path / "my_truth.py").write_text(MODULE.format(side=-0.2))
    other = labeller_of(tmp_path, "other")
    assert settings != other.settings()
    label_dataset(dataset, other, out=tmp_path / "out")
    label_dataset(dataset, other, out=tmp_path / "wanted")
    assert tree(tmp_path / "out") == tree(tmp_path / "wanted")


def test_a_dataset_that_changes_while_it_is_labelled_is_refused(synthetic, dataset, tmp_path):
    def change(episode):
        if episode.index == 3:
            (dataset / "meta/stats.json").write_text("{}", encoding="utf-8")
        return _nowhere(episode)

    with pytest.raises(InspireError, match="was changed while it was labelled"):
        label_dataset(dataset, FunctionLabeller(change), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("in_place", [False, True])
def test_a_call_killed_after_its_rename_finishes_the_next_time(dataset, tmp_path, in_place):
    where = {"in_place": True} if in_place else {"out": tmp_path / "out"}
    finished = []

    def killed(report):
        raise Killed

    with pytest.raises(Killed):
        label_dataset(dataset, DemonstrationLabeller(), **where, finish=killed)
    report = label_dataset(dataset, DemonstrationLabeller(), **where, finish=finished.append)
    assert finished == [report]
    assert (report.episodes, report.labels > 0) == (4, True)
    assert not list(report.root.glob(".*"))
    assert len(list(tmp_path.glob("*.before_labels*"))) == in_place
    if not in_place:
        with pytest.raises(InspireError, match="is a labelled dataset already"):
            label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")


def test_a_resumed_call_shows_how_much_is_written_already(synthetic, tmp_path, capsys):
    """Three data files, of which a stopped call has written one."""
    source = synthetic.make_dataset(tmp_path / "source", episodes=3)
    first = source / "data/chunk-000/file-000.parquet"
    table = pq.read_table(first)
    for number in range(3):
        part = table.filter(pc.equal(table["episode_index"], number))
        pq.write_table(part, first.with_name(f"file-{number:03}.parquet"))

    with pytest.MonkeyPatch.context() as patch:
        write = storage.replace_columns

        def stopped(path, *arguments):
            if path != first:
                raise KeyboardInterrupt
            write(path, *arguments)

        patch.setattr(storage, "replace_columns", stopped)
        with pytest.raises(KeyboardInterrupt):
            label_dataset(source, DemonstrationLabeller(), out=tmp_path / "out")
    label_dataset(source, DemonstrationLabeller(), out=tmp_path / "out", progress=True)
    written = [line for line in capsys.readouterr().err.split("\r") if line.startswith("writing")]
    assert "1/3" in written[0]


@pytest.mark.parametrize(("options", "told"), [
    (["--metres-per-unit", "0"], "metres per unit of the position must be above 0, such as 0.001"),
    (["--metres-per-unit=-1"], "must be above 0"),
    (["--fingertips-below-m", "nan"], "must be a number of metres below the position; found nan"),
    (["--min-confidence", "60"], "the least confidence must lie between 0 and 1, found 60"),
    (["--min-confidence", "nan"], "must lie between 0 and 1"),
    (["--close-m", "-1"], "a distance of at least 0 m"),
    (["--max-objects", "0"], "must be at least 1, found 0"),
    (["--review", "a_folder"], "a_folder is a folder, where a file is needed"),
    (["--review", "a_file/check.html"], "a_file is a file, where a folder is needed"),
])  # fmt: skip
def test_an_impossible_number_or_page_is_refused_before_the_work(
    dataset, tmp_path, monkeypatch, capsys, options, told
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_folder").mkdir()
    (tmp_path / "a_file").touch()
    monkeypatch.setattr(storage, "plan_labels", lambda *_: pytest.fail("the work has begun"))
    try:
        code = main(["label", str(dataset), "--out", "out", *options])
    except SystemExit as refused:  # of a word that is no such number
        code = refused.code
    assert code == 2
    assert told in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize("where", ["--out", "--in-place"])
def test_an_interruption_is_told_what_is_left(dataset, tmp_path, monkeypatch, capsys, where):
    target = dataset if where == "--in-place" else tmp_path / "out"
    command = ["label", str(dataset), *([where] if where == "--in-place" else [where, str(target)])]

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(labelling, "encode_tracks", interrupted)
        assert main(command) == 130
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f"Stopped. {dataset} is unchanged. The same command computes the labels again")
        assert main(["label", str(dataset), "--dry-run"]) == 0
        assert main(["label", str(dataset), "--dry-run", "--review", "check.html"]) == 2
        assert "--review shows labels, and --dry-run writes none" in capsys.readouterr().err
    command += ["--review", str(tmp_path / "check.html")]
    with monkeypatch.context() as patch:
        patch.setattr("inspire_vla.reports.label_review.write_review", interrupted)
        assert main(command) == 130
        assert f"Stopped. {target} is labelled. The same command" in capsys.readouterr().err
    assert main(command) == 0


@pytest.mark.parametrize("in_place", [False, True])
def test_the_command_killed_before_its_review_writes_it_the_next_time(
    dataset, tmp_path, monkeypatch, in_place
):
    where = ["--in-place"] if in_place else ["--out", str(tmp_path / "out")]
    command = ["label", str(dataset), *where, "--review", str(tmp_path / "check.html")]

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("inspire_vla.reports.label_review.write_review", killed)
        with pytest.raises(Killed):
            main(command)
    assert not (tmp_path / "check.html").exists()
    assert main(command) == 0
    assert "the red cube" in (tmp_path / "check.html").read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {
        "source", "check.html", "source.before_labels" if in_place else "out",
    }  # fmt: skip


def test_two_processes_at_once_leave_one_whole_dataset(dataset, tmp_path):
    code = (
        "import sys; from inspire_vla.labels.storage import label_dataset\n"
        "from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller\n"
        "from inspire_vla.errors import InspireError\n"
        "try: print(label_dataset(sys.argv[1], DemonstrationLabeller(), out=sys.argv[2]).labels)\n"
        "except InspireError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(dataset), str(tmp_path / "out")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=300)[0].strip() for process in started]
    won = [text for text in said if text.isdigit()]
    assert len(won) == 1
    assert all(
        "Another process" in text or "Choose another folder" in text for text in said if text not in won
    )
    label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "wanted")
    assert tree(tmp_path / "out") == tree(tmp_path / "wanted")


# --- a disk that cannot be written


@pytest.mark.parametrize("number", ["ENOSPC", "EROFS"])
@pytest.mark.parametrize("function", ["copy2", "mkdir", "rename", "fsync"])
def test_a_disk_that_cannot_be_written_is_an_error_and_the_next_call_goes_on(
    dataset, tmp_path, monkeypatch, number, function
):
    import errno

    code = getattr(errno, number)

    def refused(*arguments, **options):
        raise OSError(code, os.strerror(code))

    before = tree(dataset)
    place = {"copy2": shutil, "mkdir": Path, "rename": Path, "fsync": os}[function]
    with monkeypatch.context() as patch:
        patch.setattr(place, function, refused)
        with pytest.raises(InspireError, match=rf"Cannot write .*{os.strerror(code)}"):
            label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "new/out")
    assert tree(dataset) == before
    label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "new/out")
    label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "wanted")
    assert tree(tmp_path / "new/out") == tree(tmp_path / "wanted")


def test_a_disk_that_cannot_be_read_costs_nothing_that_was_finished(dataset, tmp_path, monkeypatch):
    def unreadable(*_, **__):
        raise OSError(5, os.strerror(5))

    def stopped(*_):
        monkeypatch.setattr(pq, "read_table", unreadable)
        return real(*_)

    real = storage.replace_columns
    with monkeypatch.context() as patch:
        patch.setattr(storage, "replace_columns", stopped)
        with pytest.raises(
            MachineFault, match=r"parquet cannot be read: Input/output error\. .*run the same command"
        ):
            label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")
    monkeypatch.undo()
    assert list(tmp_path.glob(".out*")), "the folder that is being made"


# --- what a report says


def test_notes_name_episodes_and_frames(synthetic, dataset, tmp_path):
    path = LeRobotFiles.open(dataset).data_files()[0]
    table = pq.read_table(path)
    tasks = pa.table(
        {"task_index": [0], "task": ["put the red cube on the plate and put the bowl in the sink"]}
    )
    pq.write_table(tasks, dataset / "meta/tasks.parquet")
    report = label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")
    (line,) = [line for line in report.note_lines() if "1 grasp for" in line]
    close = len(synthetic.path()[1][: list(synthetic.path()[1]).index(1)])
    assert "4 episodes: 1 grasp for 2 acts (episode 0, frames " in line
    first = int(line.split("frames ")[1].split("–")[0])
    assert abs(first - close) <= 1
    assert len(table) == report.frames


def test_an_empty_instruction_gets_no_labels_and_is_counted(synthetic, dataset, tmp_path):
    tasks = pa.table({"task_index": [0, 1], "task": [synthetic.instruction, " "]})
    pq.write_table(tasks, dataset / "meta/tasks.parquet")
    (path,) = LeRobotFiles.open(dataset).data_files()
    table = pq.read_table(path)
    column = pc.if_else(pc.equal(table["episode_index"], 2), 1, 0).cast(table.schema.field("task_index").type)
    pq.write_table(table.set_column(table.column_names.index("task_index"), "task_index", column), path)
    report = label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out")
    frames = len(synthetic.path()[0])
    assert report.without_instruction == frames
    assert f"{frames} frames have an empty instruction" in str(report)
    assert "1 episode: its instruction is empty (episode 2)" in str(report)
    assert {timeline.segment.episode for timeline in timelines(tmp_path / "out")} == {0, 1, 3}


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
    column = pq.read_table(LeRobotFiles.open(tmp_path / "out").data_files()[0])["language_events"]
    for task, mentions in enumerate((synthetic.mentions, ("the blue block", "the bowl"))):
        frames = column.to_pylist()[task * len(first[0]) :][: len(first[0])]
        said = [[row["content"] for row in rows if row["role"] == "user"] for rows in frames]
        assert all(m in text for texts in said for m, text in zip(mentions, texts, strict=True))
    shown = [(t.segment.episode, t.mentions[0], len(t.answers)) for t in timelines(tmp_path / "out")]
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
        InspireError, match=r"nothing is written(?s:.*)1 episode: .*Did you mean 'the red cube'"
    ):
        label_dataset(dataset, TableLabeller.read(tmp_path / "objects.csv"), out=tmp_path / "out")
    with pytest.raises(InspireError, match=r"confidence below 1\.0"):
        label_dataset(dataset, DemonstrationLabeller(), out=tmp_path / "out", min_confidence=1.0)
    with pytest.raises(InspireError, match="failed in episode 0"):
        label_dataset(dataset, FunctionLabeller(lambda episode: 1 / 0), out=tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"source", "objects.csv"}
