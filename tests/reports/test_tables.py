from rich.console import Console
from tests.reports import synthetic

from inspire_vla.reports.tables import make_row, make_table, p_value, percent, points, print_comparison


def printed(comparison, **kwargs):
    console = Console(width=80, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    print_comparison(comparison, console=console, **kwargs)
    return console.export_text()


def test_the_table_fits_a_terminal_of_80_columns():
    text = printed(synthetic.comparison())
    assert "…" not in text
    for word in ("seen", "unseen", "spatial", "majority class", "McNemar", "9.6"):
        assert word in text


def test_tasks_on_request():
    comparison = synthetic.comparison()
    assert "top drawer" not in printed(comparison)
    assert "top drawer" in printed(comparison, tasks=True).replace("\n", " ")


def test_goals_of_two_step_tasks_are_shown_where_there_are_some():
    comparison = synthetic.comparison()
    assert "several goals" not in printed(comparison)
    counts = {
        "n": 8,
        "none": 1,
        "some_with_first": 0,
        "some_without_first": 4,
        "one_after_another": 1,
        "at_once": 2,
    }
    comparison["goals"] = [{"suite": "tabletop_long", "policy": "base", **counts}]
    shown = printed(comparison)
    for words in ("several goals", "long", "12.5", "50.0", "25.0"):
        assert words in shown


def test_warnings_are_shown():
    comparison = synthetic.comparison()
    comparison["policies"][0]["crashed"] = [
        {"suite": "s", "task": "t", "seed": 1, "error": "[bold]x", "traceback": ""}
    ]
    comparison["policies"][1]["undecodable"] = 3
    text = printed(comparison)
    assert "1 of 120 episodes crashed" in text
    assert "[bold]x" in text
    assert "3 of 1200 actions undecodable" in text


def test_a_control_that_did_not_set_all_answers_is_told():
    comparison = synthetic.comparison()
    assert "its control" not in printed(comparison)
    comparison["policies"][1] |= {"answers_to_override": 40, "answers_overridden": 30}
    assert "its control set 30 of 40 answers (75.0 %)" in " ".join(printed(comparison).split())


def test_pairs_that_are_none_are_told():
    comparison = synthetic.comparison()
    comparison["differing_conditions"] = [
        {"policy": "InSpire", "differing": {"layout_randomness": (0.0, 0.25)}}
    ]
    assert "layout_randomness 0.0 and 0.25" in " ".join(printed(comparison).split())


def test_numbers():
    assert percent(0.125) == "12.5 %"
    assert percent(None) == "–"
    assert points(-0.025) == "−2.5"
    assert points(0.1, 0) == "+10"
    assert (p_value(1e-6), p_value(0.0321), p_value(0.5)) == ("p < 0.001", "p = 0.032", "p = 0.50")


def test_markdown_has_the_rows_of_the_terminal():
    table = make_table(("suite", "n"), [("goal", "10"), make_row("unseen", "40", strong=True)])
    assert table.markdown() == ["| suite | n |", "|---|---|", "| goal | 10 |", "| **unseen** | 40 |"]
