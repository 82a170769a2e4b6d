"""A stopped `inspire label` goes on where it stopped: no episode is labelled twice, and the result is the same."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inspire_vla
from inspire_vla.cli import main
from inspire_vla.errors import InspireError, counted
from inspire_vla.labels import kept_tracks, storage
from inspire_vla.labels.function_labeller import FunctionLabeller
from inspire_vla.labels.kept_tracks import kept_episodes
from inspire_vla.labels.labeller import Episode, Note, Tracks, code_sha256
from inspire_vla.labels.storage import label_dataset


class Counting:
    """Finds something else in every episode, and is stopped before the call of a number."""

    name = "counting"

    def __init__(
        self, stop: int | None = None, exception: type[BaseException] = KeyboardInterrupt, **settings: Any
    ):
        self.stop, self.exception, self.given, self.calls = stop, exception, settings, list[int]()

    def settings(self) -> dict[str, Any]:
        return self.given

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return names

    def label(self, episode: Episode) -> Tracks:
        if len(self.calls) == self.stop:
            raise self.exception
        self.calls.append(episode.index)
        rng = np.random.default_rng(episode.index)
        shape = len(episode), len(episode.mentions)
        offsets = rng.normal(0, 0.2, (*shape, 3))
        offsets[0] = np.nan
        notes = ("seen twice", Note("hidden", [(1, 3)])) if episode.index % 2 else ()
        return Tracks(offsets, rng.random(shape) < 0.2, rng.random(shape).astype(np.float32), notes)


@pytest.fixture
def dataset(synthetic, tmp_path: Path) -> Path:
    """Four episodes in two data files."""
    return synthetic.in_two_files(synthetic.make_dataset(tmp_path / "source"))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every episode is kept as soon as it is labelled, as those of a slow labeller are."""
    monkeypatch.setattr(kept_tracks, "SAVE_EVERY_S", 0.0)


