"""Words for places: mirroring exchanges left and right, a place tells one object, and layouts keep the words true."""

import itertools

import numpy as np
import pytest

from inspire_vla.tabletop.places import MARGIN_M, MIDDLE, SIDES, is_at, is_next_to, mirrored
from inspire_vla.tabletop.scene import AGENT_CAMERA, compiled
from inspire_vla.tabletop.scenes import DUPLICATE_SCENES, SCENES, VALIDATION_SCENES

ALL = [*SCENES.values(), *DUPLICATE_SCENES.values(), *VALIDATION_SCENES.values()]
DESCRIBED = [scene for scene in ALL if scene.places or scene.neighbours or scene.free]
PLACES = (*SIDES, MIDDLE)
FLIP = np.array([1.0, -1.0])


def _positions(n: int, count: int = 200):
    rng = np.random.default_rng(n)
    return [rng.uniform((0.31, -0.28), (0.64, 0.28), (n, 2)) for _ in range(count)]


def test_sides_are_those_of_the_picture():
    """Left is left in the agent view, and front is towards its camera."""
    axes = compiled(SCENES["plates"]).camera(AGENT_CAMERA).mat0.reshape(3, 3)  # columns: right, up, back
    for word, expected in {"right": (1, 0), "left": (-1, 0), "front": (0, -1), "back": (0, 1)}.items():
        assert np.sign(np.round(np.array([*SIDES[word], 0.0]) @ axes[:, :2], 6)).tolist() == list(expected)


@pytest.mark.parametrize("place", PLACES)
def test_mirroring_exchanges_left_and_right(place):
    assert mirrored(mirrored(place)) == place
    for here, *others in _positions(3):
        flipped = is_at(mirrored(place), here * FLIP, [other * FLIP for other in others])
        assert flipped == is_at(place, here, others)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("n", [2, 3])
def test_a_place_tells_at_most_one_object(place, n):
    count = 0
    for points in _positions(n):
        at = [is_at(place, points[i], [*points[:i], *points[i + 1 :]]) for i in range(n)]
        count += sum(at)
        assert sum(at) <= 1
    assert count > 0 or (place == MIDDLE and n == 2)


def test_opposite_sides_are_each_others():
    for here, other in _positions(2):
        for one, opposite in (("left", "right"), ("front", "back")):
            assert is_at(one, here, [other]) == is_at(opposite, other, [here])


def test_nothing_is_right_by_less_than_the_margin():
    assert is_at("right", np.array([0.5, MARGIN_M + 1e-6]), [np.array([0.4, 0.0])])
    assert not is_at("right", np.array([0.5, MARGIN_M - 0.01]), [np.array([0.4, 0.0])])


def test_next_to_is_near_and_clear():
    near, far = np.array([0.5, 0.12]), np.array([0.5, -0.2])
    assert is_next_to(near, np.array([0.5, 0.0]), [far], 0.06)
    assert not is_next_to(
        near, np.array([0.5, 0.0]), [np.array([0.5, -0.13])], 0.06
    )  # the other one is as near
    assert not is_next_to(far, np.array([0.5, 0.0]), [near], 0.06)


@pytest.mark.parametrize("scene", DESCRIBED, ids=lambda scene: scene.name)
@pytest.mark.parametrize("randomness", [0.0, 0.25])
def test_every_layout_makes_the_words_true_and_of_one_object(scene, randomness):
    for seed in range(8):
        layout = scene.sample_layout(np.random.default_rng(seed), randomness)
        at = {name: np.array(pose[:2]) for name, pose in layout.items()}
        for name, place in scene.places:
            equals = (name, *scene.equals(name))
            names = [e for e in equals if is_at(place, at[e], [at[other] for other in scene.equals(e)])]
            assert names == [name]
        for name, other in scene.neighbours:
            assert not scene.equals(other), "the neighbour itself is unique"
            equals = (name, *scene.equals(name))
            assert min(equals, key=lambda e: float(np.hypot(*(at[e] - at[other])))) == name
        for name, side in scene.free:
            spot = at[name] + scene.spot(name, side)
            assert all(
                np.hypot(*(at[other] - spot)) > spec.shape.radius_m + 0.05
                for other, spec in scene.objects.items() if spec.kind != "cabinet" and other != name
            )  # fmt: skip


@pytest.mark.parametrize("scene", DESCRIBED, ids=lambda scene: scene.name)
def test_a_mirrored_layout_makes_the_mirrored_words_true(scene):
    flipped = scene.mirrored("flipped")
    assert flipped.mirrored(scene.name) == scene
    layout = scene.sample_layout(np.random.default_rng(0))
    assert flipped.is_true_of({name: (x, -y) for name, (x, y, _) in layout.items()})
    sided = [place for _, place in (*scene.places, *scene.free) if place in ("left", "right")]
    if any(place in ("left", "right") for _, place in scene.places):
        assert not scene.is_true_of({name: (x, -y) for name, (x, y, _) in layout.items()})
    assert [mirrored(place) for place in sided] == [
        place for _, place in (*flipped.places, *flipped.free) if place in ("left", "right")
    ]


def test_neighbours_move_together():
    """What stands next to an object that is placed freely is placed with it."""
    scene = SCENES["pantry"]
    layouts = [scene.sample_layout(np.random.default_rng(seed), 1.0) for seed in range(4)]
    plates = [layout["black_plate"][:2] for layout in layouts]
    assert max(np.hypot(*np.subtract(a, b)) for a, b in itertools.combinations(plates, 2)) > 0.1
    for layout in layouts:
        assert np.hypot(*np.subtract(layout["black_plate"][:2], layout["green_cylinder_1"][:2])) < 0.2
