"""The GPU's section of docs/performance.md, from the numbers that gpu.py has written. Needs no torch."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "performance" / "gpu.json"
DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- gpu: begin -->", "<!-- gpu: end -->"
NOT_MEASURED = "On a GPU: *not measured*."
WAYS = ("per_question", "cached", "no_extra_pass", "extra_pass")
GRAPHS = {"decision": "no", "cuda_graphs": "yes"}


def read(path: Path) -> dict[str, Any] | None:
    """The results; None without a file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write(results: Path, document: Path = DOCUMENT) -> None:
    """Put the section between the document's markers."""
    text = document.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    document.write_text(f"{before}{BEGIN}\n{section(read(results))}\n{END}{after}", encoding="utf-8")


def section(results: dict[str, Any] | None) -> str:
    """Markdown of the results; one line without any."""
    entries = {} if results is None else results["entries"]
    decisions = [row for name in entries for row in _decision_rows(name, entries[name])]
    if results is None or not decisions:
        return NOT_MEASURED
    origin = results["origin"]
    machine, versions = origin["machine"], origin["versions"]
    lines = [
        "| model | objects | graphs | base, ms | paper's way | one cache | drafts accepted | one rejected | n | GiB |",
        "|" + "---|" * 10,
        *decisions,
        "",
        f"Multiples of the base model's time: medians and [quartiles] of n observations, {origin['dtype']}, batch 1.",
    ]
    training = [row for name in entries for row in _training_rows(name, entries[name])]
    if training:
        lines += [
            "",
            "| training step with LoRA | batch | base, ms | InSpire, ms | ratio | pairs | GiB |",
            "|" + "---|" * 7,
            *training,
        ]
    missing = [
        f"{name} ({entry.get('skipped') or entry.get('failed')})"
        for name, entry in sorted(entries.items())
        if "skipped" in entry or "failed" in entry
    ]
    if missing:
        lines += ["", f"Not measured: {'; '.join(missing)}."]
    installed = ", ".join(f"{name} {number}" for name, number in versions.items())
    device = machine.get("gpu", machine["device"])
    lines += [
        "",
        f"`{origin['command']}`, commit {origin['commit'][:12]}, {origin['started']}, {device}, {installed}.",
    ]
    return "\n".join(lines)


def _decision_rows(name: str, entry: dict[str, Any]) -> list[str]:
    kind = name.partition("/")[2]
    if kind not in GRAPHS or "summary" not in entry:
        return []
    lines = []
    for objects, row in entry["summary"]["by_objects"].items():
        ratios = [_ratio(row["ratio"].get(way)) for way in WAYS]
        base = f"{row['ms']['base']['median']:.1f}"
        cells = [entry["title"], objects, GRAPHS[kind], base, *ratios, str(row["steps"]), _gib(entry)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _training_rows(name: str, entry: dict[str, Any]) -> list[str]:
    if not name.endswith("/training") or "ratio" not in entry:
        return []
    times = [f"{entry['ms'][way]['median']:.1f}" for way in ("base", "inspire")]
    cells = [entry["title"], str(entry["batch_size"]), *times, _ratio(entry["ratio"])]
    return [f"| {' | '.join([*cells, str(len(entry['pairs'])), _gib(entry)])} |"]


def _ratio(ratio: dict[str, float] | None) -> str:
    return f"{ratio['median']:.2f} [{ratio['q25']:.2f}, {ratio['q75']:.2f}]" if ratio else "–"


def _gib(entry: dict[str, Any]) -> str:
    return "–" if entry["memory_gib"] is None else f"{entry['memory_gib']:.1f}"
