"""Which suites a checkpoint has seen."""

import json

import pytest

from inspire_vla.lerobot_plugin.trained_on import both, load_trained_on, save_trained_on, suites_of


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_a_dataset_says_what_it_was_recorded_on(tmp_path):
    write(tmp_path / "collected/meta/inspire_collection.json", {"settings": {"suite": "tabletop_seen"}})
    write(tmp_path / "imported/meta/inspire_labels.json", {"extra": {"suites": ["libero_90", "libero_10"]}})
    (tmp_path / "own").mkdir()
    assert suites_of(tmp_path / "collected") == ("tabletop_seen",)
    assert suites_of(tmp_path / "imported") == ("libero_10", "libero_90")
    assert suites_of(tmp_path / "own") is None


@pytest.mark.parametrize("suites", [None, (), ("libero_90", "tabletop_seen")])
def test_what_is_saved_is_loaded(tmp_path, suites):
    save_trained_on(suites, tmp_path)
    assert load_trained_on(tmp_path) == suites


def test_a_checkpoint_of_before_is_known_by_its_dataset(tmp_path):
    data, checkpoint = tmp_path / "data", tmp_path / "checkpoint"
    write(checkpoint / "train_config.json", {"dataset": {"root": str(data)}})
    assert load_trained_on(checkpoint) is None
    write(data / "meta/inspire_collection.json", {"settings": {"suite": "libero_object"}})
    assert load_trained_on(checkpoint) == ("libero_object",)


def test_unknown_stays_unknown():
    assert both((), ("a",)) == ("a",)
    assert both(("b",), ("a", "b")) == ("a", "b")
    assert both(("b",), ("a",)) == ("a", "b")  # what came earlier is not forgotten
    assert both(None, ("a",)) is None
    assert both(("a",), None) is None
