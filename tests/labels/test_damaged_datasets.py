"""A fuzz of damaged datasets: every reader succeeds or raises an InspireError, and no file of the source changes.

Three kinds of damage, each from fixed seeds: bytes of any file, values of the JSON files, columns of the parquet files.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels import LABELS_FILE, LabelInfo, ModeRule
from inspire_vla.labels.dataset_writer import LabelledDatasetWriter, png
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.simulator_state import PrivilegedLabeller
from inspire_vla.labels.storage import label_dataset
from inspire_vla.labels.summary import summarize
from inspire_vla.lerobot_plugin.option_groups import ReasoningConfig
from inspire_vla.lerobot_plugin.training_labels import check_labels, count_without_instruction
from inspire_vla.reports.label_review import write_review
from inspire_vla.reports.moments import DatasetEpisode

INFO, TASKS, STATS = "meta/info.json", "meta/tasks.parquet", "meta/stats.json"
EPISODES, DATA = "meta/episodes/chunk-000/file-000.parquet", "data/chunk-000/file-000.parquet"
FILES = (INFO, TASKS, STATS, EPISODES, DATA, LABELS_FILE)


@pytest.fixture(scope="module")
def sound(synthetic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes with images, privileged columns and labels; in the second, nothing is known of the plate."""
    root = tmp_path_factory.mktemp("sound") / "data"
    labels = LabelInfo(
        "robot", {"direction": ModeRule()}, {synthetic.instruction: synthetic.mentions}, 2, "simulator_state"
    )
    with LabelledDatasetWriter(
        root, labels, name="toy", fps=10, robot_type="any", image_size=8, cameras=("front",)
    ) as made:
        for episode in range(2):
            path, command, width = synthetic.path(steps=5)
            state = np.column_stack([path, np.zeros((len(path), 3)), width / 2, -width / 2])
            action = np.column_stack([np.zeros((len(path), 6)), command])
            offsets = np.stack([synthetic.cube - path, synthetic.plate - path], 1)
            offsets[:, 1] += np.nan if episode else 0.0
            images = [png(np.full((8, 8, 3), frame, np.uint8)) for frame in range(len(path))]
            made.add(
                synthetic.instruction,
                state,
                action,
                offsets,
                np.zeros(offsets.shape[:2], bool),
                {"front": images},
            )
    return root


READERS: dict[str, Callable[[Path, Path], Any]] = {
    "label": lambda root, out: label_dataset(root, DemonstrationLabeller(), out=out / "demonstration"),
    "label truth": lambda root, out: label_dataset(
        root, PrivilegedLabeller(), out=out / "truth", language=True
    ),
    "labels": lambda root, out: summarize(root),
    "view": lambda root, out: list(DatasetEpisode(root, 1).moments()),
    "training, labels": lambda root, out: check_labels(root, ReasoningConfig()),
    "training": lambda root, out: count_without_instruction(LeRobotFiles.open(root)),
}


def tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def check(root: Path, out: Path, readers: dict[str, Callable[[Path, Path], Any]] = READERS) -> int:
    """Let every reader read; return how many refused. Any other error is the test's."""
    before, said = tree(root), []
    for name, read in readers.items():
        try:
            read(root, out)
        except InspireError as error:
            said.append(str(error))
        except BaseException as error:
            error.add_note(f"reader: {name}")
            raise
    assert tree(root) == before
    assert not list(out.glob(".*"))
    assert max(map(len, said), default=0) < 2000
    return len(said)


def some_readers(seed: int) -> dict[str, Callable[[Path, Path], Any]]:
    """Three of the readers, each in turn."""
    names = list(READERS)
    return {name: READERS[name] for name in (names[(seed + step) % len(names)] for step in (0, 1, 4))}


def each(seeds: int, sound: Path, tmp_path: Path, damage: Callable[[Path, np.random.Generator], str]) -> int:
    """Damage a copy for each seed and check it; return how many copies a reader refused."""
    refused = 0
    for seed in range(seeds):
        root, out = tmp_path / "damaged", tmp_path / "out"
        shutil.copytree(sound, root)
        done = "nothing"
        try:
            done = damage(root, np.random.default_rng(seed))
            refused += check(root, out, some_readers(seed)) > 0
        except BaseException as error:
            error.add_note(f"seed {seed}: {done}")
            raise
        shutil.rmtree(root)
        shutil.rmtree(out, ignore_errors=True)
    return refused


def test_a_sound_dataset_is_read(sound, tmp_path):
    assert check(sound, tmp_path / "out") == 0


# --- bytes


