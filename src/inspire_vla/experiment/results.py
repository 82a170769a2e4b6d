"""The text and figures of the finished part of an experiment, as in docs/results.md."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inspire_vla.comparison_format import Comparison, Interval
from inspire_vla.errors import counted
from inspire_vla.evaluation import Run, compare, compare_over_seeds, pool, read_run
from inspire_vla.experiment.folder import Experiment
from inspire_vla.experiment.preset import Condition, Preset
from inspire_vla.experiment.provenance import provenance_lines
from inspire_vla.experiment.stages import finished_part
from inspire_vla.files import read_json_lines, write_json, write_text
from inspire_vla.reports import figures as plots
from inspire_vla.reports import results
from inspire_vla.reports.figures import Curve, CurvePanel
from inspire_vla.reports.table import in_percent, known, make_table, points
from inspire_vla.reports.tables import goals_table, suites_and_groups

_CONTROLS = {
    "truth": "answers overridden: the truth",
    "random": "answers overridden: random",
    "shuffled": "answers overridden: the truth of another object",
    "random_directions": "answers overridden: random, but for a true “grasped”",
    "unasked": "no question asked",
}
_STEPS = "training steps, thousands"


def write_results(preset: Preset, out: Path, document: Path | None = None) -> Path:
    """Write the results and figures to OUT/results.md, or between the markers of `document`.

    Seeds, controls, conditions, checkpoints and ablations that are not finished are named at the end.

    Raises:
        InspireError: baseline and method of the first seed are not finished.
    """
    preset, left = finished_part(preset, out)
    experiment = Experiment(preset, out)
    target = out / "results.md" if document is None else document
    figures = out / "figures" if document is None else document.parent / document.stem
    headline = [_pooled(experiment, variant) for variant in preset.variants]
    comparison = compare(headline, _suites(experiment))
    write_json(out / "comparison.json", comparison)
    sections = [
        _headline(experiment, comparison, figures),
        _over_seeds(comparison, headline),
        ["### Accuracy of the answers", "", *results.answer_lines(comparison, 1)],
        _goals(comparison),
        _controls_and_ablations(experiment, headline, figures),
        _over_conditions(experiment, figures),
        _learning(experiment, figures),
        ["### Cost", "", *results.cost_lines(comparison)],
        ["### Provenance", "", *provenance_lines(experiment, headline, left)],
    ]
    written = "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"
    if document is None:
        write_text(target, written)
    else:
        results.write_between_markers(document, written)
    return target


def learning_curves(experiment: Experiment) -> Iterator[CurvePanel]:
    """Yield what is logged: of the pre-training, of the training, and of the checkpoints on validation tasks."""
    preset = experiment.preset
    if (log := experiment.grounding / "log.jsonl").exists():
        rows = _lines(log)
        keys = {"dense_accuracy": "dense classification", "answer_accuracy": "tokens of answers"}
        curves = [_curve(name, rows, key) for key, name in keys.items()]
        yield CurvePanel("pre-training, accuracy", _STEPS, curves)
    logs = {v: experiment.policy(preset.policy(v)) / "train_log.jsonl" for v in preset.variants}
    losses = [_curve(preset.title(v), _lines(log), "loss") for v, log in logs.items() if log.exists()]
    if losses:
        yield CurvePanel("policy, training loss", _STEPS, losses)
    if preset.checkpoints:
        yield CurvePanel("validation, success in %", _STEPS, _validation_curves(experiment))


def _lines(log: Path) -> list[dict[str, Any]]:
    """The lines of a JSON-lines log by step. A resumed training repeats steps: what it logs counts from there on."""
    lines: list[dict[str, Any]] = []
    for line in read_json_lines(log):
        while lines and lines[-1]["step"] >= line["step"]:
            lines.pop()
        lines.append(line)
    return lines


def _curve(name: str, rows: Sequence[Mapping[str, Any]], key: str) -> Curve:
    logged = [(row["step"] / 1e3, row[key]) for row in rows if row.get(key) is not None]
    finite = [(step, value) for step, value in logged if math.isfinite(value)]
    if left_out := len(logged) - len(finite):
        name += f" (not finite: {left_out} of {counted(len(logged), 'point')})"
    return Curve(name, [step for step, _ in finite], [value for _, value in finite])


def _validation_curves(experiment: Experiment) -> list[Curve]:
    preset, comparisons = experiment.preset, _validation(experiment).values()
    steps = [step / 1e3 for step in preset.checkpoints]
    rates = [
        [known(in_percent(rate))[0] for rate in comparison["groups"][0]["rates"]]
        for comparison in comparisons
    ]
    return [Curve(preset.title(v), steps, [pair[i] for pair in rates]) for i, v in enumerate(preset.variants)]


def _validation(experiment: Experiment) -> dict[int, Comparison]:
    """{training steps: comparison of baseline and method on validation tasks}, first seed."""
    policies = [experiment.preset.policy(variant) for variant in experiment.preset.variants]
    return {
        step: compare([read_run(experiment.run(f"{policy}_step{step}", "validation")) for policy in policies])
        for step in experiment.preset.checkpoints
    }


def _headline(experiment: Experiment, comparison: Comparison, figures: Path) -> list[str]:
    plots.success_figure(comparison, figures / "success.svg")
    base, method = (experiment.preset.title(variant) for variant in experiment.preset.variants)
    lines = [
        f"### {base[:1].upper()}{base[1:]} against {method}",
        "",
        *results.headline_table(comparison),
        "",
    ]
    lines += ["A mean counts each suite alike; its McNemar's test pools their pairs.", ""]
    lines += [f"![Success by suite]({figures.name}/success.svg)", "", *_seeds(experiment), ""]
    return [*lines, *results.tasks_table(comparison)]


def _goals(comparison: Comparison) -> list[str]:
    if not comparison["goals"]:
        return []
    intro = (
        "How far the episodes came. *None*: none of the task's goals ever held. *First only*: the first goal held, but "
        "not all did. *Later only*: a later one held, and the first did not. *All in turn*: each held at some time, "
        "but not all at once, or too briefly. *All at once* is success."
    )
    return ["### Tasks with several goals", "", intro, "", *goals_table(comparison).markdown()]


def _over_seeds(comparison: Comparison, headline: Sequence[Run]) -> list[str]:
    intro = (
        "The intervals and McNemar's test above are over episodes of these very policies. The intervals below also "
        "resample tasks and training seeds:"
    )
    base, method = headline
    rows = [
        (row.name, compare_over_seeds(base, method, row.suites), row.is_group)
        for row in suites_and_groups(comparison)
    ]
    return ["### Intervals over tasks and training seeds", "", intro, "", *results.seeds_table(rows)]


def _controls_and_ablations(experiment: Experiment, headline: Sequence[Run], figures: Path) -> list[str]:
    preset = experiment.preset
    if not (preset.controls or preset.ablations):
        return []
    variants = compare([headline[1], headline[0], *_variants(experiment)], _suites(experiment))
    method = preset.title(preset.method)
    titles = _CONTROLS | _ablation_titles(preset)
    plots.variants_figure(variants, titles, figures / "variants.svg")
    lines = ["### Controls and ablations", "", *results.variants_table(variants, titles), ""]
    if preset.controls and preset.controls_episodes:
        episodes = preset.controls_episodes
        lines += [
            f"A control meets {method}'s first {counted(episodes, 'episode')} of each task, not all.",
            "",
        ]
    if preset.ablations and len(preset.seeds) > 1:
        note = (
            f"An ablation meets {method}'s episodes of the same training seeds. If these are not all, they have a row "
            "of their own, whose difference is that of a policy with itself."
        )
        lines += [note, ""]
    lines += [f"![Controls and ablations]({figures.name}/variants.svg)"]
    others = {
        f"{preset.title(name)} against {preset.title(preset.parent(name))}": compare(
            [_pooled(experiment, each, preset.seeds_of(name)) for each in (preset.parent(name), name)],
            _suites(experiment),
        )
        for name in preset.ablations
        if preset.parent(name) != preset.method
    }
    return [*lines, "", *results.pairs_table(others)] if others else lines


def _ablation_titles(preset: Preset) -> dict[str, str]:
    """Titles of the ablations' runs, with their training seeds."""
    titles = {}
    for name, ablation in preset.ablations.items():
        behind = _in_words(preset.seeds_of(name))
        titles[name] = f"{preset.title(name)}, {behind}"
        for control in ablation.controls:
            titles[f"{name}, {control}"] = f"{preset.title(name)}, {_CONTROLS[control]}, {behind}"
    return titles


