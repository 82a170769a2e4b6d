"""Grips and places on reliefs made by hand: no LIBERO needed."""

import numpy as np
import pytest

from inspire_vla.libero.reliefs import OPENING_M, Relief, find_grasps, find_spot

CELL = 0.004
N = 61
ORIGIN = np.array([-0.12, -0.12])


def relief(*boxes) -> tuple[Relief, Relief]:
    """Boxes (x, y, half x, half y, height) on a table at 0; the first is the thing."""
    xs = ORIGIN[0] + CELL * np.arange(N)
    x, y = np.meshgrid(xs, xs, indexing="ij")
    heights, own = np.zeros((N, N)), np.full((N, N), -np.inf)
    for number, (mx, my, hx, hy, height) in enumerate(boxes):
        inside = (abs(x - mx) <= hx) & (abs(y - my) <= hy)
        heights[inside] = np.maximum(heights[inside], height)
        if number == 0:
            own[inside] = height
    own[heights > own] = -np.inf
    return Relief(heights, ORIGIN, CELL), Relief(own, ORIGIN, CELL)


def test_a_long_box_is_gripped_across_at_its_middle():
    everything, own = relief((0.0, 0.0, 0.08, 0.02, 0.06))
    best = find_grasps(everything, own, np.zeros(2))[0]
    assert abs(best.yaw - np.pi / 2) < 0.01  # across x, that is along y
    assert np.abs(best.point[:2]).max() < 0.012
    assert 0.0 < best.point[2] < 0.06


def test_what_is_wider_than_the_hand_has_no_grip():
    wide = OPENING_M + 0.02
    assert find_grasps(*relief((0.0, 0.0, wide, wide, 0.06)), np.zeros(2)) == []


def test_a_wall_beside_it_turns_the_grip():
    alone = relief((0.0, 0.0, 0.015, 0.015, 0.05))
    walled = relief((0.0, 0.0, 0.015, 0.015, 0.05), (0.035, 0.0, 0.012, 0.1, 0.06))
    assert any(abs(np.cos(grasp.yaw)) > 0.9 for grasp in find_grasps(*alone, np.zeros(2)))
    found = find_grasps(*walled, np.zeros(2))
    assert found
    assert all(abs(np.cos(grasp.yaw)) < 0.9 for grasp in found)


def test_the_palm_stays_above_a_tall_neighbour():
    everything, own = relief((0.0, 0.0, 0.015, 0.015, 0.05), (0.0, 0.085, 0.02, 0.02, 0.2))
    for grasp in find_grasps(everything, own, np.zeros(2)):
        u, v = (
            np.array([np.cos(grasp.yaw), np.sin(grasp.yaw)]),
            np.array([-np.sin(grasp.yaw), np.cos(grasp.yaw)]),
        )
        off = np.array([0.0, 0.085]) - grasp.point[:2]
        assert abs(off @ u) > 0.07 or abs(off @ v) > 0.02


def test_grasps_are_unlike_and_best_first():
    found = find_grasps(*relief((0.0, 0.0, 0.02, 0.02, 0.06)), np.zeros(2))
    scores = [grasp.score for grasp in found]
    assert scores == sorted(scores, reverse=True)
    assert len(found) > 1


@pytest.mark.parametrize("where", [(0.0, 0.0), (0.03, -0.03)])
def test_a_spot_avoids_what_lies_there(where):
    everything, _ = relief((*where, 0.02, 0.02, 0.05))
    steps = np.linspace(-0.06, 0.06, 7)
    candidates = np.array([[x, y] for x in steps for y in steps])
    footprint = np.array([[x, y] for x in (-0.01, 0.01) for y in (-0.01, 0.01)])
    spot = find_spot(
        everything, candidates, np.array(where), footprint, np.array([0.0, 0.0, 0.12]), 0.0, turns=np.zeros(1)
    )
    assert spot is not None
    assert spot.rests_at == 0.0
    assert np.abs(spot.middle - where).max() > 0.02
    assert spot.grip_at == pytest.approx(
        0.124
    )  # a little above the table: the grip is 12 cm above the underside


def test_a_thing_is_turned_to_fit():
    """A slot along x, 4 cm wide between walls: a bar held along y has to turn by 90°."""
    everything, _ = relief((0.0, 0.06, 0.12, 0.04, 0.05), (0.0, -0.06, 0.12, 0.04, 0.05))
    bar = np.array([[0.0, y] for y in np.linspace(-0.05, 0.05, 11)])
    spot = find_spot(
        everything, np.zeros((1, 2)), np.zeros(2), bar, np.array([0.0, 0.0, 0.1]), 0.0,
        turns=np.deg2rad([0, 90]),
    )  # fmt: skip
    assert spot is not None
    assert spot.turn == pytest.approx(np.pi / 2)
    assert spot.rests_at == 0.0
    assert (
        find_spot(everything, np.zeros((0, 2)), np.zeros(2), bar, np.zeros(3), 0.0, turns=np.zeros(1)) is None
    )
