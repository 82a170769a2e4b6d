"""What an experiment's finished runs amount to: the text and figures of docs/results.md."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from inspire_vla.evaluation import Run, compare, compare_over_seeds, pool, read_run, write_comparison
from inspire_vla.experiment.curves import VALIDATION, learning_curves, validation
from inspire_vla.experiment.finished import finished_part
from inspire_vla.experiment.origin import origin
from inspire_vla.experiment.presets import Preset
from inspire_vla.reports import result_figures, results
from inspire_vla.reports.numbers import points

_NAMES = {"base": "base", "inspire": "InSpire"}
_ALONE = "InSpire of the first seed"
_TITLES = {
    "truth": "answers forced: the truth",
    "random": "answers forced: random",
    "shuffled": "answers forced: the truth of another object",
}


def write_results(preset: Preset, out: Path, document: Path | None = None) -> Path:
    """Write the results and figures of what is finished: to OUT/results.md, or between the markers of `document`.

    Controls, layouts, checkpoints and ablations that are not finished are named instead.

    Raises InspireError where base and InSpire themselves are not.
    """
    preset, left = finished_part(preset, out)
    target = out / "results.md" if document is None else document
    figures = out / "figures" if document is None else document.parent / document.stem
    headline = [_pooled(preset, out, kind) for kind in _NAMES]
    comparison = compare(headline)
    write_comparison(out / "comparison.json", comparison)
    sections = [
        _headline(preset, out, comparison, figures),
        _how_sure(comparison, headline),
        ["### Does it see where things are?", "", *results.answer_lines(comparison, 1)],
        _controls_and_ablations(preset, out, headline, figures),
        _over_layouts(preset, out, figures),
        _learning(preset, out, figures),
        ["### Cost", "", *results.cost_lines(comparison)],
        ["### Where it comes from", "", *origin(preset, out, headline, left)],
    ]
    written = "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"
    if document is None:
        target.write_text(written, encoding="utf-8")
    else:
        results.write_between_markers(document, written)
    return target


def _headline(preset: Preset, out: Path, comparison: dict[str, Any], figures: Path) -> list[str]:
    result_figures.success_figure(comparison, figures / "success.svg")
    lines = ["### Base against InSpire", "", *results.headline_table(comparison), ""]
    lines += ["A mean counts each suite alike; its McNemar's test pools their pairs.", ""]
    lines += [f"![Success by suite]({figures.name}/success.svg)", "", *_seeds(preset, out), ""]
    return [*lines, *results.tasks_table(comparison)]


def _how_sure(comparison: dict[str, Any], headline: Sequence[Run]) -> list[str]:
    intro = (
        "The intervals and McNemar's test above are over episodes of these very policies. Tasks and training seeds "
        "might have been others, too:"
    )
    base, inspire = headline
    named = results.by_suite_and_group(comparison)
    rows = [(name, compare_over_seeds(base, inspire, suites)) for name, suites in named]
    return ["### How sure it is", "", intro, "", *results.seeds_table(rows)]


def _controls_and_ablations(preset: Preset, out: Path, headline: Sequence[Run], figures: Path) -> list[str]:
    if not (preset.controls or preset.ablations):
        return []
    variants = compare([headline[1], headline[0], *_variants(preset, out)])
    of_first = {_ALONE: "InSpire"} | {name: name for name in preset.ablations}
    titles = _TITLES | {name: f"{title}, seed {preset.seeds[0]}" for name, title in of_first.items()}
    result_figures.variants_figure(variants, titles, figures / "variants.svg")
    lines = ["### Controls and ablations", "", *results.variants_table(variants, titles), ""]
    if preset.controls and preset.episodes_controls:
        lines += [
            f"A control meets InSpire's first {preset.episodes_controls} episodes of each task, not all.",
            "",
        ]
    if preset.ablations and len(preset.seeds) > 1:
        lines += [
            f"An ablation is of training seed {preset.seeds[0]} alone and meets InSpire's episodes of it.",
            "",
        ]
    return [*lines, f"![Controls and ablations]({figures.name}/variants.svg)"]


def _over_layouts(preset: Preset, out: Path, figures: Path) -> list[str]:
    if not preset.curve:
        return []
    first = preset.seeds[:1]
    curve = {
        r: compare([_pooled(preset, out, kind, first, r) for kind in _NAMES])
        for r in (preset.layout_randomness, *preset.curve)
    }
    result_figures.randomness_figure(curve, figures / "randomness.svg")
    title = f"### How much the layouts vary (training seed {first[0]})"
    figure = f"![Success over layout_randomness]({figures.name}/randomness.svg)"
    return [title, "", *results.curve_table(curve), "", figure]


def _learning(preset: Preset, out: Path, figures: Path) -> list[str]:
    curves = dict(learning_curves(preset, out))
    if not curves:
        return []
    result_figures.curves_figure(
        curves, figures / "learning.svg", across={VALIDATION: "training steps, thousands"}
    )
    lines = ["### Learning curves", "", f"![Learning curves]({figures.name}/learning.svg)"]
    if preset.checkpoints:
        title = f"Success on validation tasks, training seed {preset.seeds[0]}:"
        lines += ["", title, "", *results.steps_table(validation(preset, out))]
    return lines


def _pooled(
    preset: Preset, out: Path, kind: str, seeds: Sequence[int] | None = None, randomness: float | None = None
) -> Run:
    """The runs of base or InSpire with these training seeds as one; without: of the headline."""
    r = preset.layout_randomness if randomness is None else randomness
    runs = [list(_runs(out, f"{kind}_r{r:g}_s{seed}")) for seed in seeds or preset.seeds]
    return pool(runs, _NAMES[kind])


def _runs(out: Path, name: str) -> Iterator[Run]:
    for group in ("seen", "unseen"):
        yield read_run(out / "runs" / f"{name}_{group}")


def _variants(preset: Preset, out: Path) -> Iterator[Run]:
    r = f"r{preset.layout_randomness:g}"
    for control in preset.controls:
        yield pool([list(_runs(out, f"inspire_{r}_s{seed}_{control}")) for seed in preset.seeds], control)
    if preset.ablations and len(preset.seeds) > 1:
        yield pool([list(_runs(out, f"inspire_{r}_s{preset.seeds[0]}"))], _ALONE)
    for name in preset.ablations:
        yield pool([list(_runs(out, f"{name.replace(' ', '_')}_{r}_s{preset.seeds[0]}"))], name)


def _seeds(preset: Preset, out: Path) -> list[str]:
    """Each training seed by itself."""
    head = "| training seed | seen: base, InSpire | unseen: base, InSpire | difference | answers true: seen, unseen |"
    lines = [head, "|---" * 5 + "|"]
    for seed in preset.seeds:
        comparison = compare([_pooled(preset, out, kind, [seed]) for kind in _NAMES])
        groups = {group["group"]: group for group in comparison["groups"]}
        rates = [groups[name]["rates"] for name in ("seen", "unseen")]
        rates.append([comparison["answers"][1].get(name) for name in ("seen", "unseen")])
        cells = [", ".join("–" if r is None else f"{100 * r['rate']:.1f}" for r in pair) for pair in rates]
        cells.insert(2, points(groups["unseen"]["paired"][1]["difference"]))
        lines.append(f"| {seed} | {' | '.join(cells)} |")
    return lines
