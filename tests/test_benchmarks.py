"""Suites select their benchmark."""

import pytest

from inspire_vla.benchmarks import Options, benchmark_of, expand, select
from inspire_vla.errors import InspireError

POLICY = {"cameras": ["image"], "image_size": 32}


def test_a_run_is_of_one_benchmark():
    assert [benchmark_of(name) for name in ("libero_90", "libero_plus_goal", "tabletop_goal", "seen", "x")] == [
        "libero", "libero", "tabletop", "tabletop", "tabletop",
    ]  # fmt: skip
    with pytest.raises(InspireError, match="belong to"):
        select(["libero_90", "tabletop_seen"], POLICY)


def test_the_tabletop_is_made_with_the_images_of_the_policy():
    selected = select(["seen"], POLICY, Options(layout_randomness=0.5))
    assert (selected.suites, selected.slots) == (("tabletop_seen",), None)
    assert selected.factory().conditions == {"layout_randomness": 0.5}


def test_groups_stand_for_their_suites():
    groups = {"tabletop_seen": "seen", "tabletop_goal": "unseen", "tabletop_validation": "validation"}
    assert expand(["seen", "unseen"], groups) == ("tabletop_seen", "tabletop_goal")
    assert expand(["tabletop_goal", "unseen"], groups) == ("tabletop_goal",)
    assert expand(["validation"], groups) == ("tabletop_validation",)


def test_the_tabletop_has_one_rendering():
    with pytest.raises(InspireError, match="--render is for LIBERO"):
        select(["seen"], POLICY, Options(render="fast"))
