"""Which suites a checkpoint has seen: from the datasets it was trained on, and kept in a file beside its weights.

None is "unknown": a dataset that does not say what it was recorded on. A checkpoint trained further has seen both.
"""

import json
from pathlib import Path

FILE = "trained_on.json"
_COLLECTION, _LABELS = "meta/inspire_collection.json", "meta/inspire_labels.json"

Suites = tuple[str, ...] | None


def suites_of(dataset_root: str | Path) -> Suites:
    """Suites that a dataset was collected or imported from."""
    root = Path(dataset_root)
    suite = _read(root / _COLLECTION).get("settings", {}).get("suite")
    if suite is not None:
        return (str(suite),)
    found = _read(root / _LABELS).get("extra", {}).get("suites")
    return tuple(sorted(map(str, found))) if found else None


def both(earlier: Suites, now: Suites) -> Suites:
    """What has been seen after training on `now` what was trained on `earlier`."""
    return None if earlier is None or now is None else tuple(sorted({*earlier, *now}))


def save_trained_on(suites: Suites, checkpoint: Path) -> None:
    """Write them into a checkpoint folder."""
    said = {"suites": None if suites is None else list(suites)}
    (checkpoint / FILE).write_text(json.dumps(said) + "\n", encoding="utf-8")


def load_trained_on(checkpoint: Path) -> Suites:
    """Those of a checkpoint folder; of one without the file, those of its dataset, if that is still where it was."""
    if (checkpoint / FILE).is_file():
        suites = _read(checkpoint / FILE).get("suites")
        return None if suites is None else tuple(suites)
    root = _read(checkpoint / "train_config.json").get("dataset", {}).get("root")
    return None if root is None else suites_of(root)


def _read(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
