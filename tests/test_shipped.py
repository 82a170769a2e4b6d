"""The checkpoints that `make demo` shows: they load, they fit, and they still do what their cards say."""

from pathlib import Path

import pytest

import inspire_vla
from inspire_vla.cli import main
from inspire_vla.evaluation import read_run

CHECKPOINTS = Path(inspire_vla.__file__).parent / "checkpoints"
LARGEST = 25 * 2**20
LEAST_SEEN = (
    14  # of 27: the cards say far more, and chance alone falls below this less than once in a thousand
)
LEAST_ACCURACY = 0.6  # the card: 0.73; the majority guess: 0.38


@pytest.mark.parametrize("name", ["nano_base", "nano_inspire"])
def test_a_checkpoint_is_small_and_has_a_card(name: str) -> None:
    files = [file for file in (CHECKPOINTS / name).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < LARGEST
    card = (CHECKPOINTS / name / "README.md").read_text(encoding="utf-8")
    for said in ("inspire train", "commit", "seed", "95 %"):
        assert said in card


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["nano_base", "nano_inspire"])
def test_it_still_does_what_its_card_says(name: str, tmp_path: Path) -> None:
    """One episode of each seen task, from fixed states: well below the card means that something broke."""
    arguments = [
        "evaluate",
        "--policy",
        name,
        "--suite",
        "tabletop_seen",
        "--episodes",
        "1",
        "--workers",
        "2",
    ]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    records = read_run(tmp_path / "run").records
    assert len(records) == 27
    assert [r.error for r in records if r.error] == []
    assert sum(r.success for r in records) >= LEAST_SEEN
    asked = sum(r.answers_asked for r in records)
    if name == "nano_inspire":
        assert sum(r.answers_correct for r in records) / asked >= LEAST_ACCURACY
    else:
        assert asked == 0
