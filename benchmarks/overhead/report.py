"""docs/appendix/performance_details.md's table and figure, from the numbers that reasoning_overhead.py has written."""

import json
import os
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "appendix" / "performance_details.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
COLUMNS = {
    "per_question": "paper's way",
    "cached": "one cache",
    "no_extra_pass": "drafts accepted",
    "extra_pass": "one draft rejected",
}
BARS = {"per_question": "paper's way", "cached": "one cache", "speculative": "speculative"}


def write(results: Path, document: Path = DOCUMENT) -> None:
    """Put the table between the document's markers, and the figure beside the results."""
    runs = json.loads(results.read_text(encoding="utf-8"))
    overheads = {name: run for name, run in runs.items() if "by_objects" in run}
    lines = [
        *_table(overheads),
        "",
        *_acceptance(overheads),
        "",
        *_history(runs),
        *_memory(runs),
        "",
        *_origins(runs),
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
        "mean over rollouts",
        "passes",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    nano = overheads.get("nano")
    free = nano["all"]["steps_without_an_extra_pass"] if nano else None
    for run in overheads.values():
        for count, row in run["by_objects"].items():
            ratios = [_interval(row["ratio"].get(method)) for method in COLUMNS]
            passes = " / ".join(
                f"{row['passes'][method]:.3g}" for method in ("base", "per_question", "cached", "speculative")
            )
            replayed = "replayed_steps" in run
            life = row["mean_ratio"]["speculative"] if replayed else _weighed(row, free)
            cells = [f"{_title(run)}, {run['device']}", count, str(row["steps"])]
            cells += [f"{row['ms']['base']['median']:,.1f}", *ratios, f"{life:.2f}" if life else "–", passes]
            lines.append("| " + " | ".join(cells) + " |")
    note = (
        "Times as multiples of the base model's: medians, quartiles in brackets. Mean over rollouts: nano's mean over "
        "its rollouts, rejected drafts included; the others are weighted with nano's share of decisions without an "
        "extra pass. Passes: "
        "base / paper's way / one cache / speculative, mean."
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
    share, free = row["steps_all_accepted_after_the_first"], row["steps_without_an_extra_pass"]
    mean = row["mean_ratio"]
    text = (
        f"Replayed: {row['steps']} decisions of {run['episodes']} episodes ({', '.join(run['suites'])}). "
        f"{100 * row['answers_accepted']:.0f} % of all drafts were accepted; in {100 * share:.0f} % "
        "of the decisions after an episode's first, all of them were. "
        f"{100 * free:.0f} % of all decisions needed no more forward passes than the base model. On average, "
        f"rejected drafts included, a decision takes {mean['speculative']:.2f} × the base model's time "
        f"({mean['cached']:.2f} × with the cache alone, {mean['per_question']:.2f} × the paper's way)."
    )
    return [text]


def _weighed(row: dict[str, Any], free: float | None) -> float | None:
    """Mean ratio of speculative decoding if a share `free` of the decisions needs no extra pass."""
    ratio = row["ratio"]
    if free is None or not {"no_extra_pass", "extra_pass"} <= ratio.keys():
        return None
    return free * ratio["no_extra_pass"]["median"] + (1 - free) * ratio["extra_pass"]["median"]


def _memory(runs: dict[str, Any]) -> list[str]:
    run = runs.get("memory")
    if run is None:
        return []
    growth = run["growth_mib_after_the_first_tenth"]
    first, *_, last = run["resident_mib"].values()
    text = (
        f"Memory: {first:,.1f} MiB after a tenth of {run['steps']:,} decisions, {last:,.1f} MiB after all "
        f"({growth:+.1f} MiB)."
    )
    return [text]


def _history(runs: dict[str, Any]) -> list[str]:
    run = runs.get("history")
    if run is None:
        return []
    shown, played, gained = run["demonstrations"], run["rollouts"], run["rollouts"]["no_extra_pass_gained"]

    def against(what: str) -> str:
        return f"{100 * played['history'][what]:.1f} % against {100 * played['last'][what]:.1f} %"

    text = (
        "Drafts from an answer history (a table from the last answers, their age and the answers before them to "
        f"the next ones): in {shown['decisions']:,} decisions of held-out demonstrations all of its drafts are right "
        f"in {100 * shown['history']:.1f} %, where the last answers are in {100 * shown['last']:.1f} %; in "
        f"{played['decisions']} decisions of {played['episodes']} rollouts in {against('all_accepted')}. "
        f"There no extra pass is needed in {against('no_extra_pass')}: {100 * gained['mean']:.1f} points "
        f"more, 95 % interval {100 * gained['low']:.1f} to {100 * gained['high']:.1f}."
    )
    return [text, ""]


def _origins(runs: dict[str, Any]) -> list[str]:
    lines = ["Provenance:", ""]
    for run in runs.values():
        origin = run["provenance"]
        machine = origin["machine"]
        device = machine.get("gpu", machine["processor"]) if run["device"] != "cpu" else machine["processor"]
        lines.append(
            f"- `{origin['command']}`, commit {str(origin['commit'])[:12]}, {origin['started']}, {device}, "
            f"{run['threads']} thread(s), {run.get('clock', 'wall clock')}, "
            f"load {run['load_before']} before the start"
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
            for index, (method, label) in enumerate(BARS.items()):
                rows = [run["by_objects"][n]["ratio"][method] for n in counts]
                middle = [row["median"] for row in rows]
                error = [
                    [row["median"] - row["q25"] for row in rows],
                    [row["q75"] - row["median"] for row in rows],
                ]
                where = [i + 0.26 * (index - 1) for i in range(len(counts))]
                colour = ("#b0413e", "#8d99ae", "#2a6f97")[index]
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
