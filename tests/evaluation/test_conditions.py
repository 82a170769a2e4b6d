from pathlib import Path

import pytest

from inspire_vla.evaluation import EpisodeRecord, Run, compare
from inspire_vla.evaluation.conditions import conditions_of, differing


def run(name, **plan):
    return Run(
        Path(name), {"policy": {"name": name}, "plan": plan}, (EpisodeRecord("s", "t", "t", 0, 0, True, 1),)
    )


CALM = {"conditions": {"layout_randomness": 0.0}, "max_steps": None}


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (CALM, {}),
        ({"conditions": {"layout_randomness": 0.25}}, {"layout_randomness": (0.0, 0.25)}),
        ({"policy": {"layout_randomness": 0.25}}, {"layout_randomness": (0.0, 0.25)}),  # a run of before
        ({"max_steps": 100}, {"max_steps": (None, 100)}),
        ({"conditions": {"split": "D"}}, {}),  # not known of the first
        ({}, {}),
    ],
)
def test_only_what_both_are_known_to_differ_in(other, found):
    first, second = run("base", **CALM), run("InSpire", **other)
    assert differing(first, second) == found
    assert differing(second, first) == {name: (b, a) for name, (a, b) in found.items()}
    told = compare([first, second])["differing_conditions"]
    assert told == ([{"policy": "InSpire", "differing": found}] if found else [])


def test_a_run_that_tells_nothing():
    assert conditions_of(Run(Path("old"), {}, ())) == {}
