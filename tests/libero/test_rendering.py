"""Fast rendering: simplified meshes keep their shape and texture, and a scene moves as before, number for number."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.libero import rendering, simulation
from inspire_vla.libero.installation import LiberoMissing, require_libero
from inspire_vla.libero.rendering import MAX_FACES, Surface, fast_rendering, simplified, simplify
from inspire_vla.libero.simulation import make_simulation
from inspire_vla.libero.tasks import task_files

pytest.importorskip("fast_simplification")


def sheet(n: int = 40) -> Surface:
    """A flat square of n × n × 2 triangles; its right half lies elsewhere in the texture than its left half."""
    grid = np.linspace(0, 1, n + 1)
    points = np.array([[x, y, 0.0] for x in grid for y in grid])
    index = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = (index[i : n + i, j : n + j].ravel() for i, j in ((0, 0), (1, 0), (1, 1), (0, 1)))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    corners = points[faces]
    right = corners.mean(axis=1)[:, 0] > 0.5
    texture = corners[:, :, :2] * 0.4 + np.where(right, 0.5, 0.0)[:, None, None] * [0, 1]
    normals = np.broadcast_to([0.0, 0.0, 1.0], corners.shape)
    return Surface(points, faces, normals, texture)


def obj(surface: Surface, path: Path) -> Path:
    path.write_text(rendering._obj(surface), encoding="ascii")
    return path


def test_a_simplified_surface_keeps_place_normals_and_texture():
    found = simplify(sheet(), 100)
    assert 0 < len(found.faces) <= 110
    assert found.texture is not None
    corners = found.points[found.faces]
    np.testing.assert_allclose(np.ptp(corners.reshape(-1, 3), axis=0), [1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(found.normals, np.broadcast_to([0, 0, 1], found.normals.shape), atol=1e-6)
    upper = found.texture[..., 1] > 0.45  # in the right half's piece of the texture
    inside = np.abs(corners.mean(axis=1)[:, 0] - 0.5) > 0.1
    assert (upper.all(axis=1) == (corners.mean(axis=1)[:, 0] > 0.5))[inside].all()
    assert (upper.all(axis=1) | ~upper.any(axis=1)).all(), "a triangle spans two pieces of the texture"
    own = np.where((corners[..., 0] > 0.5) == upper, True, False)  # corners on their piece's side
    expected = corners[..., :2] * 0.4 + np.where(upper, 0.5, 0.0)[..., None] * [0, 1]
    np.testing.assert_allclose(found.texture[own], expected[own], atol=0.02)


def test_a_mesh_is_simplified_once_and_a_small_one_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    large, small = obj(sheet(), tmp_path / "large.obj"), obj(sheet(4), tmp_path / "small.obj")
    made = simplified(large)
    assert made.parent == rendering.mesh_cache()
    assert 0 < made.read_text().count("\nf ") <= 1.1 * MAX_FACES
    assert simplified(small) == small
    assert rendering._read(made).texture is not None
    simplified.cache_clear()
    monkeypatch.setattr(rendering, "simplify", lambda *_: pytest.fail("simplified again"))
    assert simplified(large) == made
    simplified.cache_clear()


def test_only_visual_meshes_are_exchanged(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = obj(sheet(), tmp_path / "mesh.obj")
    seen = '<geom type="mesh" contype="0" conaffinity="0" group="1" mesh="{}"/>'
    xml = f"""<mujoco><compiler inertiagrouprange="0 0"/><asset><material name="m" reflectance="0.5"/>
      <mesh name="seen" file="{file}"/><mesh name="solid" file="{file}"/></asset><worldbody>
      {seen.format("seen")}{seen.format("solid")}<geom type="mesh" mesh="solid" group="0"/></worldbody></mujoco>"""
    root = ElementTree.fromstring(fast_rendering(xml))
    files = {mesh.get("name"): Path(mesh.get("file")) for mesh in root.iter("mesh")}
    assert files == {"seen": simplified(file), "solid": file}
    assert root.find("visual/quality").attrib == {"offsamples": "0", "shadowsize": "0"}
    assert root.find("asset/material").get("reflectance") == "0"
    with pytest.raises(InspireError, match="takes masses from its visual geoms"):
        fast_rendering(xml.replace('inertiagrouprange="0 0"', ""))
    simplified.cache_clear()


@pytest.mark.libero
def test_a_scene_moves_as_before():
    try:
        require_libero()
    except LiberoMissing as error:
        pytest.skip(str(error))
    path = next(path for path in task_files("libero_goal") if path.stem == "put_the_bowl_on_the_plate")
    states, faces, images = {}, {}, {}
    for render in ("full", "fast"):
        env = make_simulation(path, pixels=64, render=render)
        for step in range(5):
            env.step([0.3, 0.1 * step, -0.3, 0, 0.1, 0, -1])
        states[render] = env.get_sim_state()
        model = env.sim.model._model
        meshes = model.geom_dataid[(model.geom_type == 7) & (model.geom_group == 1)]
        faces[render] = int(model.mesh_facenum[meshes].sum())
        images[render] = simulation.draw(env.env, "image", 64).astype(float)
        env.close()
        del env, model
        simulation.gc.collect()
    np.testing.assert_array_equal(states["full"], states["fast"])
    assert faces["fast"] < faces["full"] / 4
    assert 0 < np.abs(images["full"] - images["fast"]).mean() < 12
