"""Which recordings a dataset holds, so that an evaluation knows what is new to a policy."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from inspire_vla.files import read_json
from inspire_vla.labels.collected_dataset import COLLECTION_FILE
from inspire_vla.labels.columns import LABELS_FILE
from inspire_vla.labels.recorded import EpisodeReader
from inspire_vla.lerobot_plugin.checkpoint_schema import TrainingData

Suites = tuple[str, ...] | None
"""Names of suites; None is "unknown", as of a dataset that does not say what it was recorded on."""


def suites_of(dataset_root: str | Path) -> Suites:
    """Suites that a dataset was collected or imported from."""
    collection, labels = _origin(dataset_root)
    if (suite := collection.get("suite")) is not None:
        return (str(suite),)
    suites = labels.get("suites")
    return tuple(sorted(map(str, suites))) if suites else None


def render_of(dataset_root: str | Path) -> Literal["full", "fast"] | None:
    """How the images of a dataset of LIBERO were drawn; None where it does not say."""
    drawn = [one.get("render") for one in _origin(dataset_root)]
    return "fast" if "fast" in drawn else "full" if "full" in drawn else None


def _origin(dataset_root: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a dataset says of its collection, and what its labels say of their source."""
    collection, labels = (
        read_json(path, dict[str, Any]) if (path := Path(dataset_root, name)).is_file() else {}
        for name in (COLLECTION_FILE, LABELS_FILE)
    )
    return collection.get("settings", {}), labels.get("extra", {})


def joined_suites(earlier: Suites, later: Suites) -> Suites:
    """The suites of a policy that was trained on `earlier`, then on `later`."""
    return None if earlier is None or later is None else tuple(sorted({*earlier, *later}))


def training_data(root: str | Path, episodes: Collection[int] | None) -> TrainingData:
    """What a checkpoint says of a dataset, of which these episodes are trained on, or all."""
    reader = EpisodeReader(root)
    left_out = () if episodes is None else sorted({*range(reader.episodes)} - {*episodes})
    return TrainingData(reader.actions_sha256(), reader.episodes, list(left_out), render_of(root))


def joined_data(earlier: Sequence[TrainingData], later: TrainingData) -> tuple[TrainingData, ...]:
    """What a policy was trained on after a training on `later`. Held out is what every training left out."""
    data = {one.actions_sha256: one for one in earlier}
    before = data.get(later.actions_sha256)
    if before is not None:
        held_out = sorted({*before.held_out} & {*later.held_out})
        later = replace(later, held_out=held_out)
    return tuple((data | {later.actions_sha256: later}).values())