def _over_conditions(experiment: Experiment, figures: Path) -> list[str]:
    preset = experiment.preset
    if preset.sweep is None or len(preset.conditions) < 2:
        return []
    first = preset.seeds[:1]
    curve = {
        float(condition.value or 0): compare(
            [_pooled(experiment, v, first, condition) for v in preset.variants], _suites(experiment)
        )
        for condition in preset.conditions
    }
    option = preset.sweep.option.replace("-", "_")
    plots.sweep_figure(curve, option, figures / "randomness.svg")
    title = f"### {preset.sweep.title} (training seed {first[0]})"
    return [
        title,
        "",
        *results.sweep_table(curve, option),
        "",
        f"![Success over {option}]({figures.name}/randomness.svg)",
    ]


def _learning(experiment: Experiment, figures: Path) -> list[str]:
    preset, panels = experiment.preset, list(learning_curves(experiment))
    if not panels:
        return []
    plots.curves_figure(panels, figures / "learning.svg")
    lines = ["### Learning curves", "", f"![Learning curves]({figures.name}/learning.svg)"]
    if preset.checkpoints:
        title = f"Success on validation tasks, training seed {preset.seeds[0]}:"
        by_step = _validation(experiment)
        lines += ["", title, "", *results.steps_table(by_step, [preset.title(v) for v in preset.variants])]
        if any(len(comparison["groups"][0]["suites"]) > 1 for comparison in by_step.values()):
            lines += ["", "Here, too, a mean counts each suite alike, and McNemar's test pools all pairs."]
    return lines


