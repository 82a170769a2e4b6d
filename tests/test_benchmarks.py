"""Suites select their benchmark."""

import pytest

from inspire_vla.benchmarks import Options, benchmark_of, check_suites, expand, rendering_note, select
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


@pytest.mark.parametrize(
    ("suite", "options", "message"),
    [
        ("seen", Options(render="fast"), "--render is for LIBERO"),
        ("seen", Options(mapping="names.json"), "--mapping is for LIBERO"),
        ("libero_goal", Options(layout_randomness=0.5), "--layout-randomness is for the tabletop"),
    ],
)
def test_options_of_the_other_benchmark_are_refused(suite, options, message):
    with pytest.raises(InspireError, match=message):
        select([suite], POLICY, options)


def test_a_run_records_only_what_its_benchmark_plays(monkeypatch):
    monkeypatch.setattr("inspire_vla.libero.installation.require_libero", lambda: None)
    assert select(["seen"], POLICY).played == {"layout_randomness": 0.0}
    assert select(["libero_goal"], POLICY).played == {}


def test_another_rendering_than_the_demonstrations_is_told():
    """The suite, the run's rendering, what the policy was trained with, and whether that is told."""
    for suite, render, trained_with, warned in (
        ("libero_goal", "full", ["fast"], True),
        ("libero_goal", "fast", ["full", None], True),
        ("libero_goal", "fast", ["fast"], False),
        ("libero_goal", "full", ["full", "fast"], False),
        ("libero_goal", "full", [None], False),
        ("libero_goal", "full", [], False),
        ("tabletop_goal", "full", ["fast"], False),
    ):
        note = rendering_note([suite], render, trained_with)
        assert (note is not None) == warned
        assert note is None or f"--render {trained_with[0]} draws" in note


def test_names_of_suites_are_checked_before_a_policy_is_there():
    check_suites(["seen", "tabletop_goal"], Options(layout_randomness=1.0))
    for suites, options, message in (
        (["seen", "tabletop_gaol"], Options(), "Did you mean 'tabletop_goal'"),
        (["seen", "libero_goal"], Options(), "belong to"),
        (["seen"], Options(layout_randomness=7), "between 0 and 1"),
        (["seen"], Options(render="fast"), "--render is for LIBERO"),
    ):
        with pytest.raises(InspireError, match=message):
            check_suites(suites, options)
