"""The name of a checkpoint means one folder, whoever asks."""

from pathlib import Path
from unittest.mock import Mock, patch

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.loading import load_policy
from inspire_vla.lerobot_plugin.lookup import SHIPPED, find, of_hub
from inspire_vla.policies import describe


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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
        assert of_hub("somebody/robot", "v2") == copy
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


def test_a_folder_without_a_checkpoint_is_told() -> None:
    Path("runs/empty").mkdir(parents=True)
    with pytest.raises(InspireError, match=r"runs/empty is no checkpoint: there is no config\.json"):
        find("runs/empty")
    (checkpoint("torn") / "model.safetensors").unlink()
    with pytest.raises(InspireError, match=r"not a whole checkpoint: model\.safetensors is missing"):
        find("torn")