def _pooled(
    experiment: Experiment,
    variant: str,
    seeds: Sequence[int] | None = None,
    condition: Condition | None = None,
) -> Run:
    """One run of all runs of a variant with these seeds; by default of the headline."""
    preset = experiment.preset
    policies = [preset.policy(variant, condition, seed) for seed in seeds or preset.seeds]
    return pool([_runs(experiment, policy) for policy in policies], preset.title(variant))


def _runs(experiment: Experiment, name: str) -> list[Run]:
    return [read_run(experiment.run(name, group)) for group in experiment.preset.groups]


def _suites(experiment: Experiment) -> dict[str, list[str]]:
    """{group of the preset: its suites}. The preset's own names may stand for several suites, such as "unseen"."""
    preset = experiment.preset
    runs = zip(preset.groups, _runs(experiment, preset.policy(preset.method)), strict=True)
    return {group: sorted({record.suite for record in run.records}) for group, run in runs}


def _in_words(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _variants(experiment: Experiment) -> Iterator[Run]:
    """The controls; the method with the seeds of each ablation alone; the ablations and their controls."""
    preset = experiment.preset
    for control in preset.controls:
        policies = [preset.policy(preset.method, seed=seed) for seed in preset.seeds]
        yield pool([_runs(experiment, f"{policy}_{control}") for policy in policies], control)
    for seeds in sorted({preset.seeds_of(name) for name in preset.ablations} - {preset.seeds}):
        policies = [preset.policy(preset.method, seed=seed) for seed in seeds]
        title = f"{preset.title(preset.method)}, {_in_words(seeds)}"
        yield pool([_runs(experiment, policy) for policy in policies], title)
    for name, ablation in preset.ablations.items():
        policies = [preset.policy(name, seed=seed) for seed in preset.seeds_of(name)]
        yield pool([_runs(experiment, policy) for policy in policies], name)
        for control in ablation.controls:
            yield pool(
                [_runs(experiment, f"{policy}_{control}") for policy in policies], f"{name}, {control}"
            )


def _seeds(experiment: Experiment) -> list[str]:
    """A table of each training seed by itself."""
    preset = experiment.preset
    names = list(preset.groups)
    both = ", ".join(preset.title(variant) for variant in preset.variants)
    heads = ["training seed", *(f"{name}: {both}" for name in names), "difference"]
    heads.append(f"answer accuracy: {', '.join(names)}")
    rows = []
    for seed in preset.seeds:
        pair = [_pooled(experiment, variant, [seed]) for variant in preset.variants]
        comparison = compare(pair, _suites(experiment))
        groups = {group["group"]: group for group in comparison["groups"]}
        cells = [_rates(groups[name]["rates"]) for name in names if name in groups]
        last = groups[names[-1]]["paired"][1] if names[-1] in groups else None
        cells.append(points(None if last is None else last["difference"]))
        cells.append(_rates([comparison["answers"][1].get(name) for name in names]))
        rows.append((str(seed), *cells))
    return make_table(heads, rows).markdown()


def _rates(rates: Sequence[Interval | None]) -> str:
    estimates = map(in_percent, rates)
    return ", ".join("–" if estimate is None else f"{estimate[0]:.1f}" for estimate in estimates)
