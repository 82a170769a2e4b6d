"""A dataset's name is looked for in LeRobot's cache, then on the hub, in LeRobot's version."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from lerobot.utils.constants import HF_LEROBOT_HOME  # before the environment changes

from inspire_vla.errors import InspireError
from inspire_vla.labels.find_dataset import find_dataset, lerobot_home


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nothing(name: str, **_: object) -> str:
        raise FileNotFoundError(name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", nothing)


def test_lerobots_cache_is_where_lerobot_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_LEROBOT_HOME")
    assert lerobot_home() == HF_LEROBOT_HOME


def tagged(monkeypatch: pytest.MonkeyPatch, *tags: str) -> None:
    """The hub has a dataset with these tags."""
    refs = SimpleNamespace(tags=[SimpleNamespace(name=tag) for tag in tags])
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_refs", lambda *_, **__: refs)


def test_a_dataset_of_the_hub_in_an_older_format_is_refused_with_a_command_that_does_not_push(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tagged(monkeypatch, "v1.6", "v2.1")
    with pytest.raises(InspireError, match="convert_dataset_v21_to_v30 --repo-id=a/b --push-to-hub=false"):
        find_dataset("a/b")
    tagged(monkeypatch, "main", "v4.0")
    with pytest.raises(InspireError, match=r"no tag v3\.0.*\['main', 'v4\.0'\]"):
        find_dataset("a/b")


def test_a_dataset_of_the_hub_is_downloaded_in_lerobots_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagged(monkeypatch, "v2.1", "v3.0")
    wanted = []

    def download(name: str, *, local_files_only: bool = False, **given: object) -> str:
        if local_files_only:
            raise FileNotFoundError(name)
        wanted.append((name, given["repo_type"], given["revision"]))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_dataset("a/b") == tmp_path
    assert wanted == [("a/b", "dataset", "v3.0")]
