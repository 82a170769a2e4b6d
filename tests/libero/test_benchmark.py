"""LIBERO as a benchmark: its suites and published limits."""

import numpy as np
import pytest

from inspire_vla.cli.libero import wants_libero
from inspire_vla.errors import InspireError
from inspire_vla.libero.bddl import LiberoMissing
from inspire_vla.libero.benchmark import MAX_STEPS, LiberoBenchmark, axis_angle
from inspire_vla.libero.simulation import require_libero


@pytest.fixture(scope="module")
def benchmark():
    try:
        require_libero()
    except LiberoMissing as error:
        pytest.skip(str(error))
    return LiberoBenchmark(image_size=32)


def test_five_suites_and_130_tasks(benchmark):
    assert set(benchmark.suites()) == set(MAX_STEPS)
    assert sum(len(benchmark.tasks(suite)) for suite in benchmark.suites()) == 130
    with pytest.raises(InspireError, match="Did you mean 'libero_goal'"):
        benchmark.tasks("libero_gaol")
    with pytest.raises(InspireError, match="unknown task"):
        benchmark.make("libero_goal", "fly")


def test_a_run_is_of_one_simulator():
    assert wants_libero(["libero_90", "libero_goal"])
    assert not wants_libero(["seen"])
    with pytest.raises(InspireError, match="do not mix"):
        wants_libero(["libero_90", "tabletop_seen"])


def test_axis_angle_of_a_turn():
    np.testing.assert_allclose(axis_angle(np.array([0, 0, 0, 1.0])), 0)
    half = np.pi / 8
    np.testing.assert_allclose(axis_angle(np.array([0, np.sin(half), 0, np.cos(half)])), [0, np.pi / 4, 0])
