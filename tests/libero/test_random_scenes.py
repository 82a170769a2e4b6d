"""Random scenes of LIBERO's objects: what is recorded is what the image shows, and no layout of a task is used."""

import numpy as np
import pytest

from inspire_vla.grounding.images import GRIPPER, ROBOT
from inspire_vla.libero import random_scenes as module
from inspire_vla.libero.installation import LiberoMissing, require_libero
from inspire_vla.libero.random_scenes import FIXTURES, OBJECTS, random_scenes, scene_text
from inspire_vla.libero.tasks import read_problem, task_files


@pytest.fixture(scope="module", autouse=True)
def libero():
    pytest.importorskip("fast_simplification")
    try:
        require_libero()
    except LiberoMissing as error:
        pytest.skip(str(error))


def test_every_object_and_fixture_of_libero_90_has_a_name():
    problems = [read_problem(file) for file in task_files("libero_90")]
    assert {kind for p in problems for kind in p.objects.values()} == set(OBJECTS)
    tables = {"kitchen_table", "living_room_table", "study_table"}
    assert {kind for p in problems for kind in p.fixtures.values()} - tables == set(FIXTURES)


def test_a_scene_keeps_fixtures_and_draws_objects(tmp_path):
    rng = np.random.default_rng(0)
    base = next(file for file in task_files("libero_90") if "KITCHEN_SCENE4" in file.stem)
    drawn = []
    for number in range(20):
        file = tmp_path / f"{number}.bddl"
        file.write_text(scene_text(rng, base), encoding="utf-8")
        problem = read_problem(file)
        assert problem.fixtures == read_problem(base).fixtures
        drawn.append(tuple(sorted(problem.objects.values())))
        assert 3 <= len(drawn[-1]) <= module.MAX_OBJECTS
        assert all(drawn[-1].count(kind) <= 3 for kind in drawn[-1])
    assert len(set(drawn)) == 20


def test_the_image_shows_each_object_where_it_is_said_to_be(monkeypatch):
    monkeypatch.setattr(module, "_HELD", 0.0)
    shown = random_scenes(3, 12, 64)
    again = random_scenes(3, 12, 64)
    assert np.array_equal(shown.pixels, again.pixels)
    assert np.array_equal(shown.positions, again.positions)
    distances, rights = [], []
    for row in range(12):
        segmentation = shown.segmentation[row]
        for number, name in enumerate(shown.names[row]):
            covered = np.argwhere(segmentation == number)
            if name in ("", GRIPPER) or len(covered) < 12 or name.split("_")[1] in ("cabinet", "shelf"):
                continue
            v, u = (covered.mean(axis=0) + 0.5) / segmentation.shape[0]
            if 0.1 < u < 0.9 and 0.1 < v < 0.9:  # whole in the image
                distances.append(np.hypot(*(shown.positions[row, number] - (u, v))))
                rights.append((u - 0.5, shown.on_table[row, number, 0]))
    assert len(distances) > 10
    assert np.median(distances) < 0.04
    sides = np.array([pair for pair in rights if not np.isnan(pair[1]) and abs(pair[0]) > 0.1])
    assert len(sides) > 3
    assert (np.sign(sides[:, 0]) == np.sign(sides[:, 1])).all()
    assert (shown.segmentation == ROBOT).any(axis=(1, 2)).all()
