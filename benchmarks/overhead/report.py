"""docs/appendix/performance_details.md's table and figure, from the numbers that reasoning_overhead.py has written."""

import json
import os
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "appendix" / "performance_details.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
COLUMNS = {
    "official": "paper's way",
    "cached": "one cache",
    "no_pass_lost": "guess and verify: no pass lost",
    "pass_lost": "one pass lost",
}
BARS = {"official": "paper's way", "cached": "one cache", "guessed": "guess and verify"}


def write(results: Path, document: Path = DOCUMENT) -> None:
    """Put the table between the document's markers, and the figure beside the results."""
    found = json.loads(results.read_text(encoding="utf-8"))
    overheads = {name: run for name, run in found.items() if "by_objects" in run}
    lines = [
        *_table(overheads),
        "",
        *_acceptance(overheads),
        "",
        *_habit(found),
        *_memory(found),
        "",
        *_origins(found),
    ]
    figure = results.with_suffix(".svg")
    _figure(overheads, figure)
    lines += ["", f"![Step time against the base model's]({os.path.relpath(figure, document.parent)})"]
    text = document.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    document.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after, encoding="utf-8")
    print(f"{document} and {figure}")


def _table(overheads: dict[str, Any]) -> list[str]:
    head = [
        "model",
        "objects",
        "steps",
        "base, ms",
        *COLUMNS.values(),
        "as often as in life",
        "passes",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    nano = overheads.get("nano")
    free = nano["all"]["steps_without_an_extra_pass"] if nano else None
    for run in overheads.values():
        for count, row in run["by_objects"].items():
            ratios = [_interval(row["ratio"].get(way)) for way in COLUMNS]
            passes = " / ".join(
                f"{row['passes'][way]:.3g}" for way in ("base", "official", "cached", "guessed")
            )
            replayed = "replayed_steps" in run
            life = row["mean_ratio"]["guessed"] if replayed else _weighed(row, free)
            cells = [f"{_title(run)}, {run['device']}", count, str(row["steps"])]
            cells += [f"{row['ms']['base']['median']:,.1f}", *ratios, f"{life:.2f}" if life else "–", passes]
            lines.append("| " + " | ".join(cells) + " |")
    note = (
        "Times as multiples of the base model's: medians, quartiles in brackets. As often as in life: nano's mean over "
        "its rollouts, wrong guesses included; for the others a pass is lost as often as in those rollouts. Passes: "
        "base / paper's way / one cache / guess and verify, mean."
    )
    return [*lines, "", note]


def _title(run: dict[str, Any]) -> str:
    depth = run.get("depth", 1.0)
    return run["title"] if depth == 1 else f"{run['title']}, {depth:.2g} of its layers"


def _interval(spread: dict[str, float] | None) -> str:
    if not spread:
        return "–"
    if spread["q25"] == spread["q75"]:  # measured once
        return f"{spread['median']:.2f}"
    return f"{spread['median']:.2f} [{spread['q25']:.2f}, {spread['q75']:.2f}]"


def _acceptance(overheads: dict[str, Any]) -> list[str]:
    run = overheads.get("nano")
    if run is None:
        return []
    row = run["all"]
    share, free = row["steps_all_guessed_right_after_the_first"], row["steps_without_an_extra_pass"]
    mean = row["mean_ratio"]
    text = (
        f"Replayed: {row['steps']} decisions of {run['episodes']} episodes ({', '.join(run['suites'])}). "
        f"{100 * row['answers_guessed_right']:.0f} % of all answers were guessed right; in {100 * share:.0f} % "
        "of the decisions after an episode's first, all of them were. "
        f"{100 * free:.0f} % of all decisions took no pass more than the base model. On average over all, wrong "
        f"guesses included, one takes {mean['guessed']:.2f} × the base model's time ({mean['cached']:.2f} × "
        f"with the cache alone, {mean['official']:.2f} × the paper's way)."
    )
    return [text]


def _weighed(row: dict[str, Any], free: float | None) -> float | None:
    """What guess and verify takes on average if a share `free` of the decisions loses no pass."""
    ratio = row["ratio"]
    if free is None or not {"no_pass_lost", "pass_lost"} <= ratio.keys():
        return None
    return free * ratio["no_pass_lost"]["median"] + (1 - free) * ratio["pass_lost"]["median"]


def _memory(found: dict[str, Any]) -> list[str]:
    run = found.get("memory")
    if run is None:
        return []
    growth = run["growth_mib_after_the_first_tenth"]
    first, *_, last = run["resident_mib"].values()
    text = (
        f"Memory: {first:,.1f} MiB after a tenth of {run['steps']:,} decisions, {last:,.1f} MiB after all "
        f"({growth:+.1f} MiB)."
    )
    return [text]


def _habit(found: dict[str, Any]) -> list[str]:
    run = found.get("habit")
    if run is None:
        return []
    shown, played, gained = run["demonstrations"], run["rollouts"], run["rollouts"]["free_gained"]

    def against(what: str) -> str:
        return f"{100 * played['habit'][what]:.1f} % against {100 * played['last'][what]:.1f} %"

    text = (
        "Guessing by habit, a table from how long the last answers have stood, and what stood before, to the next "
        f"ones: in {shown['decisions']:,} decisions of demonstrations that it has not seen it guesses all answers in "
        f"{100 * shown['habit']:.1f} %, where the last answers do in {100 * shown['last']:.1f} %; in "
        f"{played['decisions']} decisions of {played['episodes']} rollouts in {against('right')}. There no pass is "
        f"lost in {against('free')}: {100 * gained['mean']:.1f} points more, 95 % interval "
        f"{100 * gained['low']:.1f} to {100 * gained['high']:.1f}."
    )
    return [text, ""]


def _origins(found: dict[str, Any]) -> list[str]:
    lines = ["Where the numbers come from:", ""]
    for run in found.values():
        origin = run["provenance"]
        machine = origin["machine"]
        device = machine.get("gpu", machine["processor"]) if run["device"] != "cpu" else machine["processor"]
        lines.append(
            f"- `{origin['command']}`, commit {str(origin['commit'])[:12]}, {origin['started']}, {device}, "
            f"{run['threads']} thread(s), {run.get('clock', 'wall clock')}, "
            f"load {run['load_before']} before it began"
        )
    return lines


def _figure(overheads: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    with pyplot.rc_context({"font.family": "sans-serif", "svg.hashsalt": "inspire", "svg.fonttype": "none"}):
        figure, axes = pyplot.subplots(
            1, len(overheads), figsize=(1.6 + 2.4 * len(overheads), 3.2), sharey=True, squeeze=False
        )
        for axis, run in zip(axes[0], overheads.values(), strict=True):
            counts = list(run["by_objects"])
            for place, (way, label) in enumerate(BARS.items()):
                rows = [run["by_objects"][n]["ratio"][way] for n in counts]
                middle = [row["median"] for row in rows]
                error = [
                    [row["median"] - row["q25"] for row in rows],
                    [row["q75"] - row["median"] for row in rows],
                ]
                where = [i + 0.26 * (place - 1) for i in range(len(counts))]
                colour = ("#b0413e", "#8d99ae", "#2a6f97")[place]
                axis.bar(where, middle, width=0.24, label=label, color=colour, yerr=error, capsize=2)
            axis.axhline(1, color="black", linewidth=0.8)
            axis.set_xticks(range(len(counts)), counts)
            axis.set_title(f"{_title(run)}, {run['device']}".replace(" (", "\n(", 1), fontsize=8)
            axis.set_xlabel("objects asked about")
        axes[0, 0].set_ylabel("step time ÷ base model's")
        axes[0, -1].legend(frameon=False, fontsize=8, loc="upper right")
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
