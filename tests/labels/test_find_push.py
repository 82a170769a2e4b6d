"""Laws of `find_push`: it reads a push from the fingertips' path."""

from itertools import pairwise

import numpy as np
import pytest

from inspire_vla.labels.find_push import find_push


def strokes(count=3, length_m=0.05, back_m=0.06, lift_m=0.05):
    """A path that comes from afar and pushes along -x in strokes, up and back between them; (T, 3) and their ends."""
    corners = [np.array([0.7, -0.3, 0.4]), np.array([0.6, 0.0, 0.2])]
    ends = []
    for k in range(count):
        end = np.array([0.56 - k * length_m, 0.0, 0.2])
        up, back = np.array([0, 0, lift_m]), np.array([back_m, 0, 0])
        corners += [end, end + up, end + up + back, end + back]
        ends.append(end)
    return np.concatenate(
        [a + (b - a) * np.linspace(0, 1, 6, endpoint=False)[:, None] for a, b in pairwise(corners)]
    ), ends


def push_of(path):
    linger = int(np.argmin(np.linalg.norm(path - np.median(path[len(path) // 3 :], axis=0), axis=1)))
    return find_push(path, 0, len(path), linger)


def test_the_object_moves_forward_only():
    path, ends = strokes()
    push = push_of(path)
    along = -push.position[:, 0]
    assert (np.diff(along) >= -1e-9).all()
    assert along[-1] == pytest.approx(-ends[-1][0] + 0.02, abs=0.01)
    assert (along >= -path[:, 0]).all()
    np.testing.assert_allclose(push.position[:, 2], 0.2, atol=0.01)
    np.testing.assert_allclose(push.position[push.end :], push.position[-1:].repeat(len(path) - push.end, 0))
    np.testing.assert_allclose(push.position[: push.first], push.position[:1].repeat(push.first, 0))


@pytest.mark.parametrize("turn", [0.4, 2.0, -1.3])
def test_rotating_and_shifting_the_path_rotates_and_shifts_the_position(turn):
    path, _ = strokes()
    c, s = np.cos(turn), np.sin(turn)
    rotation, shift = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), np.array([0.3, -0.2, 0.1])
    plain, moved = push_of(path), push_of(path @ rotation.T + shift)
    np.testing.assert_allclose(moved.position[-1], rotation @ plain.position[-1] + shift, atol=0.005)
    assert (moved.first, moved.end) == (plain.first, plain.end)


def test_a_press_a_stay_and_a_touch_are_no_pushes():
    path, _ = strokes()
    down = np.column_stack([np.full(30, 0.4), np.zeros(30), np.linspace(0.4, 0.1, 30)])
    assert push_of(down) is None
    assert push_of(np.tile(path[:1], (20, 1))) is None
    assert push_of(path[:1] + np.linspace(0, 0.02, 20)[:, None] * np.array([1.0, 0, 0])) is None
    assert find_push(path, 3, 5, 3) is None