def damage_bytes(root: Path, rng: np.random.Generator) -> str:
    file = root / FILES[rng.integers(len(FILES))]
    data = bytearray(file.read_bytes())
    kind = ("truncate", "flip", "zero", "insert", "empty", "folder", "other")[rng.integers(7)]
    at = int(rng.integers(len(data)))
    if kind == "truncate":
        del data[at:]
    elif kind == "flip":
        for place in rng.integers(len(data), size=rng.integers(1, 20)):
            data[place] ^= int(rng.integers(1, 256))
    elif kind == "zero":
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    elif kind == "insert":
        data[at:at] = rng.bytes(32)
    elif kind == "empty":
        data.clear()
    elif kind == "other":
        data = bytearray((root / FILES[rng.integers(len(FILES))]).read_bytes())
    file.unlink()
    file.mkdir() if kind == "folder" else file.write_bytes(data)
    return f"{kind} at {at} of {file.relative_to(root)}"


def test_damaged_bytes(sound, tmp_path):
    assert each(150, sound, tmp_path, damage_bytes) > 75


# --- values of JSON

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 3, 10**12, 10**30, 1.5, 1e308, float("nan"), float("inf"), "", "x", "/etc/passwd",
    "{0.__class__}",
    "../../x", "{chunk_index:999999999}", "é" * 5000, "\ud800", [], {}, [[]], {"": {}}, [1, "a", None], ["x"] * 9,
)  # fmt: skip


def damage_json(root: Path, rng: np.random.Generator) -> str:
    file = root / (INFO, INFO, LABELS_FILE, LABELS_FILE, STATS)[rng.integers(5)]
    data = json.loads(file.read_text(encoding="utf-8"))
    node: Any = data
    place: list[Any] = []
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = keys[rng.integers(len(keys))]
        place.append(key)
        if not isinstance(node[key], (dict, list)) or not node[key] or rng.random() < 0.4:
            break
        node = node[key]
    if rng.random() < 0.2:
        value: Any = "(deleted)"
        del node[key]
    else:
        value = VALUES[rng.integers(len(VALUES))]
        node[key] = value
    file.write_text(json.dumps(data), encoding="utf-8")
    return f"{file.name}: {place} = {str(value)[:40]!a}"


def test_damaged_values_of_json(sound, tmp_path):
    assert each(150, sound, tmp_path, damage_json) > 40


# --- columns of parquet


def damage_column(root: Path, rng: np.random.Generator) -> str:
    file = root / (TASKS, EPISODES, DATA, DATA)[rng.integers(4)]
    table = pq.read_table(file)
    names = [name for name in table.column_names if not name.startswith("stats/")]
    name = names[rng.integers(len(names))]
    place, count = table.column_names.index(name), len(table)
    made: dict[str, Callable[[], Any]] = {
        "drop": lambda: None,
        "nulls": lambda: pa.nulls(count, table.schema.field(name).type),
        "text": lambda: pa.array(["x"] * count),
        "bytes": lambda: pa.array([b"\xff\xfe"] * count),
        "not UTF-8": lambda: pa.array([b"\xff\xfe"] * count).view(pa.string()),
        "floats": lambda: pa.array(rng.normal(size=count) * 1e300),
        "infinite": lambda: pa.array(np.full(count, np.inf, np.float32)),
        "huge integers": lambda: pa.array(np.full(count, 10**12)),
        "least integer": lambda: pa.array(np.full(count, -(2**63))),
        "negative integers": lambda: pa.array(-1 - np.arange(count)),
        "unsigned": lambda: pa.array(np.full(count, 2**64 - 1, np.uint64)),
        "shuffled": lambda: table[name].take(pa.array(rng.permutation(count))),
        "same": lambda: table[name].take(pa.array(np.zeros(count, np.int64))),
        "ragged": lambda: pa.array([[1.0] * (i % 4) for i in range(count)]),
        "wide": lambda: pa.array([[1.0] * 40] * count, pa.list_(pa.float32(), 40)),
        "empty lists": lambda: pa.array([[]] * count, pa.list_(pa.int16())),
        "lists of nothing": lambda: pa.array([[None, None]] * count, pa.list_(pa.int16())),
        "structs": lambda: pa.array([{"a": 1}] * count),
        "times": lambda: pa.array(np.arange(count), pa.timestamp("us")),
        "booleans": lambda: pa.array([True] * count),
        "1 MB": lambda: pa.array(["put the red cube " * 60_000, *["x"] * (count - 1)]),
    }
    kind = list(made)[rng.integers(len(made))]
    column = made[kind]()
    table = table.remove_column(place) if column is None else table.set_column(place, name, column)
    if rng.random() < 0.2:
        table = table.slice(0, int(rng.integers(count)))
        kind += ", fewer rows"
    pq.write_table(table, file)
    return f"{kind}: {name} of {file.relative_to(root)}"


