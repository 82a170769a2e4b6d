"""The name of a checkpoint means one folder, whoever asks."""

import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from lerobot.configs import PreTrainedConfig

from inspire_vla.errors import InspireError
from inspire_vla.files import write_json
from inspire_vla.labels.collected_dataset import COLLECTION_FILE
from inspire_vla.labels.columns import LABELS_FILE
from inspire_vla.labels.imported_dataset import IMPORT_FILE
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.checkpoints import PREPROCESSOR, SHIPPED, find, from_hub, tokenizer_settings
from inspire_vla.lerobot_plugin.configuration_inspire_vla import load_config
from inspire_vla.lerobot_plugin.dataset_origin import (
    Suites,
    joined_suites,
    saved_suites,
    suites_in,
    suites_of,
)
from inspire_vla.policies import describe


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in a folder of its own: `..` must not be pytest's, where other tests keep their checkpoints."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def checkpoint(folder: str) -> Path:
    path = Path(folder)
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"")
    return path


def test_folders_trainings_and_shipped_names() -> None:
    plain, trained = checkpoint("plain"), checkpoint("runs/one/checkpoints/last/pretrained_model")
    assert find("plain") == plain
    assert find("runs/one") == find("runs/one/checkpoints/last/pretrained_model") == trained
    assert find("nano_inspire") == SHIPPED / "nano_inspire"
    assert describe("nano_inspire")["checkpoint"] == "nano_inspire"
    assert load_policy("nano_inspire").reasoning_enabled


def test_a_name_of_the_hub_is_downloaded() -> None:
    copy = checkpoint("cache/f00d")
    with patch("huggingface_hub.snapshot_download", return_value=str(copy)) as hub:
        assert find("somebody/robot") == copy
        assert from_hub("somebody/robot", "v2") == copy
    assert [call.kwargs["revision"] for call in hub.call_args_list] == [None, "v2"]
    (copy / "config.json").unlink()
    with (
        patch("huggingface_hub.snapshot_download", return_value=str(copy)),
        pytest.raises(InspireError, match="somebody/robot is no checkpoint"),
    ):
        find("somebody/robot")


@pytest.mark.parametrize(
    "name", ["runs/onne", "nowhere", "/no/such", "a/b/c", "../up", "./here", "runs/empty/deep"]
)
def test_the_hub_is_not_asked_for_what_can_only_be_a_folder(name: str) -> None:
    checkpoint("runs/one")
    never = Mock(side_effect=AssertionError)
    with (
        patch("huggingface_hub.snapshot_download", never),
        pytest.raises(InspireError, match="neither a folder here nor a hub name") as error,
    ):
        find(name)
    assert "nano_inspire" in str(error.value)
    assert ("Did you mean 'runs/one'?" in str(error.value)) == (name == "runs/onne")


def test_a_hub_that_cannot_be_reached_is_told_in_our_words() -> None:
    gone = Mock(side_effect=LocalEntryNotFoundError("no snapshot, and no network\nhere"))
    with (
        patch("huggingface_hub.snapshot_download", gone),
        pytest.raises(InspireError, match=r"neither a folder here nor reachable on the hub \(no snapshot"),
    ):
        load_policy("runs/inspire")


