"""Perturbations are end-effector pushes and gripper flips of some steps. Without them only noise is left."""

import numpy as np
import pytest

from inspire_vla.perturbations import ActionPerturber

CLEAN = np.array([0.1, -0.2, 0.3, 0.0, 0.0, 0.0, 1.0], dtype=np.float32)


def executed(steps: int, *, noise: float = 0.0, perturbations: float = 0.0, seed: int = 0) -> np.ndarray:
    perturb = ActionPerturber(np.random.default_rng(seed), noise=noise, perturbations=perturbations)
    return np.stack([perturb(CLEAN) for _ in range(steps)])


def test_without_either_the_action_is_the_clean_one():
    assert np.array_equal(executed(50), np.tile(CLEAN, (50, 1)))


def test_noise_is_on_the_translations_only():
    off = executed(500, noise=0.15) - CLEAN
    assert np.allclose(off[:, :3].std(axis=0), 0.15, rtol=0.15)
    assert not off[:, 3:].any()


def test_a_perturbation_is_a_sideways_push_or_a_gripper_flip():
    moves = executed(4000, perturbations=0.05)
    pushed = np.abs(moves[:, :2] - CLEAN[:2]).max(axis=1) > 0
    flipped = moves[:, 6] == -CLEAN[6]
    assert not (pushed & flipped).any()
    assert np.array_equal(moves[:, 2:6], np.tile(CLEAN[2:6], (4000, 1)))
    assert np.allclose(np.linalg.norm(moves[pushed, :2] - CLEAN[:2], axis=1), 0.6, atol=1e-6)
    shares = pushed.mean(), flipped.mean()  # half of 0.05 per free step, three or four steps each
    assert shares == pytest.approx((0.064, 0.085), abs=0.02)


def test_the_generator_is_the_only_source_of_randomness():
    once, again, other = (executed(200, noise=0.1, perturbations=0.1, seed=s) for s in (3, 3, 4))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
    assert np.abs(once).max() <= 1.0