def tree(root: Path) -> dict[str, str]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def stopped(dataset: Path, after: int, **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        label_dataset(dataset, Counting(after), **options)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.parametrize("in_place", [False, True])
def test_only_the_other_episodes_are_labelled(
    dataset: Path, tmp_path: Path, after: int, in_place: bool
) -> None:
    wanted = label_dataset(dataset, Counting(), out=tmp_path / "wanted")
    where: dict[str, Any] = {"in_place": True} if in_place else {"out": tmp_path / "out"}
    target = dataset if in_place else tmp_path / "out"
    stopped(dataset, after, **where)
    assert kept_episodes(target) == after
    again, said = Counting(), list[str]()
    report = label_dataset(dataset, again, **where, announce=lambda found: said.append(str(found)))
    assert again.calls == list(range(after, 4))
    assert (
        f"{counted(after, 'episode')} {'was' if after == 1 else 'were'} labelled by an interrupted call"
        in said[-1]
    )
    assert tree(target) == tree(tmp_path / "wanted")
    assert (report.labels, report.notes, report.places) == (wanted.labels, wanted.notes, wanted.places)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.usefixtures("at_once")
def test_it_may_be_stopped_again_and_again_also_while_it_writes(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_dataset(dataset, Counting(), out=tmp_path / "wanted")
    out = tmp_path / "out"
    for _ in range(3):
        stopped(dataset, 1, out=out)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "replace_columns", full)
        with pytest.raises(InspireError, match="Cannot write"):
            label_dataset(dataset, Counting(1), out=out)
    label_dataset(dataset, Counting(0), out=out)
    assert tree(out) == tree(tmp_path / "wanted")


@pytest.mark.usefixtures("at_once")
def test_modes_frame_and_confidence_do_not_decide_what_is_found(dataset: Path, tmp_path: Path) -> None:
    other: dict[str, Any] = {"modes": ["distance"], "frame": "official_libero", "min_confidence": 0.5}
    label_dataset(dataset, Counting(), out=tmp_path / "wanted", **other)
    stopped(dataset, 3, out=tmp_path / "out")
    again = Counting()
    label_dataset(dataset, again, out=tmp_path / "out", **other)
    assert again.calls == [3]
    assert tree(tmp_path / "out") == tree(tmp_path / "wanted")


def touch(dataset: Path, _: pytest.MonkeyPatch) -> dict[str, Any]:
    os.utime(dataset / "meta/stats.json", (1, 1))
    return {}


def renumbered(_: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(storage, "__version__", "0.0.1")
    return {}


def fewer(*_: Any) -> dict[str, Any]:
    return {"mentions": {"put the red cube on the plate": ["the plate"]}}


FEWER = (
    "objects.put the red cube on the plate: there ['the red cube', 'the plate'], now ['the plate']; "
    "roles.put the red cube on the plate: there not recorded, now [{'mention': 'the plate'}]"
)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("change", "settings", "what"),
    [
        (lambda *_: {}, {"threshold": 2}, "labeller's settings.threshold: there not recorded, now 2"),
        (touch, {}, "files of the dataset: another"),
        (renumbered, {}, f"version of inspire_vla: there '{inspire_vla.__version__}', now '0.0.1'"),
        (fewer, {}, FEWER),
    ],
)
def test_what_decides_the_labels_starts_anew_and_is_named(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[..., dict[str, Any]],
    settings: dict[str, Any],
    what: str,
) -> None:
    stopped(dataset, 3, out=tmp_path / "out")
    options, again, said = change(dataset, monkeypatch), Counting(**settings), list[str]()
    label_dataset(
        dataset, again, out=tmp_path / "out", announce=lambda found: said.append(str(found)), **options
    )
    assert again.calls == [0, 1, 2, 3]
    assert said[-1] == f"An interrupted call had other settings ({what}): all episodes are labelled again."
    label_dataset(dataset, Counting(**settings), out=tmp_path / "wanted", **options)
    assert tree(tmp_path / "out") == tree(tmp_path / "wanted")


@pytest.mark.usefixtures("at_once")
def test_a_damaged_file_costs_only_its_own_episodes(dataset: Path, tmp_path: Path) -> None:
    stopped(dataset, 3, out=tmp_path / "out")
    first, second, _ = sorted(tmp_path.glob(".out.tracks/*.npz"))
    first.write_bytes(b"torn")
    content = bytearray(second.read_bytes())
    content[200] ^= 1  # its list of episodes can be read, its arrays cannot
    second.write_bytes(content)
    again = Counting()
    label_dataset(dataset, again, out=tmp_path / "out")
    assert again.calls == [0, 1, 3]
    label_dataset(dataset, Counting(), out=tmp_path / "wanted")
    assert tree(tmp_path / "out") == tree(tmp_path / "wanted")


def test_a_quick_labeller_leaves_nothing(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_tracks, "SAVE_EVERY_S", 1e9)
    stopped(dataset, 3, out=tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"source"}


MODULE = """
import numpy as np
import my_scale
from pathlib import Path
class Tracker:
    name = "tracker"
    def settings(self): return {}
    def columns(self, names): return names
    def label(self, episode):
        if (left := Path("stop")).exists() and episode.index == 2:
            left.unlink()
            raise KeyboardInterrupt
        offsets = np.full((len(episode), len(episode.mentions), 3), my_scale.SCALE)
        return __import__("inspire_vla").labels.labeller.Tracks(offsets, np.zeros(offsets.shape[:2], bool))
"""


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of the user's in the current folder, which imports another."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_tracker.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "my_scale.py").write_text("SCALE = 0.1\n", encoding="utf-8")
    yield tmp_path
    for name in ("my_tracker", "my_scale"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("at_once")
def test_the_command_says_what_is_kept_and_goes_on(
    dataset: Path, tracker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["label", str(dataset), "--labeller", "my_tracker:Tracker", "--out", str(tracker / "out")]
    (tracker / "stop").touch()
    assert main(command) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    kept = "The labels of 2 episodes are kept. The same command goes on with the others."
    assert last == f"Stopped. {dataset} is unchanged. {kept}"
    assert main(command) == 0
    assert "2 episodes were labelled by an interrupted call" in capsys.readouterr().out


def test_a_module_that_the_labellers_file_imports_counts_as_its_code(tracker: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tracker)
        import my_tracker  # type: ignore[import-not-found]
    before = code_sha256(my_tracker.Tracker())
    assert code_sha256(my_tracker.Tracker) == before == code_sha256(my_tracker.Tracker())
    (tracker / "not_imported.py").write_text("", encoding="utf-8")
    assert code_sha256(my_tracker.Tracker) == before
    (tracker / "my_scale.py").write_text("SCALE = 0.2\n", encoding="utf-8")
    assert code_sha256(my_tracker.Tracker) != before


def test_of_an_installed_labeller_the_file_alone_counts() -> None:
    before = code_sha256(FunctionLabeller)
    sys.modules.pop("inspire_vla.labels.calvin", None)
    assert code_sha256(FunctionLabeller) == before