def test_damaged_columns(sound, tmp_path):
    assert each(200, sound, tmp_path, damage_column) > 75


# --- some that once passed, or hung


def change_info(**changes: Any) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        info = json.loads((root / INFO).read_text(encoding="utf-8"))
        (root / INFO).write_text(json.dumps(info | changes), encoding="utf-8")

    return change


def long_instruction(root: Path) -> None:
    pq.write_table(pa.table({"task_index": [0], "task": ["put the red cube on " * 500_000]}), root / TASKS)


def lists_of_other_lengths_with_the_same_sum(root: Path) -> None:
    table = pq.read_table(root / DATA)
    rows = [list(row) for row in table["observation.state"].to_pylist()]
    rows[1].append(rows[0].pop())  # divided evenly, every number after this would be another's
    place = table.column_names.index("observation.state")
    pq.write_table(
        table.set_column(place, "observation.state", pa.array(rows, pa.list_(pa.float32()))), root / DATA
    )


def a_row_twice(root: Path) -> None:
    table = pq.read_table(root / DATA)
    pq.write_table(pa.concat_tables([table.slice(0, 1), table.slice(0, len(table) - 1)]), root / DATA)


def last_episode_gone(root: Path) -> None:
    table = pq.read_table(root / DATA)
    pq.write_table(table.filter(pc.equal(table["episode_index"], 0)), root / DATA)


def an_episode_without_frames(root: Path) -> None:
    table = pq.read_table(root / DATA)
    episodes = pc.if_else(pc.equal(table["episode_index"], 1), -1, table["episode_index"])
    pq.write_table(
        table.set_column(table.column_names.index("episode_index"), "episode_index", episodes), root / DATA
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (change_info(total_episodes=10**12), "is incomplete.*1,000,000,000,000 episodes"),
        (change_info(total_frames=10**12), "is incomplete.*1,000,000,000,000 frames"),
        (change_info(fps=0), "fps"),
        (change_info(codebase_version=None), "no codebase_version"),
        (long_instruction, r"instruction 0 has 10000000 bytes, at most 4096"),
        (lists_of_other_lengths_with_the_same_sum, "lists differ in length"),
        (last_episode_gone, "is incomplete"),
        (a_row_twice, ""),
        (an_episode_without_frames, ""),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_wrong_is_said(sound, tmp_path, damage, said):
    root = tmp_path / "data"
    shutil.copytree(sound, root)
    damage(root)
    if said:
        with pytest.raises(InspireError, match=said):
            label_dataset(root, DemonstrationLabeller(), out=tmp_path / "out")
    check(root, tmp_path / "out")


@pytest.mark.parametrize("seed", range(12))
def test_a_page_of_a_damaged_dataset_is_whole_or_refused(sound, tmp_path, seed):
    root = tmp_path / "data"
    shutil.copytree(sound, root)
    damage_column(root, np.random.default_rng(1000 + seed))
    check(root, tmp_path / "out", {"review": lambda root, out: write_review(root, out / "page.html")})


@pytest.mark.parametrize("damage", ["shuffled", "turned", "in two places", "without its first frame"])
def test_frames_that_do_not_follow_each_other_are_refused(sound: Path, tmp_path: Path, damage: str) -> None:
    """A path that jumps would be labelled, and LeRobot would cut chunks of actions from it."""
    data = shutil.copytree(sound, tmp_path / "data") / DATA
    table = pq.read_table(data)
    rows, half = np.arange(len(table)), len(table) // 2
    first = table.filter(pc.equal(table["episode_index"], 0))
    if damage == "shuffled":
        table = table.take(np.random.default_rng(0).permutation(rows))
    elif damage == "turned":
        table = table.take(rows[::-1])
    elif damage == "in two places":
        table = table.take(np.concatenate([rows[len(first) // 2 :], rows[: len(first) // 2]]))
    else:
        later = np.where(rows < half, np.asarray(table["frame_index"]) + 1, np.asarray(table["frame_index"]))
        at = table.column_names.index("frame_index")
        table = table.set_column(at, "frame_index", pa.array(later, pa.int64()))
    pq.write_table(table, data)
    with pytest.raises(InspireError, match=r"the frames of episode \d do not follow each other"):
        LeRobotFiles.open(tmp_path / "data").check_order()
    with pytest.raises(InspireError, match="do not follow each other"):
        label_dataset(tmp_path / "data", DemonstrationLabeller(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
