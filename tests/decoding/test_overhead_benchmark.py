"""The benchmark runs, its baseline says what we say, and its report has a row for everything."""

import importlib
import json
import sys
from importlib.resources import files
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("reasoning_overhead")
    for name in [n for n in sys.modules if n.partition(".")[0] in ("reasoning_overhead", "overhead")]:
        sys.modules.pop(name)


def test_all_ways_agree_and_are_reported(
    benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "rows" / "tiny.jsonl"
    tiny = {"size": importlib.import_module("overhead.real_sizes").TINY["minivla"], "kept": kept}
    benchmark.measure_real_size("tiny", 1, [1], **tiny)
    capsys.readouterr()
    result = benchmark.measure_real_size("tiny", 2, [1, 3], **tiny)
    assert capsys.readouterr().out.count('"repeat"') == 3  # one of the four was there
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert {row["wrong"]["passes"] for row in rows} == {8}  # one more than the base model's
    assert len(kept.read_text().splitlines()) == result["all"]["steps"] == 4
    assert result["all"]["outputs_differ"] == 0
    for count, row in result["by_objects"].items():
        passes = row["passes"]
        assert passes["speculative"] == passes["base"] == 7
        assert row["ratio"]["no_extra_pass"] == row["ratio"]["speculative"]  # all drafts were accepted
        assert passes["cached"] == passes["per_question"] == 7 + int(count)

    origin = {"command": "x", "commit": "c", "started": "s", "machine": {"processor": "p"}}
    result |= {"device": "cpu", "threads": 1, "load_before": 0.0, "provenance": origin}
    results = tmp_path / "out" / "results.json"
    results.parent.mkdir()
    results.write_text(json.dumps({"tiny": result}))
    document = tmp_path / "performance.md"
    report = benchmark.report
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(results, document)
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    (one, three) = [
        line for line in text.splitlines() if line.startswith("| MiniVLA (Qwen2.5-0.5B, two towers), cpu |")
    ]
    assert three.endswith("| – | 7 / 10 / 10 / 7 |")
    assert one.endswith("| 7 / 8 / 8 / 7 |")
    assert "out/results.svg" in text
    assert (tmp_path / "out" / "results.svg").stat().st_size > 1000


def test_the_memory_of_a_process_that_decides_does_not_grow(benchmark) -> None:
    """A hundredth of what `memory` runs; docs/performance.md has the whole."""
    checkpoint = files("inspire_vla") / "checkpoints" / "nano_inspire"
    result = benchmark.measure_memory(str(checkpoint), 100)
    assert list(result["resident_mib"]) == list(range(10, 101, 10))
    assert result["growth_mib_after_the_first_tenth"] < 8


def test_a_history_is_learned_and_the_last_answers_are_the_fallback(benchmark) -> None:
    answers = [("left", "down"), ("left", "down"), ("down", "right"), ("grasped", "right")]
    table = benchmark.history_drafts.HistoryTable([answers] * benchmark.history_drafts.MIN_EXAMPLES)
    assert [table(answers[:step]) for step in (1, 2, 3)] == answers[1:]
    assert table(answers) == answers[-1]  # no example continues from here
    assert table([("up", "up")]) == ("up", "up")
    rare = benchmark.history_drafts.HistoryTable([answers] * (benchmark.history_drafts.MIN_EXAMPLES - 1))
    assert rare(answers[:2]) == ("left", "down")


def test_a_history_depends_on_the_answers_before(benchmark) -> None:
    come = [("left",), ("down",), ("grasped",)]
    gone = [("right",), ("down",), ("right",)]
    table = benchmark.history_drafts.HistoryTable([come] * 6 + [gone] * 7)
    assert table(come[:2]) == ("grasped",)
    assert table(gone[:2]) == ("right",)
    assert table([("down",)]) == ("right",)  # nothing before: what comes most often after "down"
