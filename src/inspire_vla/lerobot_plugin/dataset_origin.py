"""Which recordings a dataset holds, so that an evaluation knows what is new to a policy."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from inspire_vla.files import read_json
from inspire_vla.labels.collected_dataset import COLLECTION_FILE
from inspire_vla.labels.columns import LABELS_FILE
from inspire_vla.labels.imported_dataset import IMPORT_FILE
from inspire_vla.labels.recorded import EpisodeReader
from inspire_vla.lerobot_plugin.checkpoint_schema import TrainingData

Suites = Mapping[str, tuple[str, ...] | None] | None
"""Suite → its tasks that were trained on, or None: which ones is not known, so the whole suite counts.

None in place of the mapping is "unknown", as of a dataset that does not say what it was recorded on."""


@dataclass
class _Source:
    """What a collection's settings, or the `extra` of labels, say of where the episodes are from."""

    suite: str | None = None
    suites: list[str] = field(default_factory=list)
    render: str | None = None


@dataclass
class _Entry:
    """What a collection says of an episode. skipped: why there is none."""

    task: str
    skipped: str | None = None


@dataclass
class _Collection:
    """What is read of a `CollectionRecord`."""

    settings: _Source = field(default_factory=_Source)
    episodes: list[_Entry] = field(default_factory=list)


@dataclass
class _Report:
    """tasks: of each episode its suite and its task."""

    tasks: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class _Import:
    """What is read of an `ImportRecord`."""

    report: _Report = field(default_factory=_Report)


@dataclass
class _Labels:
    """What is read of the labels. Datasets that were imported by earlier versions name their suites there alone."""

    extra: _Source = field(default_factory=_Source)


def suites_of(dataset_root: str | Path, episodes: Collection[int] | None) -> Suites:
    """Suites that a dataset was collected or imported from, with the tasks of these episodes, or of all.

    Raises InspireError where one of the dataset's records is damaged.
    """
    collection, labels = _origin(dataset_root)
    suite = collection.settings.suite
    if suite is None:
        suites, made = labels.extra.suites, _read(dataset_root, IMPORT_FILE, _Import).report.tasks
    else:
        suites, made = [suite], [(suite, one.task) for one in collection.episodes if one.skipped is None]
    if not made or len(made) != EpisodeReader(dataset_root).episodes:  # an earlier version's, or edited since
        return dict.fromkeys(sorted(suites)) or None
    chosen = set(range(len(made)) if episodes is None else episodes)
    tasks: dict[str, set[str]] = {}
    for number, (of_suite, task) in enumerate(made):
        if number in chosen:
            tasks.setdefault(of_suite, set()).add(task)
    return {name: tuple(sorted(some)) for name, some in sorted(tasks.items())}


def render_of(dataset_root: str | Path) -> Literal["full", "fast"] | None:
    """How the images of a dataset of LIBERO were drawn; None where it does not say."""
    collection, labels = _origin(dataset_root)
    drawn = (collection.settings.render, labels.extra.render)
    return "fast" if "fast" in drawn else "full" if "full" in drawn else None


def _origin(dataset_root: str | Path) -> tuple[_Collection, _Labels]:
    """What a dataset says of its collection, and what its labels say of their source."""
    return _read(dataset_root, COLLECTION_FILE, _Collection), _read(dataset_root, LABELS_FILE, _Labels)


def _read[T](dataset_root: str | Path, name: str, schema: type[T]) -> T:
    """A record of a dataset; an empty one where there is none."""
    path = Path(dataset_root, name)
    return read_json(path, schema) if path.is_file() else schema()


def joined_suites(earlier: Suites, later: Suites) -> Suites:
    """The suites of a policy that was trained on `earlier`, then on `later`."""
    if earlier is None or later is None:
        return None
    joined: dict[str, tuple[str, ...] | None] = {}
    for suite in sorted({*earlier, *later}):
        known = [suites[suite] for suites in (earlier, later) if suite in suites]
        parts = [tasks for tasks in known if tasks is not None]
        joined[suite] = tuple(sorted(set().union(*parts))) if len(parts) == len(known) else None
    return joined


def saved_suites(suites: Suites) -> dict[str, Any]:
    """The suites as settings of a checkpoint. Earlier versions wrote no `training_tasks`."""
    tasks = {suite: list(some) for suite, some in (suites or {}).items() if some is not None}
    return {"training_suites": None if suites is None else list(suites), "training_tasks": tasks}


def suites_in(settings: Mapping[str, Any]) -> Suites:
    """The suites that a checkpoint's settings hold."""
    suites, tasks = settings["training_suites"], settings.get("training_tasks", {})
    return None if suites is None else {s: tuple(tasks[s]) if s in tasks else None for s in suites}


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
