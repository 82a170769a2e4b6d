"""`tabletop_seen` has the kinds of instruction of LIBERO-90, in about the same shares."""

import importlib.util
from pathlib import Path

import pytest

from inspire_vla.libero.installation import LiberoMissing
from inspire_vla.libero.tasks import instruction_of, task_files
from inspire_vla.tabletop.suites import SUITES

_FILE = Path(__file__).parents[2] / "benchmarks" / "instruction_kinds.py"
_SPEC = importlib.util.spec_from_file_location("instruction_kinds", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
kinds = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(kinds)

LIBERO_90 = {
    "open, close or turn on": 11, "by place": 20, "by part": 10, "by relation": 0, "two steps": 10,
    "relative placement": 9, "plain": 35,
}  # fmt: skip
"""Instructions of each kind among the 90, as counted in LIBERO's task files."""


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("put the white mug on the plate", "plain"),
        ("pick up the ketchup and put it in the basket", "plain"),
        ("turn on the stove", "open, close or turn on"),
        ("open the bottom drawer of the cabinet", "open, close or turn on"),
        ("put the right moka pot on the stove", "by place"),
        ("pick up the book on the left and place it on top of the shelf", "by place"),
        ("pick up the book and place it in the left compartment of the caddy", "by part"),
        ("pick up the black bowl next to the ramekin and place it on the plate", "by relation"),
        ("pick up the black bowl on the cookie box and place it on the plate", "by relation"),
        ("put the white bowl to the right of the plate", "relative placement"),
        ("pick up the red mug and place it to the right of the caddy", "relative placement"),
        ("put the cyan cube behind the black plate", "relative placement"),
        ("turn on the stove and put the frying pan on it", "two steps"),
        ("put both the alphabet soup and the tomato sauce in the basket", "two steps"),
        ("put the butter at the back in the top drawer of the cabinet and close it", "by place, two steps"),
        ("put the mug on the plate and put the pudding to the right of the plate", "two steps, relative placement"),
    ],
)  # fmt: skip
def test_kinds_are_told_by_the_words(instruction, expected):
    assert ", ".join(kinds.kinds_of(instruction)) == expected


def test_the_seen_suite_has_about_the_shares_of_libero_90():
    seen = kinds.shares(task.instruction for task in SUITES["tabletop_seen"])
    libero = {kind: count / 90 for kind, count in LIBERO_90.items()}
    for kind in ("open, close or turn on", "two steps", "relative placement", "plain"):
        assert abs(seen[kind] - libero[kind]) < 0.06, kind
    # the tabletop has no object with compartments: equal objects told by place stand for both kinds
    assert abs(seen["by place"] - libero["by place"] - libero["by part"]) < 0.08
    assert 0.05 < seen["by relation"] < 0.15  # none in LIBERO-90, but its spatial suite asks for them


def test_the_counts_are_those_of_the_task_files():
    try:
        instructions = [instruction_of(path) for path in task_files("libero_90")]
    except LiberoMissing:
        pytest.skip("LIBERO is not installed")
    assert len(instructions) == 90
    counts = {kind: round(90 * share) for kind, share in kinds.shares(instructions).items()}
    assert counts == LIBERO_90
