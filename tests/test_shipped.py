"""The checkpoints that `make demo` shows: they load, they fit, and they still do what their cards say."""

from pathlib import Path

import pytest
import yaml
from scipy.stats import binom

import inspire_vla
from inspire_vla.cli import main
from inspire_vla.evaluation import read_run
from inspire_vla.tabletop.suites import SUITES

CHECKPOINTS = Path(inspire_vla.__file__).parent / "checkpoints"
LARGEST = 25 * 2**20
CHANCE = 1e-3
"""How rarely a policy that is as good as its card may fall below the bound."""
ACCURACY_BELOW_CARD = 0.1


def measured(name: str) -> dict:
    """What the card's front matter says."""
    return yaml.safe_load((CHECKPOINTS / name / "README.md").read_text(encoding="utf-8").split("---")[1])[
        "measured"
    ]


@pytest.mark.parametrize("name", ["nano_base", "nano_inspire"])
def test_a_checkpoint_is_small_and_has_a_card(name: str) -> None:
    files = [file for file in (CHECKPOINTS / name).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < LARGEST
    card = (CHECKPOINTS / name / "README.md").read_text(encoding="utf-8")
    for text in ("inspire train", "commit", "seed", "95 %"):
        assert text in card


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["nano_base", "nano_inspire"])
def test_it_still_does_what_its_card_says(name: str, tmp_path: Path) -> None:
    """One episode of every second seen task, from fixed states: well below the card, something broke."""
    card = measured(name)
    tasks = [task.name for task in SUITES["tabletop_seen"][::2]]
    arguments = ["evaluate", f"--policy={name}", "--suite=tabletop_seen", "--episodes=1", "--workers=2"]
    arguments += [f"--layout-randomness={card['layout_randomness']}", f"--out={tmp_path / 'run'}"]
    assert main([*arguments, "--task", *tasks]) == 0
    records = read_run(tmp_path / "run").records
    assert len(records) == len(tasks)
    assert [r.error for r in records if r.error] == []
    assert sum(r.success for r in records) >= binom.ppf(CHANCE, len(tasks), card["seen_success"])
    scored = sum(r.answers_scored for r in records)
    if name == "nano_inspire":
        assert (
            sum(r.answers_correct for r in records) / scored
            >= card["seen_answer_accuracy"] - ACCURACY_BELOW_CARD
        )
    else:
        assert scored == 0
