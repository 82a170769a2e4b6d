import io

from rich.console import Console
from tests.reports import synthetic

from inspire_vla.reports.offline import error_table
from inspire_vla.reports.table import make_row, make_table, p_value, percent, points, short
from inspire_vla.reports.tables import print_comparison


def printed(comparison, **kwargs):
    console = Console(width=80, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    print_comparison(comparison, console=console, **kwargs)
    return console.export_text()


def test_the_table_fits_a_terminal_of_80_columns():
    text = printed(synthetic.comparison())
    assert "…" not in text
    for word in ("seen", "unseen", "spatial", "majority class", "McNemar", "9.6"):
        assert word in text


def test_the_errors_of_many_values_fit_a_terminal_of_80_columns():
    """Two arms of seven joints: each value has a row, so that none is cut off."""
    names = [
        f"{side}_{joint}.pos" for side in ("left", "right") for joint in ("shoulder_pan", *"bcdef", "gripper")
    ]
    runs = [
        {
            "name": name,
            "baseline": False,
            "relative": {"rate": 0.125, "low": 0.1, "high": 0.15},
            "difference": None,
            "by_dimension": [shift + i for i in range(14)],
        }
        for name, shift in (("base", 100), ("inspire", 200))
    ]
    table = error_table({"actions": {"rows": runs, "names": names, "spread": [300 + i for i in range(14)]}})
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table.rich())
    lines = console.export_text().splitlines()
    for i, name in enumerate(names):
        assert any(line.split() == [name, f"{100 + i}", f"{200 + i}", f"{300 + i}"] for line in lines)
    assert any(line.split()[:1] == ["all,"] and line.count("12.5 %") == 2 for line in lines)


def test_a_wide_table_in_a_pipe_loses_no_column(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    comparison = synthetic.comparison()
    wide = make_table(["what", *(f"value{i}" for i in range(20))], [["x", *map(str, range(1000, 1020))]])
    monkeypatch.setattr("inspire_vla.reports.tables.comparison_tables", lambda *_, **__: [wide])
    print_comparison(comparison)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["x"]]
    assert row.split() == ["x", *map(str, range(1000, 1020))]


def test_the_names_of_joints_are_not_cut():
    names = ("shoulder_lift.pos", "left_shoulder_pan.pos", "a name of several words")
    table = make_table(("value", *"abcdef"), [(name, *["111.2 % [95.8–129.7]"] * 6) for name in names])
    console = Console(width=240)
    with console.capture() as shown:
        console.print(table.rich())
    assert "shoulder_lift.pos" in shown.get()
    assert "left_shoulder_pan.pos" in shown.get()
    assert "a name of several words" not in shown.get()


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
    assert "3 of 1,200 actions undecodable" in text


def test_a_control_that_did_not_set_all_answers_is_told():
    comparison = synthetic.comparison()
    assert "its control" not in printed(comparison)
    comparison["policies"][1] |= {"answers_to_override": 40, "answers_overridden": 30}
    assert "its control set 30 of 40 answers (75.0 %)" in " ".join(printed(comparison).split())


def test_what_a_runs_options_changed_of_the_policy_is_told():
    """Else the success of true answers stands in the table under the policy's own name."""
    comparison = synthetic.comparison()
    assert "--control" not in printed(comparison)
    for policy, control, steps in zip(comparison["policies"], ("none", "truth"), (None, 2), strict=True):
        policy["run"]["plan"] = {"control": control, "n_action_steps": steps}
    text = " ".join(printed(comparison).split())
    assert "InSpire: played under --control truth, so this is not the policy by itself" in text
    assert (
        "InSpire: executed 2 of each chunk's actions (--n-action-steps), and base as many as its checkpoint"
        in text
    )
    assert text.count("--control") == 1


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


def test_a_suite_is_never_called_by_a_number_alone():
    assert [short(suite) for suite in ("tabletop_spatial", "libero_goal", "toy")] == [
        "spatial",
        "goal",
        "toy",
    ]
    assert [short(suite) for suite in ("libero_10", "libero_90_heldout")] == [
        "libero_10",
        "libero_90_heldout",
    ]


def test_markdown_has_the_rows_of_the_terminal():
    table = make_table(("suite", "n"), [("goal", "10"), make_row("unseen", "40", strong=True)])
    assert table.markdown() == ["| suite | n |", "|---|---|", "| goal | 10 |", "| **unseen** | 40 |"]
