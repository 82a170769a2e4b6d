"""Layouts: jitter, randomness, room for the fingers."""

import math

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.tabletop import objects
from inspire_vla.tabletop.benchmark import TabletopBenchmark
from inspire_vla.tabletop.collection import Conditions
from inspire_vla.tabletop.scene import JITTER_M, Scene, compiled
from inspire_vla.tabletop.scenes import DUPLICATE_SCENES, SCENES, VALIDATION_SCENES

ALL = [*SCENES.values(), *DUPLICATE_SCENES.values(), *VALIDATION_SCENES.values()]


@pytest.mark.parametrize("scene", ALL, ids=lambda scene: scene.name)
def test_objects_stay_near_their_nominal_positions_and_apart(scene):
    rng = np.random.default_rng(0)
    nominal = {name: (x, y) for name, x, y in scene.layout}
    for _ in range(5):
        layout = scene.sample_layout(rng)
        for name, (x, y, yaw) in layout.items():
            assert abs(x - nominal[name][0]) <= JITTER_M
            assert abs(y - nominal[name][1]) <= JITTER_M
            assert yaw == 0.0 or not scene.objects[name].shape.fixed
        names = list(layout)
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                reach = scene.objects[a].shape.radius_m + scene.objects[b].shape.radius_m
                if "cabinet" not in a + b:
                    assert np.hypot(*np.subtract(layout[a][:2], layout[b][:2])) > reach


def test_a_layout_follows_from_its_generator_and_loosens_with_randomness():
    scene = SCENES["plates"]
    draw = lambda seed, r: scene.sample_layout(np.random.default_rng(seed), r)  # noqa: E731
    assert draw(3, 0.0) == draw(3, 0.0)
    nominal = np.array([[x, y] for _, x, y in scene.layout])
    spread = [
        np.mean([np.abs(np.array(list(draw(s, r).values()))[:, :2] - nominal).mean() for s in range(10)])
        for r in (0.0, 0.5, 1.0)
    ]
    assert spread[0] < 0.02 < spread[1] < spread[2]


def test_mirroring_twice_gives_the_layout_back():
    scene = SCENES["shelf"]
    assert scene.mirrored("other").mirrored("shelf") == scene


def test_what_cannot_be_is_refused_in_words():
    with pytest.raises(InspireError, match="between 0 and 1"):
        SCENES["plates"].sample_layout(np.random.default_rng(0), 1.5)
    with pytest.raises(InspireError, match="Did you mean 'cube'"):
        objects.parse_object("red_cub")
    with pytest.raises(InspireError, match="Did you mean 'purple'"):
        objects.parse_object("purpel_cube")
    with pytest.raises(InspireError, match="colour_shape"):
        objects.parse_object("cube")
    full = Scene("full", (("red_cube", 0.5, 0.0), ("blue_cube", 0.5, 0.0)))
    with pytest.raises(InspireError, match="too full"):
        full.sample_layout(np.random.default_rng(0))


def test_a_model_is_compiled_once():
    assert compiled(SCENES["plates"]) is compiled(SCENES["plates"])


@pytest.mark.parametrize("randomness", [-0.1, 7.0, math.nan])
def test_a_randomness_that_is_no_probability_is_refused_before_an_episode(randomness):
    with pytest.raises(InspireError, match="layout_randomness is a probability between 0 and 1"):
        TabletopBenchmark(layout_randomness=randomness)
    with pytest.raises(InspireError, match="layout_randomness is a probability between 0 and 1"):
        Conditions("tabletop_seen", 0, ("image",), 96, 0.0, 0.0, randomness)