@pytest.mark.parametrize("name", ["nano_base", "nano_inspire"])
def test_a_configuration_is_read_as_lerobot_reads_it_and_leaves_no_file(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = PreTrainedConfig.from_pretrained(SHIPPED / name)
    empty = Path.cwd()
    monkeypatch.setattr("tempfile.tempdir", str(empty))
    assert load_config(SHIPPED / name) == expected
    assert not list(empty.iterdir())
    PreTrainedConfig.from_pretrained(SHIPPED / name)
    assert list(empty.iterdir()), "LeRobot cleans up: load_config may call it again"


def test_a_folder_without_a_checkpoint_is_told() -> None:
    Path("runs/empty").mkdir(parents=True)
    with pytest.raises(InspireError, match=r"runs/empty is no checkpoint: there is no config\.json"):
        find("runs/empty")
    (checkpoint("torn") / "model.safetensors").unlink()
    with pytest.raises(InspireError, match=r"not a whole checkpoint: model\.safetensors is missing"):
        find("torn")


def test_a_dataset_says_what_it_was_recorded_on(tmp_path: Path) -> None:
    write_json(tmp_path / "collected/meta/inspire_collection.json", {"settings": {"suite": "tabletop_seen"}})
    write_json(
        tmp_path / "imported/meta/inspire_labels.json", {"extra": {"suites": ["libero_90", "libero_10"]}}
    )
    (tmp_path / "own").mkdir()
    assert suites_of(tmp_path / "collected", None) == {"tabletop_seen": None}
    assert suites_of(tmp_path / "imported", None) == {"libero_10": None, "libero_90": None}
    assert suites_of(tmp_path / "own", None) is None


@pytest.fixture
def four_episodes(tmp_path: Path, labelled_dataset: Path) -> Path:
    return Path(shutil.copytree(labelled_dataset, tmp_path / "four"))


FAILED = {"task": "open", "failed": 4, "skipped": "the expert failed 4 times"}


@pytest.mark.parametrize(
    ("settings", "tasks", "episodes", "found"),
    [
        ({"suite": "shelf"}, ["lift", FAILED, "turn", "lift", "turn"], None, {"shelf": ("lift", "turn")}),
        ({"suite": "shelf"}, ["lift", FAILED, "turn", "lift", "turn"], [0, 2], {"shelf": ("lift",)}),
        ({"suite": "shelf"}, ["lift", FAILED, "turn", "lift", "turn"], [3, 2], {"shelf": ("lift", "turn")}),
        ({"suite": "shelf"}, ["lift", "turn", "lift"], [0], {"shelf": None}),
        ({}, ["lift", "turn", "lift", "turn"], None, {"noise": None}),
    ],
)
def test_a_collection_says_of_which_tasks_its_episodes_are(
    settings: dict[str, Any], tasks: list[Any], episodes: list[int] | None, found: Any, four_episodes: Path
) -> None:
    """Of those that are trained on. A record of another number of episodes is of another dataset."""
    entries = [{"task": task} if isinstance(task, str) else task for task in tasks]
    write_json(four_episodes / COLLECTION_FILE, {"settings": settings, "episodes": entries})
    assert suites_of(four_episodes, episodes) == found


@pytest.mark.parametrize(
    ("tasks", "episodes", "found"),
    [
        (["bx", "ax", "by", "by"], None, {"a": ("x",), "b": ("x", "y")}),
        (["bx", "ax", "by", "by"], [2, 3], {"b": ("y",)}),
        (["bx", "ax", "by"], None, {"noise": None}),
        ([], None, {"noise": None}),
    ],
)
def test_an_import_says_of_which_suites_and_tasks_its_episodes_are(
    tasks: list[str], episodes: list[int] | None, found: Any, four_episodes: Path
) -> None:
    """One of several suites. An import by an earlier version names them in its labels alone."""
    write_json(four_episodes / IMPORT_FILE, {"report": {"tasks": [list(pair) for pair in tasks]}})
    assert suites_of(four_episodes, episodes) == found


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (COLLECTION_FILE, {"settings": {"suite": ["shelf"]}, "episodes": []}, r"settings\.suite"),
        (COLLECTION_FILE, {"settings": {}, "episodes": [{"task": 7}]}, r"episodes\.0\.task"),
        (COLLECTION_FILE, {"settings": {}, "episodes": [{"suite": "shelf"}]}, r"episodes\.0\.task"),
        (COLLECTION_FILE, [], "inspire_collection"),
        (IMPORT_FILE, {"report": {"tasks": [["b", 7]]}}, r"report\.tasks\.0"),
        (LABELS_FILE, {"extra": {"suites": "libero_90"}}, r"extra\.suites"),
    ],
)
def test_a_damaged_record_of_a_dataset_is_named(
    name: str, content: Any, message: str, four_episodes: Path
) -> None:
    write_json(four_episodes / name, content)
    with pytest.raises(InspireError, match=message) as error:
        suites_of(four_episodes, None)
    assert str(four_episodes / name) in str(error.value)


def test_a_checkpoint_says_what_it_was_trained_on(tmp_path: Path) -> None:
    assert tokenizer_settings(SHIPPED / "nano_inspire")["training_suites"] == ["tabletop_seen"]
    write_json(tmp_path / PREPROCESSOR, {"steps": [{"registry_name": "normalizer_processor"}]})
    with pytest.raises(
        InspireError, match=r"no step 'inspire_vla_tokenizer'; found \['normalizer_processor'\]"
    ):
        tokenizer_settings(tmp_path)


def test_unknown_suites_stay_unknown() -> None:
    a, b = {"a": None}, {"b": None}
    assert joined_suites({}, a) == a
    assert joined_suites(b, a | b) == joined_suites(b, a) == a | b
    assert joined_suites(None, a) is None
    assert joined_suites(a, None) is None


def test_tasks_of_successive_trainings_are_joined() -> None:
    """Where one training does not say which tasks of a suite it had, the whole suite counts."""
    first = {"a": ("x", "y"), "b": ("z",)}
    assert joined_suites({}, first) == joined_suites(first, first) == first
    assert joined_suites(first, {"a": ("y", "new")}) == {"a": ("new", "x", "y"), "b": ("z",)}
    assert joined_suites(first, {"a": None}) == joined_suites({"a": None}, first) == {"a": None, "b": ("z",)}


@pytest.mark.parametrize("suites", [None, {}, {"a": ("x", "y"), "b": None}])
def test_suites_are_read_as_they_were_saved(suites: Suites) -> None:
    saved = json.loads(json.dumps(saved_suites(suites)))
    assert suites_in(saved) == suites
    del saved["training_tasks"]  # as earlier versions wrote it
    assert suites_in(saved) == (None if suites is None else dict.fromkeys(suites))
