"""Finds a dataset by what a person types: a folder, or a name in LeRobot's cache or on the hub."""

import os
import re
from functools import partial
from pathlib import Path

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.labels.lerobot_files import CONVERTER, FORMAT, LeRobotFiles

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def find_dataset(dataset: str | Path) -> Path:
    """Return the folder of a dataset.

    Args:
        dataset: a folder; or "user/name", where there is no folder "user" here: a dataset in LeRobot's cache
            ($HF_LEROBOT_HOME), or else one of the hub, which is downloaded into that cache.

    Raises:
        InspireError: a name that is neither a folder here nor in the cache nor reachable on the hub.
    """
    folder, name = Path(dataset), str(dataset)
    if folder.exists() or not _REPO_ID.fullmatch(name) or Path(folder.parts[0]).is_dir():
        return folder
    local = lerobot_home() / name
    if (local / "meta/info.json").is_file():
        return local
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    download = partial(
        snapshot_download, name, repo_type="dataset", revision=FORMAT, cache_dir=lerobot_home() / "hub"
    )
    try:
        return LeRobotFiles.open(download(local_files_only=True)).root
    except (OSError, ValueError):  # not there, or not all of it
        pass
    try:  # not by LeRobot's get_safe_version, because LeRobot takes many seconds to load
        tags = {tag.name for tag in HfApi().list_repo_refs(name, repo_type="dataset").tags}
        if FORMAT in tags:
            return Path(download())
    except Exception as error:  # of the hub, or of the network
        reason = reason_of(error)
        if isinstance(error, RepositoryNotFoundError):
            reason = "there is none of this name, or it is private"
        raise InspireError(
            f"There is no folder {name} here, no dataset {local}, and {name} cannot be had from the hub ({reason})."
        ) from None
    if any(re.fullmatch(r"v[12]\.\d+", tag) for tag in tags):
        raise InspireError(
            f"The dataset {name} on the hub has an older format than LeRobot's {FORMAT}. This command downloads and "
            f"converts it, and sends nothing to the hub: {CONVERTER} --repo-id={name} --push-to-hub=false"
        )
    raise InspireError(
        f"The dataset {name} on the hub has no tag {FORMAT}, which LeRobot gives to datasets of that format; its "
        f"tags: {sorted(tags)}."
    )


def lerobot_home() -> Path:
    """LeRobot's cache: the datasets recorded on this machine, and below hub/ those of the hub."""
    from huggingface_hub.constants import HF_HOME

    return Path(os.environ.get("HF_LEROBOT_HOME") or Path(HF_HOME) / "lerobot").expanduser()
