"""Tables of policies on recorded frames, for the terminal and the page (see `evaluation.compare_offline`)."""

from inspire_vla.comparison_format import ActionErrors, Interval, Offline
from inspire_vla.errors import counted, part_of_these
from inspire_vla.reports.table import Cell, Table, at, make_row, make_table, percent, point_interval, points

_HORIZON_COLUMNS = 6


def offline_tables(offline: Offline) -> list[Table]:
    """Return all tables that have something to show."""
    tables = [answers_table(offline), object_table(offline), word_table(offline), error_table(offline)]
    tables += [horizon_table(offline), gripper_table(offline)]
    return [table for table in tables if table.rows]


def answers_table(offline: Offline) -> Table:
    """Accuracy of the answers against the labels, beside both baselines."""
    rows = [
        make_row(
            entry["policy"],
            f"{entry['n']:,}",
            _share(entry, i),
            _difference(entry["difference"]),
            percent(entry["majority_class"]),
            percent(entry["per_task_majority"]),
        )
        for i, entry in enumerate(offline["answers"])
        if entry["n"]
    ]
    columns = ("policy", "n", "accuracy", "difference", "majority class", "per-task majority")
    return make_table(columns, rows, "Answers against the labels [95 % interval over episodes]")


def object_table(offline: Offline) -> Table:
    """Accuracy by object."""
    rows = [
        (
            entry["policy"], row["object"], f"{row['n']:,}", percent(row["rate"]),
            percent(row["majority_class"]), row["majority_answer"] or "–", percent(row["per_task_majority"]),
        )
        for entry in offline["answers"]
        for row in entry["by_object"]
    ]  # fmt: skip
    columns = ("policy", "object", "n", "accuracy", "majority class", "which is", "per-task majority")
    return make_table(columns, rows, "Answers by object", words=2)


def word_table(offline: Offline) -> Table:
    """For each word: recall (answered where it is the label) and precision (the label where it is answered)."""
    rows = [
        (
            entry["policy"], row["word"], f"{row['labelled']:,}",
            _ratio(row["correct"], row["labelled"]),
            f"{row['answered']:,}", _ratio(row["correct"], row["answered"]),
        )
        for entry in offline["answers"]
        for row in entry["by_word"]
    ]  # fmt: skip
    columns = ("policy", "word", "labelled", "recall", "answered", "precision")
    return make_table(columns, rows, "Answers by word", words=2)


def error_table(offline: Offline) -> Table:
    """Mean absolute error of each action dimension, one row each; before them all, relative to the dataset's spread."""
    actions = offline["actions"]
    runs = actions["rows"]
    if not any(row["by_dimension"] for row in runs):
        return make_table(("",), [])
    rows = [
        make_row("all, relative to spread", *(_share(row["relative"], i) for i, row in enumerate(runs)), "")
    ]
    if any(row["difference"] for row in runs):
        rows.append(make_row("difference", *(_difference(row["difference"]) for row in runs), ""))
    for i, (name, spread) in enumerate(zip(actions["names"], actions["spread"], strict=True)):
        errors = (_number(row["by_dimension"][i]) if row["by_dimension"] else "–" for row in runs)
        rows.append(make_row(name, *errors, _number(spread)))
    columns = ("value", *map(_name, runs), "spread")
    title = "Mean absolute error of the actions, in the robot's units; relative: of the standard deviation"
    return make_table(columns, rows, title)


def horizon_table(offline: Offline) -> Table:
    """The relative error by the steps ahead of the decision."""
    actions = offline["actions"]
    horizon = max((len(row["by_horizon"]) for row in actions["rows"]), default=0)
    if horizon < 2:
        return make_table(("",), [])
    count = min(horizon, _HORIZON_COLUMNS)
    steps = sorted({round(i * (horizon - 1) / (count - 1)) for i in range(count)})
    rows = [
        (_name(row), *(percent(at(row["by_horizon"], step), 0) for step in steps)) for row in actions["rows"]
    ]
    columns = ("actions of", *(f"step {step + 1}" for step in steps))
    return make_table(columns, rows, "Error relative to the spread, by the step ahead of the decision")


def gripper_table(offline: Offline) -> Table:
    """Gripper events hit, missed, and made where none was demonstrated."""
    rows = []
    for i, entry in enumerate(offline["gripper"]):
        for kind in ("close", "open"):
            events = entry[kind]
            if not events["demonstrated"] and not events["extra"]:
                continue
            delay = (
                "–" if events["delay_median"] is None else f"{events['delay_median']:+.1f}".replace("-", "−")
            )
            missed = events["demonstrated"] - events["hit"]
            rows.append(
                make_row(
                    entry["policy"], kind, str(events["demonstrated"]), _share(events, i), str(missed),
                    str(events["extra"]), delay,
                )
            )  # fmt: skip
    tolerance = offline["dataset"].get("gripper_tolerance_s", 0)
    columns = ("policy", "gripper", "demonstrated", "hit", "missed", "extra", "delay, frames")
    title = f"Gripper events; hit: at most {tolerance:.2g} s early or late [Wilson's 95 % interval]"
    return make_table(columns, rows, title, words=2)


def offline_warnings(offline: Offline) -> list[str]:
    """Return what a reader must know before believing the numbers."""
    lines = []
    for entry in offline["episodes"]:
        if entry["trained_on"]:
            lines.append(
                f"{entry['policy']} was trained on {part_of_these(entry['trained_on'], entry['n'], 'episode')}: the "
                "result does not show how it does on new ones"
            )
        elif not entry["known"]:
            lines.append(f"{entry['policy']}: whether it was trained on these episodes is not known")
    first = offline["episodes"][0]["policy"]
    for name in offline["other_labels"]:
        lines.append(
            f"{name}: its answers were compared with other labels than those of {first}, so no difference is shown. "
            "Evaluate both on one dataset"
        )
    for name in offline["other_scale"]:
        lines.append(
            f"{name}: its errors are relative to another mean and spread of the actions than those of {first}, so no "
            "difference is shown. They come from the episodes that are not evaluated: evaluate both on the same ones"
        )
    for answers in offline["answers"]:
        if answers["unlabelled"]:
            total = answers["n"] + answers["unlabelled"]
            lines.append(
                f"{answers['policy']}: {answers['unlabelled']:,} of {counted(total, 'answer')} "
                "not scored: without a label, or set by the control"
            )
    return lines


def _name(row: ActionErrors) -> str:
    return f"{row['name']} (baseline)" if row["baseline"] else str(row["name"])


def _share(entry: Interval, policy: int) -> Cell:
    """A share with its interval; the interval is left out where there is one episode alone."""
    if entry["rate"] is None:
        return Cell("–")
    if entry["low"] is None or entry["high"] is None:
        return Cell(f"{100 * entry['rate']:.1f} %", entry["rate"], policy)
    bounds = f"{100 * entry['low']:.1f}–{100 * entry['high']:.1f}"
    return Cell(f"{100 * entry['rate']:.1f} % [{bounds}]", min(1.0, entry["rate"]), policy)


def _difference(pair: Interval | None) -> Cell:
    if pair is None or pair["rate"] is None:
        return Cell("–")
    if pair["low"] is None:
        return Cell(points(pair["rate"]))
    return Cell(f"{points(pair['rate'])} {point_interval(pair, 1)}")


def _ratio(part: int, whole: int) -> str:
    return percent(part / whole if whole else None)


def _number(value: float) -> str:
    return f"{value:.3g}"
