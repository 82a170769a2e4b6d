"""Where the numbers of an experiment come from: command, pre-training, data, commits, weights and machine time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inspire_vla.errors import counted
from inspire_vla.evaluation import Run, read_run
from inspire_vla.experiment.folder import Experiment
from inspire_vla.experiment.preset import Preset
from inspire_vla.files import read_json, read_json_lines
from inspire_vla.labels.collected_dataset import COLLECTION_FILE
from inspire_vla.reports.table import make_table


def provenance_lines(experiment: Experiment, headline: Sequence[Run], left: Sequence[str] = ()) -> list[str]:
    """Return Markdown lines.

    Args:
        headline: the pooled runs of the variants.
        left: what is not finished.
    """
    preset, journal = experiment.preset, read_json_lines(experiment.journal)
    lines = [f"    inspire reproduce --preset {preset.name}", *_pretraining(experiment), _data(experiment)]
    lines += [
        _trained(preset, variant, run, journal)
        for variant, run in zip(preset.variants, headline, strict=True)
    ]
    lines.append(_stages(journal))
    if left:
        lines.append(f"Not finished: {', '.join(left)}.")
    return "\n\n".join(lines).split("\n")


def _pretraining(experiment: Experiment) -> list[str]:
    file = experiment.grounding / "evaluation.json"
    if not file.exists():
        return []
    n = read_json(file, dict[str, Any])
    percent = {key: f"{100 * value:.1f} %" for key, value in n.items() if "accuracy" in key}
    where = (
        f"{percent['pointing_accuracy']} (n = {n['pointing_n']}; blind: {percent['pointing_accuracy_blind']})"
    )
    present = f"{percent['presence_accuracy']} (n = {n['presence_n']}, chance about 50)"
    lines = [
        f"Pre-training, on held-out images: it points at objects, within 3 % of the image's side, in {where}.",
        f"It says whether an object is present in {present}.",
        f"It names an object in {percent['recognition_accuracy']} (n = {n['recognition_n']}).",
    ]
    if by_kind := n.get("pointing_by_kind"):  # the first pre-training has none
        rows = [
            (kind, str(of_kind["n"]), f"{100 * of_kind['accuracy']:.1f}") for kind, of_kind in by_kind.items()
        ]
        lines.append("\n".join(make_table(("kind of phrase", "n", "pointing, %"), rows).markdown()))
    return lines


def _data(experiment: Experiment) -> str:
    data = experiment.demonstrations(experiment.preset.conditions[0])
    info = read_json(data / "meta" / "info.json", dict[str, Any])
    seed = _seed_of_data(experiment.preset, data / COLLECTION_FILE)
    seeded = "" if seed is None else f", seed {seed}"
    return (
        f"Data: {counted(info['total_episodes'], 'demonstration')}, "
        f"{counted(info['total_frames'], 'frame')}{seeded}."
    )


def _seed_of_data(preset: Preset, collection: Path) -> int | None:
    """The seed of the demonstrations; None where none are collected. Earlier evidence lacks the collection's file."""
    if collection.exists():
        return int(read_json(collection, dict[str, Any])["settings"]["seed"])
    command, *words = preset.data
    if command != "collect":
        return None
    given = [word.partition("=")[2] for word in words if word.startswith("--seed=")]
    return int(given[-1]) if given else 0


def _trained(preset: Preset, variant: str, run: Run, journal: Sequence[Mapping[str, Any]]) -> str:
    policies = [preset.policy(variant, seed=seed) for seed in preset.seeds]
    trained = dict.fromkeys(commit for policy in policies for commit in _commits_of_training(policy, journal))
    infos = [read_run(path).info for path in run.info["pooled"]]
    weights = dict.fromkeys(str(info["policy"].get("sha256"))[:12] for info in infos)
    evaluated = dict.fromkeys(_commit(info) for info in infos)
    started = min(str(info.get("started")) for info in infos)
    first = dict.fromkeys(
        info["plan"]["first_seed"] for info in infos if "first_seed" in info.get("plan", {})
    )
    seeds = f", episode seeds from {' and '.join(f'{seed:,}' for seed in first)}" if first else ""
    return (
        f"{run.name}: training seed{'s' if len(preset.seeds) > 1 else ''} {', '.join(map(str, preset.seeds))}, "
        f"trained at commit {', '.join(trained)}; weights {', '.join(f'{each}…' for each in weights)}; "
        f"evaluated at commit {', '.join(evaluated)}, {started} and later{seeds}."
    )


def _commits_of_training(policy: str, journal: Sequence[Mapping[str, Any]]) -> list[str]:
    """The commits that a policy was trained at, from where its training was last started from nothing."""
    commits: list[str] = []
    for line in journal:
        if line["stage"] == f"train {policy}":
            commits = [*(commits if "--resume" in line.get("command", ()) else []), _commit(line)]
    return commits


def _stages(journal: Sequence[Mapping[str, Any]]) -> str:
    """The machine time of all stages, and the commits they ran at."""
    commits: dict[str, set[str]] = {}
    for line in journal:
        commits.setdefault(_commit(line), set()).add(line["stage"])
    done = len(set.union(*commits.values()))
    hours = sum(line["seconds"] for line in journal) / 3600
    where = ", ".join(f"{len(stages)} at {commit}" for commit, stages in commits.items())
    return f"Machine time of the {counted(done, 'stage')} in the journal: {hours:.1f} h ({where})."


def _commit(line: Mapping[str, Any]) -> str:
    return str(line.get("commit"))[:12]
