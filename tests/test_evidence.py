"""The pages of results say what evidence/ holds: each number between their markers comes anew from the episodes."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inspire_vla.cli import main
from inspire_vla.evaluation import read_run
from inspire_vla.evaluation.records import EpisodeKey
from inspire_vla.evaluation.statistics import (
    Estimate,
    PairCounts,
    average,
    crossed_bootstrap,
    paired_difference,
    ratio_over_episodes,
    wilson,
)
from inspire_vla.experiment import read_preset
from inspire_vla.reports.results import BEGIN, END

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "appendix" / "results_27_tasks.md"
KEPT = ROOT / "evidence" / "laptop_27_tasks"
NAME = "laptop_27_tasks"
PRESET = f"--preset={NAME}"
PAGES = {  # preset: its evidence, its page
    NAME: (KEPT, PAGE),
    "laptop": (ROOT / "evidence" / "laptop", ROOT / "docs" / "results.md"),
    "flow": (ROOT / "evidence" / "flow", ROOT / "docs" / "appendix" / "flow.md"),
    "libero_small": (ROOT / "evidence" / "libero_small", ROOT / "docs" / "appendix" / "libero_small.md"),
    "libero_small_pretrained": (
        ROOT / "evidence" / "libero_small_pretrained",
        ROOT / "docs" / "appendix" / "libero_small_pretrained.md",
    ),
}
_SEEN = (r"no grasp in (\d+)", r"empty grasps in (\d+)")


def measured(document: Path) -> str:
    return document.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]


@pytest.fixture
def copy(tmp_path: Path) -> tuple[Path, Path]:
    """The evidence and the page, to write into."""
    shutil.copytree(KEPT, tmp_path / "laptop")
    page = shutil.copy(PAGE, tmp_path)
    return tmp_path / "laptop", Path(page)


@pytest.mark.parametrize("preset", PAGES)
def test_the_page_is_written_from_the_evidence_without_running_anything(preset: str, tmp_path: Path) -> None:
    kept, published = PAGES[preset]
    evidence = shutil.copytree(kept, tmp_path / "evidence")
    page = Path(shutil.copy(published, tmp_path))
    before, journal = page.read_text(encoding="utf-8"), (evidence / "journal.jsonl").read_bytes()
    arguments = [f"--preset={preset}", "--results-only", f"--out={evidence}", f"--docs={page}"]
    assert main(["reproduce", *arguments]) == 0
    assert page.read_text(encoding="utf-8") == before
    assert (evidence / "journal.jsonl").read_bytes() == journal


def test_the_evidence_itself_is_not_gone_on_with(
    copy: tuple[Path, Path], capsys: pytest.CaptureFixture
) -> None:
    evidence, _ = copy
    (evidence / "policies" / "base_r0.25_s0" / "finished").unlink()
    assert main(["reproduce", PRESET, f"--out={evidence}"]) != 0
    assert "--results-only" in capsys.readouterr().err
    assert not list((evidence / "policies").rglob("*.safetensors"))


@pytest.mark.parametrize("resumed", [False, True])
def test_a_policy_names_the_commits_since_its_training_began(copy: tuple[Path, Path], resumed: bool) -> None:
    evidence, page = copy
    preset = read_preset(NAME)
    journal = evidence / "journal.jsonl"
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    stage = f"train {preset.policy('base', seed=preset.seeds[0])}"
    line = {"stage": stage, "command": ["inspire", "train"], "outcome": "interrupted", "seconds": 1.0}
    if resumed:
        line["command"] += ["--resume"]
        lines = [*lines, json.dumps(line | {"commit": "deadbeef"}) + "\n"]
    else:  # and was started from nothing afterwards
        lines = [json.dumps(line | {"commit": "deadbeef"}) + "\n", *lines]
    journal.write_text("".join(lines), encoding="utf-8")
    assert main(["reproduce", PRESET, "--results-only", f"--out={evidence}", f"--docs={page}"]) == 0
    trained = next(line for line in measured(page).splitlines() if line.startswith("base: training seed"))
    assert ("deadbeef" in trained) is resumed


def test_an_episode_more_or_less_changes_the_page(copy: tuple[Path, Path]) -> None:
    evidence, page = copy
    before = measured(page)
    seed = read_preset(NAME).seeds[0]
    episodes = evidence / "runs" / f"inspire_r0.25_s{seed}_seen" / "episodes.jsonl"
    flipped = episodes.read_text(encoding="utf-8").replace('"success":true', '"success":false', 1)
    episodes.write_text(flipped, encoding="utf-8")
    assert main(["reproduce", PRESET, "--results-only", f"--out={evidence}", f"--docs={page}"]) == 0
    assert measured(page) != before


def test_the_counts_of_the_analysis_are_those_of_the_script() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "failure_analysis.py"), str(KEPT)]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    page = (ROOT / "docs" / "appendix" / "analysis.md").read_text(encoding="utf-8")
    base, inspire = printed.split("inspire\n")
    never, again = ([re.search(word, kind)[1] for kind in (base, inspire)] for word in _SEEN)
    picking = [re.search(r"(\d+) of them on", kind)[1] for kind in (base, inspire)]
    grasped, total, released = re.search(
        r"long: a grasp in (\d+) of (\d+), a release in (\d+)", inspire
    ).groups()
    for count, n in ((never[0], picking[0]), (never[1], picking[1]), (grasped, total)):
        assert re.search(rf"\b{count} (\w+ )*of {n}\b|\b{count} of {n}\b", page), (count, n)
    for count in (*again, released):
        assert re.search(rf"\b{count}\b", page), count


def test_the_order_of_steps_is_counted_as_the_page_says() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "order_of_steps.py")]
    folders = [str(ROOT / "evidence" / name) for name in ("laptop", "long_reversed")]
    printed = subprocess.run(
        [*command, *folders], capture_output=True, text=True, check=True, encoding="utf-8"
    ).stdout
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    reached = re.findall(r"reached in ([\d.]+) %", printed)
    section = page[page.index("## Which step of two") :]
    rows = re.findall(r"^\| the [^|]+\| (?:last|first) \| ([\d.]+) \S+ \| ([\d.]+)", section, re.MULTILINE)
    assert [base for base, _ in rows[:4]] + [inspire for _, inspire in rows[:4]] == reached


def test_the_tables_of_arms_are_written_by_the_commands_beside_them() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    python (scripts/arms_table\.py .+)$", page, re.MULTILINE)
    assert commands
    for command in commands:
        written = subprocess.run(
            [sys.executable, *shlex.split(command)],
            capture_output=True, text=True, check=True, encoding="utf-8", cwd=ROOT,
        ).stdout  # fmt: skip
        assert written.strip() in page, command
    assert len(set(commands)) == len(re.findall(r"^\| suite \| pairs \|.+ against ", page, re.MULTILINE))


def test_the_grasps_on_unseen_tasks_are_counted_as_the_page_says() -> None:
    page = (ROOT / "docs" / "appendix" / "flow.md").read_text(encoding="utf-8")
    section = page[page.index("## What the flow base has") : page.index("## A smaller weight")]
    rows = re.findall(r"^\| \*(\w+)\* \| ([^\n]+) \|$", section, re.MULTILINE)
    assert len(rows) == 4
    for suite, row in rows:
        columns = [(name, kind) for name in ("laptop", "flow") for kind in ("base", "inspire")]
        for (name, kind), cell in zip(columns, row.split(" | "), strict=True):
            preset = read_preset(name)
            runs = (f"{preset.policy(kind, seed=seed)}_unseen" for seed in preset.seeds)
            records = [r for run in runs for r in read_run(ROOT / "evidence" / name / "runs" / run).records]
            grasped = [
                "holding" in dict(map(reversed, r.gripper)) for r in records if r.suite == f"tabletop_{suite}"
            ]
            rate = wilson(sum(grasped), len(grasped))
            assert cell == f"{100 * rate.value:.1f} [{100 * rate.low:.0f}–{100 * rate.high:.0f}]", (
                suite,
                name,
                kind,
            )


ONE_STEP = ROOT / "evidence" / "one_step_at_a_time"


@pytest.mark.parametrize(
    ("row", "head", "model"),
    [
        ("base", "tokens", "base"),
        ("InSpire", "tokens", "inspire"),
        ("base, flow expert", "flow", "base"),
        ("InSpire, flow expert", "flow", "inspire"),
    ],
)
def test_what_one_step_at_a_time_reaches_is_counted_as_the_page_says(row: str, head: str, model: str) -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    section = page[page.index("## One step at a time") : page.index("## What it does not mean")]
    (cells,) = re.findall(rf"^\| {row} \| ([^\n]+) \|$", section, re.MULTILINE)
    experiment = {"tokens": "laptop", "flow": "flow"}[head]
    runs = [
        ROOT / "evidence" / experiment / "runs" / f"{model}_r0.25_s0_unseen",
        *(ONE_STEP / f"{head}_{model}_{rule}" for rule in ("gripper", "answers", "truth")),
    ]
    for run, cell in zip(runs, cells.split(" | "), strict=True):
        if not run.exists():
            assert cell in ("–", "not run")
            continue
        solved = [record.success for record in read_run(run).records if record.suite == "tabletop_long"]
        rate = wilson(sum(solved), len(solved))
        assert len(solved) == 120
        assert cell == f"{100 * rate.value:.1f} [{100 * rate.low:.0f}–{100 * rate.high:.0f}]"


@pytest.mark.parametrize(
    ("head", "words"), [("tokens", r"gripper's rule\*\*: "), ("flow", "the difference is ")]
)
def test_the_gain_by_the_answers_is_counted_as_the_page_says(head: str, words: str) -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    base, inspire = (
        {record.key: bool(record.success) for record in read_run(ONE_STEP / f"{head}_{name}").records}
        for name in ("base_gripper", "inspire_answers")
    )
    gain = paired_difference(PairCounts.count([(base[key], inspire[key]) for key in base]))
    sign = "+" if gain.value >= 0 else "−"
    low, high = (f"{'+' if x >= 0 else '−'}{abs(100 * x):.0f}" for x in (gain.low, gain.high))
    assert re.search(
        rf"{words}{re.escape(sign)}{abs(100 * gain.value):.1f} (points )?\[{re.escape(low)}, {re.escape(high)}\]",
        page,
    )


def test_a_smaller_weight_of_the_answers_does_what_the_page_says() -> None:
    page = (ROOT / "docs" / "appendix" / "flow.md").read_text(encoding="utf-8")
    runs = ROOT / "evidence" / "flow" / "runs"
    base, light = (
        {(s, *r.key): r for s in (0, 1) for r in read_run(runs / f"{name}_r0.25_s{s}_unseen").records}
        for name in ("base", "light_answers")
    )
    assert base.keys() == light.keys()
    assert len(light) == 1104
    gains = []
    for suite in ("goal", "object", "spatial", "long"):
        keys = [key for key, record in light.items() if record.suite == f"tabletop_{suite}"]
        pairs = PairCounts.count([(bool(base[key].success), bool(light[key].success)) for key in keys])
        gains.append(paired_difference(pairs))
        rate = f"{100 * pairs.second / pairs.n:.1f}"
        row = rf"^\| unseen \*{suite}\* \| {len(keys)} \|.*\| {rate} \[[^|]*\| {_points(gains[-1])} \|$"
        assert re.search(row, page, re.MULTILINE)
    assert re.search(rf"\| 1,104 \|.*\| {_points(average(gains))} \|$", page, re.MULTILINE)


@pytest.mark.parametrize(
    ("first", "end", "names"),
    [
        ("## With insulation", "## With the dialogue hidden", ("base_insulated", "insulated", "inspire")),
        ("## With the dialogue hidden", "## What it does not mean", ("inspire", "dialogue_hidden")),
    ],
)
def test_the_arms_of_the_flow_expert_do_what_the_page_says(
    first: str, end: str, names: tuple[str, ...]
) -> None:
    page = (ROOT / "docs" / "appendix" / "flow.md").read_text(encoding="utf-8")
    section = page[page.index(first) : page.index(end)]
    runs = ROOT / "evidence" / "flow" / "runs"
    for group, suites in {"seen": ("seen",), "unseen": ("goal", "object", "spatial", "long")}.items():
        played = [{r.key: r for r in read_run(runs / f"{name}_r0.25_s0_{group}").records} for name in names]
        for suite in suites:
            keys = [key for key, record in played[0].items() if record.suite == f"tabletop_{suite}"]
            solved = [[bool(records[key].success) for key in keys] for records in played]
            rates = [wilson(sum(each), len(each)) for each in solved]
            cells = [re.escape(f"{100 * r.value:.1f} [{100 * r.low:.0f}–{100 * r.high:.0f}]") for r in rates]
            cells.insert(2, _points(paired_difference(PairCounts.count(list(zip(*solved[:2], strict=True))))))
            row = rf"^\| (unseen \*)?{suite}\*? \| {len(keys)} \| {r' \| '.join(cells)} \|$"
            assert re.search(row, section, re.MULTILINE), suite


def test_the_gain_with_a_smaller_weight_over_tasks_and_seeds_is_that_of_the_page() -> None:
    runs, suites = ROOT / "evidence" / "flow" / "runs", []
    solved = {
        (name, seed): {
            r.key: bool(r.success) for r in read_run(runs / f"{name}_r0.25_s{seed}_unseen").records
        }
        for name in ("base", "light_answers")
        for seed in (0, 1)
    }
    for suite in ("goal", "object", "spatial", "long"):
        keys = [key for key in solved["base", 0] if key[0] == f"tabletop_{suite}"]
        tasks = sorted({key[1] for key in keys})
        gains = [
            [
                np.mean(
                    [solved["light_answers", seed][k] - solved["base", seed][k] for k in keys if k[1] == task]
                )
                for task in tasks
            ]
            for seed in (0, 1)
        ]
        suites.append(np.array(gains))
    gain = crossed_bootstrap(suites)
    assert (f"{100 * gain.value:.1f}", f"{100 * gain.low:.0f}", f"{100 * gain.high:.0f}") == (
        "5.9",
        "-1",
        "13",
    )
    page = (ROOT / "docs" / "appendix" / "flow.md").read_text(encoding="utf-8")
    assert page.count("it is between −1 and +13 points") == 2


def _points(gain: Estimate) -> str:
    value = f"{'+' if gain.value >= 0 else '−'}{abs(100 * gain.value):.1f}"
    low, high = (f"{'+' if x >= 0 else '−'}{abs(100 * x):.0f}" for x in (gain.low, gain.high))
    return re.escape(f"{value} [{low}, {high}]")


def test_what_policies_do_when_another_task_is_asked_for_is_counted_as_the_page_says() -> None:
    """Success: the task was done that the policy knew from this scene, although another one was asked for."""
    page = (ROOT / "docs" / "appendix" / "libero_small.md").read_text(encoding="utf-8")
    for policy, name in (("base", "base_s0"), ("InSpire", "inspire_s0")):
        other_instruction = read_run(ROOT / "evidence" / "libero_other_instruction" / name).records
        seen = read_run(ROOT / "evidence" / "libero_small" / "runs" / f"{name}_seen").records
        successes = {(record.task, record.seed): record.success for record in seen}
        assert len(other_instruction) == 40
        rates = [
            sum(r.success for r in other_instruction) / 40,
            sum(successes[r.task, r.seed] for r in other_instruction) / 40,
        ]
        other, trained = (f"{100 * rate:.1f}" for rate in rates)
        assert re.search(
            rf"^\| {policy} \| {other} \[[\d–]+\] \| {trained} \[[\d–]+\] \|$", page, re.MULTILINE
        )


@pytest.mark.parametrize("preset", ["libero_small", "libero_small_pretrained"])
@pytest.mark.parametrize(("group", "episodes"), [("held-out", 140), ("seen", 100)])
def test_how_often_the_named_object_is_held_is_counted_as_the_page_says(
    preset: str, group: str, episodes: int
) -> None:
    evidence, page = PAGES[preset]
    records = read_run(evidence / "runs" / f"inspire_s0_{group}").records
    held = sum("grasped" in record.confusion_by_mention[0] for record in records)
    assert len(records) == episodes
    assert f"{held} of {episodes}" in page.read_text(encoding="utf-8")


CABINET = {  # where it was never asked about in training, and where it was: group, task
    "unasked": ("held-out", "KITCHEN_SCENE1_put_the_black_bowl_on_top_of_the_cabinet"),
    "asked": ("seen", "KITCHEN_SCENE2_put_the_middle_black_bowl_on_top_of_the_cabinet"),
}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("unasked", "Of its {n:,} answers about the cabinet {value:.1f} % are right [{low:.0f}–{high:.0f}]."),
        ("asked", "where it was asked in training, {value:.1f} % of {n:,} are [{low:.0f}–{high:.0f}]."),
    ],
)
def test_where_the_cabinet_is_it_answers_as_the_page_says(name: str, sentence: str) -> None:
    evidence, page = PAGES["libero_small_pretrained"]
    group, task = CABINET[name]
    records = read_run(evidence / "runs" / f"inspire_s0_{group}").records
    of_cabinet = [record.confusion_by_mention[1] for record in records if record.task == task]
    correct = np.array([sum(row.get(truth, 0) for truth, row in c.items()) for c in of_cabinet])
    answers = np.array([sum(sum(row.values()) for row in c.values()) for c in of_cabinet])
    accuracy = ratio_over_episodes(correct, answers)
    low, value, high = (100 * x for x in (accuracy.low, accuracy.value, accuracy.high))
    written = sentence.format(n=answers.sum(), value=value, low=low, high=high)
    assert written in page.read_text(encoding="utf-8")
    right = sum(sum(c.get("right", {}).values()) for c in of_cabinet)
    assert right > 0.85 * answers.sum()  # "in both kitchens the cabinet is on the right most of the time"


def test_the_gap_on_held_out_tasks_is_one_task_and_true_answers_do_not_close_it() -> None:
    evidence, page = PAGES["libero_small_pretrained"]
    text = page.read_text(encoding="utf-8")

    def solved(name: str, group: str = "held-out") -> dict[EpisodeKey, bool]:
        return {r.key: bool(r.success) for r in read_run(evidence / "runs" / f"{name}_{group}").records}

    base, inspire, truth = map(solved, ("base_s0", "inspire_s0", "inspire_s0_truth"))
    task = CABINET["unasked"][1]
    of_task, others = (
        [
            sum(success for key, success in each.items() if (key[1] == task) is same)
            for each in (base, inspire)
        ]
        for same in (True, False)
    )
    assert f"in {of_task[0]} of 20 episodes, and InSpire in {of_task[1]}." in text
    assert f"base solves {others[0]} of 120 episodes, InSpire none." in text
    assert others[1] == 0
    of_truth = [sum(each[key] for key in truth) for each in (truth, inspire, base)]
    assert "solves {} of 35 held-out episodes, with its own {}. Base solves {} from".format(*of_truth) in text
    seen = {name: solved(name, "seen") for name in ("inspire_s0_truth", "inspire_s0", "inspire_s0_random")}
    true, own, random = (sum(each[key] for key in seen["inspire_s0_truth"]) for each in seen.values())
    assert f"solves {own} with its own answers, {true} with true ones, and {random} with random ones." in text


def test_the_pilot_of_libero_passed_its_gate_as_the_protocol_says() -> None:
    """And the pre-training that it starts from examined itself with the numbers of the page."""
    page = (ROOT / "docs" / "appendix" / "libero_protocol.md").read_text(encoding="utf-8")
    pilot = ROOT / "evidence" / "libero_pilot"
    records = read_run(pilot / "base_frozen_s0").records
    solved = sum(bool(record.success) for record in records)
    assert len(records) == len({(record.task, record.seed) for record in records}) == 100
    assert f"It solved {solved} of the 100 episodes, {wilson(solved, 100)}." in page
    examined = json.loads((pilot / "grounding" / "evaluation.json").read_text(encoding="utf-8"))
    for what in ("pointing", "recognition"):
        n = examined[f"{what}_n"]
        assert f"{wilson(round(n * examined[f'{what}_accuracy']), n)} (n = {n:,} " in page
