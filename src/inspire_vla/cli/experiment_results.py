"""What an experiment's finished runs amount to: the text and figures of docs/results.md."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inspire_vla.evaluation import Run, compare, pool, read_run, write_comparison
from inspire_vla.experiment import Preset
from inspire_vla.reports import results

_TITLES = {
    "truth": "answers forced: the truth",
    "random": "answers forced: random",
    "shuffled": "answers forced: the truth of another object",
}
_VALIDATION = "validation, success in %"
_LOGGED = re.compile(r"smpl:(\d+(?:\.\d+)?)([KM]?) .*?loss:(\d+\.\d+)")  # LeRobot writes 1,400 steps as 1K


def write_results(preset: Preset, out: Path, document: Path | None = None) -> Path:
    """Write the finished runs' results and figures: to OUT/results.md, or between the markers of `document`."""
    figures = out / "figures" if document is None else document.parent / document.stem
    link = "figures" if document is None else document.stem
    kinds = ("base", "inspire")
    headline = [
        pool(
            [list(_runs(out, f"{kind}_r{preset.layout_randomness:g}_s{seed}")) for seed in preset.seeds], name
        )
        for kind, name in zip(kinds, ("base", "InSpire"), strict=True)
    ]
    comparison = compare(headline)
    write_comparison(out / "comparison.json", comparison)
    results.success_figure(comparison, figures / "success.svg")
    text = ["### Base against InSpire", "", *results.headline_table(comparison), ""]
    text += [f"![Success by suite]({link}/success.svg)", "", *_seeds(preset, out), ""]
    text += ["### Does it see where things are?", "", *results.answer_lines(comparison, 1), ""]
    if preset.controls or preset.ablations:
        variants = compare([headline[1], headline[0], *_variants(preset, out)])
        titles = _TITLES | {name: f"{name}, seed {preset.seeds[0]}" for name in preset.ablations}
        results.variants_figure(variants, titles, figures / "variants.svg")
        text += ["### Controls and ablations", "", *results.variants_table(variants, titles), ""]
        if preset.ablations and len(preset.seeds) > 1:
            text += [
                f"An ablation is of training seed {preset.seeds[0]} alone and meets InSpire's episodes of it.",
                "",
            ]
        text += [f"![Controls and ablations]({link}/variants.svg)", ""]
    curves = dict(learning_curves(preset, out))
    if curves:
        across = {_VALIDATION: "training steps, thousands"}
        results.curves_figure(curves, figures / "learning.svg", across)
        text += ["### Learning curves", "", f"![Learning curves]({link}/learning.svg)", ""]
    text += ["### Cost", "", *results.cost_lines(comparison), ""]
    text += ["### Where it comes from", "", *_origin(preset, out, headline)]
    written = "\n".join(text) + "\n"
    if document is not None:
        results.write_between_markers(document, written)
        return document
    path = out / "results.md"
    path.write_text(written, encoding="utf-8")
    return path


def _runs(out: Path, name: str) -> Iterator[Run]:
    for group in ("seen", "unseen"):
        yield read_run(out / "runs" / f"{name}_{group}")


def _variants(preset: Preset, out: Path) -> Iterator[Run]:
    r = f"r{preset.layout_randomness:g}"
    for control in preset.controls:
        yield pool([list(_runs(out, f"inspire_{r}_s{seed}_{control}")) for seed in preset.seeds], control)
    for name in preset.ablations:
        yield pool([list(_runs(out, f"{name.replace(' ', '_')}_{r}_s{preset.seeds[0]}"))], name)


def _seeds(preset: Preset, out: Path) -> list[str]:
    """Each training seed by itself, and each other layout_randomness."""
    rows = [(preset.layout_randomness, seed) for seed in preset.seeds]
    rows += [(r, preset.seeds[0]) for r in preset.curve]
    lines = ["| layout_randomness | training seed | seen: base, InSpire | unseen: base, InSpire | unseen difference |",
             "|---|---|---|---|---|"]  # fmt: skip
    for r, seed in rows:
        pair = [pool([list(_runs(out, f"{kind}_r{r:g}_s{seed}"))], kind) for kind in ("base", "inspire")]
        groups = {group["group"]: group for group in compare(pair)["groups"]}
        cells = [
            ", ".join(f"{100 * rate['rate']:.1f}" for rate in groups[g]["rates"]) for g in ("seen", "unseen")
        ]
        difference = f"{100 * groups['unseen']['paired'][1]['difference']:+.1f}".replace("-", "−")
        lines.append(f"| {r:g} | {seed} | {cells[0]} | {cells[1]} | {difference} |")
    return lines


