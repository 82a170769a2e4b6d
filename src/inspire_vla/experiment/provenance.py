"""Where the numbers of an experiment come from: command, pre-training, data, commits, weights and machine time."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inspire_vla.evaluation import Run, read_run
from inspire_vla.experiment.preset import Preset
from inspire_vla.experiment.runner import JOURNAL
from inspire_vla.experiment.stages import dataset


def provenance_lines(
    preset: Preset, out: Path, headline: Sequence[Run], left: Sequence[str] = ()
) -> list[str]:
    """Return Markdown lines.

    Args:
        headline: the pooled runs of the variants.
        left: what is not finished.
    """
    journal = [json.loads(line) for line in (out / JOURNAL).read_text(encoding="utf-8").splitlines()]
    lines = [f"    inspire reproduce --preset {preset.name}", *_pretraining(out), _data(preset, out)]
    lines += [
        _trained(preset, variant, run, journal)
        for variant, run in zip(preset.variants, headline, strict=True)
    ]
    lines.append(_stages(journal))
    if left:
        lines.append(f"Not finished: {', '.join(left)}.")
    return "\n\n".join(lines).split("\n")


def _pretraining(out: Path) -> list[str]:
    file = out / "grounding" / "evaluation.json"
    if not file.exists():
        return []
    n = json.loads(file.read_text(encoding="utf-8"))
    line = (
        f"Pre-training: {n['pointing_n']} times asked where something is, on held-out images, it points within 3 % "
        f"of the image's side in {100 * n['pointing_accuracy']:.1f} % (blind: "
        f"{100 * n['pointing_accuracy_blind']:.1f} %), presence {100 * n['presence_accuracy']:.1f} % "
        f"(n = {n['presence_n']}, chance about 50), names {100 * n['recognition_accuracy']:.1f} % "
        f"(n = {n['recognition_n']})."
    )
    by_kind = ", ".join(
        f"{kind} {100 * of_kind['accuracy']:.1f} % (n = {of_kind['n']})"
        for kind, of_kind in n.get("pointing_by_kind", {}).items()  # the first pre-training has none
    )
    return [f"{line} Pointing by kind of phrase: {by_kind}." if by_kind else line]


def _data(preset: Preset, out: Path) -> str:
    data = dataset(preset, out, preset.conditions[0]) / "meta" / "info.json"
    info = json.loads(data.read_text(encoding="utf-8"))
    return f"Data: {info['total_episodes']:,} demonstrations, {info['total_frames']:,} frames, seed 0."


def _trained(preset: Preset, variant: str, run: Run, journal: Sequence[Mapping[str, Any]]) -> str:
    stages = {f"train {preset.policy(variant, seed=seed)}" for seed in preset.seeds}
    trained = dict.fromkeys(_commit(line) for line in journal if line["stage"] in stages)
    infos = [read_run(path).info for path in run.info["pooled"]]
    weights = dict.fromkeys(str(info["policy"].get("sha256"))[:12] for info in infos)
    evaluated = dict.fromkeys(_commit(info) for info in infos)
    started = min(str(info.get("started")) for info in infos)
    return (
        f"{run.name}: training seed{'s' if len(preset.seeds) > 1 else ''} {', '.join(map(str, preset.seeds))}, "
        f"trained at commit {', '.join(trained)}; weights {', '.join(f'{each}…' for each in weights)}; "
        f"evaluated at commit {', '.join(evaluated)}, {started} and later, episode seeds from 1,000,000."
    )


def _stages(journal: Sequence[Mapping[str, Any]]) -> str:
    """The machine time of all stages, and the commits they ran at."""
    commits: dict[str, set[str]] = {}
    for line in journal:
        commits.setdefault(_commit(line), set()).add(line["stage"])
    done = len(set.union(*commits.values()))
    hours = sum(line["seconds"] for line in journal) / 3600
    where = ", ".join(f"{len(stages)} at {commit}" for commit, stages in commits.items())
    return f"Machine time of the {done} stages in the journal: {hours:.1f} h ({where})."


def _commit(line: Mapping[str, Any]) -> str:
    return str(line.get("commit"))[:12]
