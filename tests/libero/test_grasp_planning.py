"""Grasps and placements on synthetic height maps; LIBERO is not needed."""

import numpy as np
import pytest

from inspire_vla.libero.grasp_planning import OPENING_M, HeightMap, find_grasps, find_placement

CELL = 0.004
N = 61
ORIGIN = np.array([-0.12, -0.12])


def height_maps(*boxes) -> tuple[HeightMap, HeightMap]:
    """Boxes (x, y, half x, half y, height) on a table at 0; the first is the object."""
    xs = ORIGIN[0] + CELL * np.arange(N)
    x, y = np.meshgrid(xs, xs, indexing="ij")
    heights, own = np.zeros((N, N)), np.full((N, N), -np.inf)
    for number, (mx, my, hx, hy, height) in enumerate(boxes):
        inside = (abs(x - mx) <= hx) & (abs(y - my) <= hy)
        heights[inside] = np.maximum(heights[inside], height)
        if number == 0:
            own[inside] = height
    own[heights > own] = -np.inf
    return HeightMap(heights, ORIGIN, CELL), HeightMap(own, ORIGIN, CELL)


def test_a_long_box_is_grasped_across_at_its_middle():
    scene, target = height_maps((0.0, 0.0, 0.08, 0.02, 0.06))
    best = find_grasps(scene, target, np.zeros(2))[0]
    assert abs(best.yaw - np.pi / 2) < 0.01  # across x, that is along y
    assert np.abs(best.point[:2]).max() < 0.012
    assert 0.0 < best.point[2] < 0.06


def test_what_is_wider_than_the_gripper_has_no_grasp():
    wide = OPENING_M + 0.02
    assert find_grasps(*height_maps((0.0, 0.0, wide, wide, 0.06)), np.zeros(2)) == []


def test_a_wall_beside_it_rotates_the_grasp():
    alone = height_maps((0.0, 0.0, 0.015, 0.015, 0.05))
    walled = height_maps((0.0, 0.0, 0.015, 0.015, 0.05), (0.035, 0.0, 0.012, 0.1, 0.06))
    assert any(abs(np.cos(grasp.yaw)) > 0.9 for grasp in find_grasps(*alone, np.zeros(2)))
    found = find_grasps(*walled, np.zeros(2))
    assert found
    assert all(abs(np.cos(grasp.yaw)) < 0.9 for grasp in found)


def test_the_palm_stays_above_a_tall_neighbour():
    scene, target = height_maps((0.0, 0.0, 0.015, 0.015, 0.05), (0.0, 0.085, 0.02, 0.02, 0.2))
    for grasp in find_grasps(scene, target, np.zeros(2)):
        u, v = (
            np.array([np.cos(grasp.yaw), np.sin(grasp.yaw)]),
            np.array([-np.sin(grasp.yaw), np.cos(grasp.yaw)]),
        )
        off = np.array([0.0, 0.085]) - grasp.point[:2]
        assert abs(off @ u) > 0.07 or abs(off @ v) > 0.02


def test_grasps_are_dissimilar_and_best_first():
    found = find_grasps(*height_maps((0.0, 0.0, 0.02, 0.02, 0.06)), np.zeros(2))
    scores = [grasp.score for grasp in found]
    assert scores == sorted(scores, reverse=True)
    assert len(found) > 1


@pytest.mark.parametrize("where", [(0.0, 0.0), (0.03, -0.03)])
def test_a_placement_avoids_what_lies_there(where):
    scene, _ = height_maps((*where, 0.02, 0.02, 0.05))
    steps = np.linspace(-0.06, 0.06, 7)
    candidates = np.array([[x, y] for x in steps for y in steps])
    footprint = np.array([[x, y] for x in (-0.01, 0.01) for y in (-0.01, 0.01)])
    placement = find_placement(
        scene, candidates, np.array(where), footprint, np.array([0.0, 0.0, 0.12]), 0.0, rotations=np.zeros(1)
    )
    assert placement is not None
    assert placement.surface_z == 0.0
    assert np.abs(placement.centre - where).max() > 0.02
    assert placement.release_z == pytest.approx(
        0.124
    )  # a little above the table: the grasp is 12 cm above the underside


def test_an_object_is_rotated_to_fit():
    """A slot along x, 4 cm wide between walls: a bar held along y has to turn by 90°."""
    scene, _ = height_maps((0.0, 0.06, 0.12, 0.04, 0.05), (0.0, -0.06, 0.12, 0.04, 0.05))
    bar = np.array([[0.0, y] for y in np.linspace(-0.05, 0.05, 11)])
    placement = find_placement(
        scene, np.zeros((1, 2)), np.zeros(2), bar, np.array([0.0, 0.0, 0.1]), 0.0,
        rotations=np.deg2rad([0, 90]),
    )  # fmt: skip
    assert placement is not None
    assert placement.rotation == pytest.approx(np.pi / 2)
    assert placement.surface_z == 0.0
    assert (
        find_placement(scene, np.zeros((0, 2)), np.zeros(2), bar, np.zeros(3), 0.0, rotations=np.zeros(1))
        is None
    )
