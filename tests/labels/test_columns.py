"""The label columns and the file that says what they mean."""

import copy
import json

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels import (
    LABELS_FILE,
    LabelInfo,
    LabelMismatch,
    LabelsMissing,
    ModeRule,
    answer_column,
    answer_feature,
    check_compatible,
    has_labels,
    read_labels,
    write_labels,
)
from inspire_vla.spatial import FRAMES, MODES, Frame, canonical_answers

TASKS = {"put the red cube on the plate": ("the red cube", "the plate")}


def info(**changes) -> LabelInfo:
    settings = {"frame": "robot", "modes": {"direction": ModeRule()}, "tasks": TASKS, "max_objects": 4}
    return LabelInfo(**(settings | {"labeller": "test"} | changes))


def test_round_trip(tmp_path):
    own = Frame("bench", x=("left", "right"), y=("back", "front"))
    for frame in (*FRAMES, own):
        modes = {mode: ModeRule(0.05, False) for mode in MODES}
        written = info(frame=frame, modes=modes, extra={"seed": 3})
        write_labels(tmp_path, written)
        assert read_labels(tmp_path) == written
    assert [path.name for path in (tmp_path / "meta").iterdir()] == ["inspire_labels.json"]


def test_a_dataset_without_labels(tmp_path):
    assert not has_labels(tmp_path)
    with pytest.raises(LabelsMissing, match=r"inspire collect.*reasoning.enabled=false"):
        read_labels(tmp_path)


def test_columns_survive_lerobot():
    """LeRobot's batches keep `observation.*` alone."""
    assert all(answer_column(mode).startswith("observation.") for mode in MODES)
    assert answer_feature(3) == {
        "dtype": "int16",
        "shape": (3,),
        "names": ["object_0", "object_1", "object_2"],
    }
    with pytest.raises(InspireError, match="Did you mean 'direction'"):
        answer_column("directions")


BROKEN = {
    "not an object": lambda r: [],
    "no version": lambda r: r.pop("version") and r,
    "future version": lambda r: r | {"version": 2},
    "no frame": lambda r: r | {"frame": None},
    "frame by name alone": lambda r: r | {"frame": "robot"},
    "mirrored robot frame": lambda r: r | {"frame": r["frame"] | {"y": ["left", "right"]}},
    "one word twice": lambda r: r | {"frame": r["frame"] | {"y": ["up", "down"]}},
    "three words on an axis": lambda r: r | {"frame": r["frame"] | {"y": ["right", "left", "up"]}},
    "no modes": lambda r: r | {"modes": {}},
    "unknown mode": lambda r: r | {"modes": {"telepathy": r["modes"]["direction"]}},
    "other order of codes": lambda r: r["modes"]["direction"]["answers"].reverse() or r,
    "text as threshold": lambda r: r["modes"]["direction"].update(close_threshold_m="6 cm") or r,
    "negative threshold": lambda r: r["modes"]["direction"].update(close_threshold_m=-1) or r,
    "no grasped_word": lambda r: r["modes"]["direction"].pop("grasped_word") and r,
    "zero objects": lambda r: r | {"max_objects": 0},
    "objects as text": lambda r: r | {"max_objects": "4"},
    "objects true": lambda r: r | {"max_objects": True},
    "mentions as text": lambda r: r | {"tasks": {"lift the cube": "the cube"}},
    "empty mentions": lambda r: r | {"tasks": {"lift the cube": []}},
    "too many mentions": lambda r: r | {"tasks": {"lift": ["a", "b", "c", "d", "e"]}},
    "number as mention": lambda r: r | {"tasks": {"lift": [1]}},
    "no labeller": lambda r: r | {"labeller": 3},
}


@pytest.mark.parametrize("breakage", BROKEN)
def test_a_wrong_file_is_refused(tmp_path, breakage):
    record = BROKEN[breakage](copy.deepcopy(info().to_json()))
    path = tmp_path / LABELS_FILE
    path.parent.mkdir()
    path.write_text(json.dumps(record))
    with pytest.raises(InspireError, match=r"inspire_labels\.json"):
        read_labels(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_invalid_json_is_refused(tmp_path, content):
    path = tmp_path / LABELS_FILE
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(InspireError, match="holds no valid JSON"):
        read_labels(tmp_path)


def test_a_mismatch_names_both_sides():
    labels, fits = info(), {"frame": "robot", "mode": "direction", "rule": ModeRule()}
    check_compatible(labels, **fits)
    with pytest.raises(LabelMismatch, match=r"'robot'.*'official_libero'"):
        check_compatible(labels, **(fits | {"frame": "official_libero"}))
    with pytest.raises(LabelMismatch, match=r"\['direction'\].*'distance'"):
        check_compatible(labels, **(fits | {"mode": "distance"}))
    with pytest.raises(LabelMismatch, match="never says"):
        check_compatible(labels, **(fits | {"rule": ModeRule(grasped_word=False)}))
    with pytest.raises(LabelMismatch, match="threshold of 'close'"):
        check_compatible(labels, **(fits | {"rule": ModeRule(close_threshold_m=0.06)}))
    with pytest.raises(InspireError, match="Did you mean 'robot'"):
        check_compatible(labels, **(fits | {"frame": "robots"}))


def test_the_answers_are_in_the_file():
    """Codes stay readable without this package."""
    assert info().to_json()["modes"]["direction"]["answers"] == list(canonical_answers("direction"))
