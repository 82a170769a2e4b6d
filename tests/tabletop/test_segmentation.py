"""Masks lie where the image shows the object, and follow it."""

import numpy as np
import pytest

from inspire_vla.tabletop.benchmark import TabletopBenchmark


@pytest.fixture(scope="module")
def env():
    benchmark = TabletopBenchmark()
    env = benchmark.make("tabletop_seen", "plates__pick_up_the_red_cube_and_place_it_on_the_blue_plate")
    env.reset(seed=0)
    yield env
    env.close()


def test_masks_have_the_colours_of_their_objects(env) -> None:
    cube, plate = env.target_masks("image", 192, 192)
    image = env.image("image", 192, 192).astype(int)
    assert 0.002 < cube.mean() < 0.05
    assert 0.005 < plate.mean() < 0.1
    assert not (cube & plate).any()
    assert (image[cube].argmax(-1) == 0).mean() > 0.95  # red
    assert (image[plate].argmax(-1) == 2).mean() > 0.95  # blue


def test_images_after_a_mask_are_images(env) -> None:
    before = env.image("image", 96, 96)
    env.target_masks()
    np.testing.assert_array_equal(env.image("image", 96, 96), before)


def test_the_mask_is_the_same_at_any_size(env) -> None:
    small, large = (env.target_masks("image", size, size) for size in (96, 384))
    np.testing.assert_allclose(small.mean((1, 2)), large.mean((1, 2)), rtol=0.15)
