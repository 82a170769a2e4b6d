import pytest

from inspire_vla.errors import InspireError
from inspire_vla.reports import figures, results

RATE = {"rate": 0.5, "low": 0.4, "high": 0.6, "n": 10, "successes": 5}
PAIR = {"difference": 0.1, "low": 0.02, "high": 0.18, "p_value": 0.012, "n": 10}


def comparison(policies=2):
    row = {"rates": [RATE] * policies, "paired": [None] + [PAIR] * (policies - 1)}
    answers = {"n": 1000, "rate": 0.9, "majority_class": 0.4, "per_task_majority": 0.5}
    answers["by_mention"] = [{"n": 600, "correct": 510, "per_task_majority": 0.45}]
    return {
        "policies": [{"name": name} for name in ("base", "InSpire", "truth")[:policies]],
        "groups": [
            {"group": "seen", "suites": ["tabletop_seen"], **row},
            {"group": "unseen", "suites": ["tabletop_goal", "tabletop_object"], **row},
        ],
        "suites": [
            {"suite": s, "group": "seen" if s == "tabletop_seen" else "unseen", **row}
            for s in ("tabletop_seen", "tabletop_goal", "tabletop_object")
        ],
        "answers": [{"seen": None, "unseen": None, "suites": {}}]
        + [{"seen": answers, "unseen": answers, "suites": {"tabletop_goal": answers}}] * (policies - 1),
    }


def test_headline_has_a_row_for_each_suite_and_mean():
    rows = results.headline_table(comparison())
    assert len(rows) == 2 + 1 + 2 + 1
    assert (
        "| **unseen, mean of 2 suites** | 10 | 50.0 [40–60] | 50.0 [40–60] | +10.0 [+2, +18] | p = 0.012 |"
        in rows
    )


def test_variants_are_held_against_the_first():
    rows = results.variants_table(comparison(3), {"truth": "the truth"})
    cell = "50.0 [40–60] | +10.0 [+2, +18], n = 10 | p = 0.012"
    assert rows[2] == "| base | 50.0 [40–60] | – | – | 50.0 [40–60] | – | – | – / – | – / – | – / – |"
    assert rows[4] == f"| the truth | {cell} | {cell} | 90 / 90 | 40 / 40 | 50 / 50 |"


def test_answers_stand_beside_what_needs_no_look():
    assert "| **seen** | 1,000 | 90.0 | 40.0 | 50.0 | 85.0 | 45.0 |" in results.answer_lines(comparison(), 1)


def test_costs_and_what_went_wrong_are_told():
    policy = {"name": "base", "decisions": 1234, "undecodable": 2, "crashed": [{}],
              "timing": {"inference_ms_median": 9.96, "batch_mean": None}}  # fmt: skip
    assert results.cost_lines({"policies": [policy]})[2] == "| base | 1,234 | 10.0 | 0.0 | 2 | 1 |"


def test_figures_are_drawn_and_the_same_each_time(tmp_path):
    curves = [figures.CurvePanel("loss", "steps", [figures.Curve("base", [1, 2], [0.5, 0.2])])]
    for draw in (
        lambda path: figures.success_figure(comparison(), path),
        lambda path: figures.variants_figure(comparison(3), {}, path),
        lambda path: figures.curves_figure(curves, path),
        lambda path: figures.sweep_figure({0.0: comparison(), 1.0: comparison()}, "layout_randomness", path),
    ):
        first, second = tmp_path / "first.svg", tmp_path / "second.svg"
        draw(first)
        draw(second)
        assert first.read_text() == second.read_text()
        assert "</svg>" in first.read_text()


def test_only_what_stands_between_the_markers_is_written(tmp_path):
    document = tmp_path / "results.md"
    document.write_text(f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n")
    results.write_between_markers(document, "new")
    assert document.read_text() == f"before\n{results.BEGIN}\nnew\n{results.END}\nafter\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no markers", "lacks the marker <!-- measured: begin"),
        (results.BEGIN, "lacks the marker <!-- measured: end"),
        (results.END, "lacks the marker <!-- measured: begin"),
        (f"{results.END}\nmine\n{results.BEGIN}\n{results.END}", "has 2 times the marker <!-- measured: end"),
        (f"{results.BEGIN}\n{results.BEGIN}\n{results.END}", "has 2 times the marker <!-- measured: begin"),
        (f"{results.END}\nmine\n{results.BEGIN}\n", "end --> before <!-- measured: begin"),
    ],
)
def test_a_document_without_one_pair_of_markers_is_refused_and_stays(tmp_path, text, message):
    document = tmp_path / "results.md"
    document.write_text(text)
    for call in (
        lambda: results.check_document(document),
        lambda: results.write_between_markers(document, "new"),
    ):
        with pytest.raises(InspireError, match=message):
            call()
    assert document.read_text() == text


def test_a_document_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "results.md").write_bytes(b"\xff\xfe")
    with pytest.raises(InspireError, match="cannot be read as text"):
        results.check_document(tmp_path / "results.md")