def learning_curves(
    preset: Preset, out: Path
) -> Iterator[tuple[str, list[tuple[str, list[float], list[float]]]]]:
    """(title, ((name, thousands of samples, values), …)) of each panel; of validation, thousands of training steps."""
    seeing = out / "grounding" / "log.jsonl"
    if seeing.exists():
        rows = [json.loads(line) for line in seeing.read_text().splitlines()]
        batch = json.loads((seeing.parent / "plan.json").read_text())["batch_size"]
        lines = []
        for key, name in (("naming_accuracy", "names of points"), ("answer_accuracy", "tokens of answers")):
            own = [row for row in rows if key in row]
            lines.append((name, [row["step"] * batch / 1e3 for row in own], [row[key] for row in own]))
        yield "pre-training, share right", lines
    losses = []
    for kind in ("base", "inspire"):
        name = f"train_{kind}_r{preset.layout_randomness:g}_s{preset.seeds[0]}"
        samples: dict[float, float] = {}
        for log in (out / "logs").glob(f"*_{name}.txt"):
            for number, unit, loss in _LOGGED.findall(log.read_text(errors="replace")):
                samples[float(number) * {"": 1e-3, "K": 1, "M": 1e3}[unit]] = float(loss)
        if samples:
            label = "InSpire, answers included" if kind == "inspire" else "base"
            losses.append((label, sorted(samples), [samples[s] for s in sorted(samples)]))
    if losses:
        yield "policy, loss", losses
    if preset.checkpoints:
        yield _VALIDATION, list(_success_by_step(preset, out))


def _success_by_step(preset: Preset, out: Path) -> Iterator[tuple[str, list[float], list[float]]]:
    """On validation tasks, of both kinds' first seed, at the checkpoints of the preset, in thousands of steps."""
    for kind, name in (("base", "base"), ("inspire", "InSpire")):
        policy = f"{kind}_r{preset.layout_randomness:g}_s{preset.seeds[0]}"
        runs = [read_run(out / "runs" / f"{policy}_step{step}_validation") for step in preset.checkpoints]
        rates = [100 * sum(record.success for record in run.records) / len(run.records) for run in runs]
        yield name, [step / 1e3 for step in preset.checkpoints], rates


def _origin(preset: Preset, out: Path, runs: list[Any]) -> list[str]:
    lines = [f"    inspire reproduce --preset {preset.name}"]
    examination = out / "grounding" / "examination.json"
    if examination.exists():
        seen = json.loads(examination.read_text())
        lines.append(
            f"Pre-training: of {seen['where_n']} things in held-out pictures {100 * seen['found']:.1f} % are found "
            f"within 3 % of the picture's side (blind: {100 * seen['found_blind']:.1f} %), presence "
            f"{100 * seen['presence']:.1f} % (n = {seen['presence_n']}, chance about 50), names "
            f"{100 * seen['naming']:.1f} % (n = {seen['naming_n']})."
        )
    data = out / "demonstrations" / f"seen_r{preset.layout_randomness:g}" / "meta" / "info.json"
    info = json.loads(data.read_text())
    lines.append(f"Data: {info['total_episodes']:,} demonstrations, {info['total_frames']:,} frames, seed 0.")
    journal = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    for run in runs:
        kind = "base" if run.name == "base" else "inspire"
        trained = {
            str(line.get("commit"))[:12] for line in journal if line["stage"].startswith(f"train {kind}_")
        }
        infos = [
            each.info
            for seed in preset.seeds
            for each in _runs(out, f"{kind}_r{preset.layout_randomness:g}_s{seed}")
        ]
        weights = dict.fromkeys(str(info["policy"].get("sha256"))[:12] for info in infos)
        commits = dict.fromkeys(str(info.get("commit"))[:12] for info in infos)
        started = sorted(str(info.get("started")) for info in infos)
        lines.append(
            f"{run.name}: training seed{'s' if len(preset.seeds) > 1 else ''} {', '.join(map(str, preset.seeds))}, "
            f"trained at commit {', '.join(sorted(trained))}; weights {', '.join(f'{each}…' for each in weights)}; "
            f"evaluated at commit {', '.join(commits)}, {started[0]} and later, episode seeds from 1,000,000."
        )
    done = len({line["stage"] for line in journal})
    hours = sum(line["seconds"] for line in journal) / 3600
    lines.append(f"Machine time of the {done} stages in the journal: {hours:.1f} h.")
    return [line for each in lines if each for line in (each, "")]
