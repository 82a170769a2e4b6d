"""How LIBERO's cameras are drawn: `full`, as LIBERO does, or `fast`, for computers without a GPU.

    scene's XML ──fast_rendering──▶ XML: no multisampling, shadows or reflections; visual meshes of at most MAX_FACES

Only visual meshes are exchanged. LIBERO takes collisions and masses from other geoms, so a scene moves in the same way,
number for number. A simplified mesh is made once and kept on the disk under the hash of its original.
"""

import os
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from inspire_vla.errors import InspireError
from inspire_vla.files import atomic_path, file_sha256, folder_lock

Rendering = Literal["full", "fast"]
MAX_FACES = 500
"""Triangles of a simplified mesh. At 128 pixels an object of LIBERO is some 30 pixels wide."""
_VERSION = 3
"""Of the simplification: part of the names of its files."""
_SAMPLES = 50_000
"""Places of the original surface that normals and texture are taken from, besides one on each triangle."""
_FACING = 0.03
"""What a difference of two unit normals counts as a distance, relative to the size of the mesh."""


def mesh_cache() -> Path:
    """Return the folder of the simplified meshes."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inspire_vla" / "meshes"


def fast_rendering(xml: str) -> str:
    """Return a scene's XML with the settings and meshes of `fast`. It is a robosuite `xml_processor`.

    Raises:
        InspireError: fast-simplification is not installed, or the scene's masses depend on its visual geoms.
    """
    root = ElementTree.fromstring(xml)
    compiler = root.find("compiler")
    if compiler is None or compiler.get("inertiagrouprange") != "0 0":
        raise InspireError(
            "This scene takes masses from its visual geoms, so it cannot be drawn with `--render fast`."
        )
    visual = root.find("visual")
    visual = ElementTree.SubElement(root, "visual") if visual is None else visual
    quality = visual.find("quality")
    quality = ElementTree.SubElement(visual, "quality") if quality is None else quality
    quality.set("offsamples", "0")
    quality.set("shadowsize", "0")
    for material in root.iter("material"):
        material.set("reflectance", "0")
    geoms = [geom for geom in root.iter("geom") if geom.get("mesh")]
    solid = {geom.get("mesh") for geom in geoms if not _is_visual(geom)}
    for mesh in root.iter("mesh"):
        file = mesh.get("file")
        if file is not None and mesh.get("name") not in solid:
            mesh.set("file", os.fspath(simplified(Path(file))))
            mesh.set("inertia", "shell")  # the surface may be open
    return ElementTree.tostring(root, encoding="unicode")


def _is_visual(geom: ElementTree.Element) -> bool:
    return (geom.get("contype"), geom.get("conaffinity"), geom.get("group")) == ("0", "0", "1")


def check_rendering(render: Rendering) -> None:
    """Raise InspireError where images cannot be drawn so: `fast` needs fast-simplification."""
    if render == "fast" and find_spec("fast_simplification") is None:
        raise InspireError(
            "`--render fast` simplifies meshes with fast-simplification, which is not installed. Install it with "
            "`make libero`, or `pip install -c constraints.txt fast-simplification`."
        )


@cache
def simplified(file: Path) -> Path:
    """Return a mesh file with at most MAX_FACES triangles and the same texture; `file` itself if it has no more."""
    target = mesh_cache() / f"{file_sha256(file)[:32]}_{MAX_FACES}_v{_VERSION}.obj"
    if target.exists():
        return target
    surface = _read(file)
    if len(surface.faces) <= MAX_FACES:
        return file
    with folder_lock(target, "simplifying", wait=True):
        if not target.exists():
            with atomic_path(target) as path:
                path.write_text(_obj(simplify(surface, MAX_FACES)), encoding="ascii")
    return target


def _read(file: Path) -> "Surface":
    spec = mujoco.MjSpec()
    spec.add_mesh(name="mesh", file=os.fspath(file), inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="mesh", contype=0, conaffinity=0)
    model = spec.compile()
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, model.mesh_quat[0])
    rotation = matrix.reshape(3, 3)  # of the file's frame, in the one of MuJoCo
    points = model.mesh_vert.astype(np.float64) @ rotation.T + model.mesh_pos[0]
    normals = model.mesh_normal.astype(np.float64) @ rotation.T
    texture = model.mesh_texcoord[model.mesh_facetexcoord] if len(model.mesh_texcoord) else None
    return Surface(points, model.mesh_face.astype(np.int64), normals[model.mesh_facenormal], texture)


@dataclass(frozen=True)
class Surface:
    """A triangle mesh: points (n, 3), triangles (m, 3), and of each triangle's corners the normals (m, 3, 3) and the
    texture coordinates (m, 3, 2), if it has a texture."""

    points: NDArray[np.float64]
    faces: NDArray[np.int64]
    normals: NDArray[np.float64]
    texture: NDArray[np.float64] | None

    def welded(self) -> "Surface":
        """Return the same surface without repeated points and without triangles that have no area."""
        points, where = np.unique(self.points.round(6), axis=0, return_inverse=True)
        faces = where.reshape(-1)[self.faces]
        kept = np.linalg.norm(_area_vectors(points, faces), axis=1) > 1e-12
        texture = None if self.texture is None else self.texture[kept]
        return Surface(points, faces[kept], self.normals[kept], texture)

    def pieces(self) -> NDArray[np.int64]:
        """Return the piece of the texture that each triangle lies in, (m,): pieces are not connected in the texture."""
        if self.texture is None:
            return np.zeros(len(self.faces), dtype=np.int64)
        corners = np.concatenate([self.points[self.faces], self.texture], axis=-1).reshape(-1, 5)
        _, corner = np.unique(corners.round(5), axis=0, return_inverse=True)
        corner = corner.reshape(-1, 3)
        number = int(corner.max()) + 1
        rows, columns = corner[:, [0, 1]].ravel(), corner[:, [1, 2]].ravel()
        edges = coo_array((np.ones(len(rows)), (rows, columns)), shape=(number, number))
        return connected_components(edges, directed=False)[1][corner[:, 0]]


def simplify(surface: Surface, count: int) -> Surface:
    """Return a surface of about `count` triangles.

    A new corner takes its normal and texture from the nearest place of the old surface that faces the same way. All
    corners of a triangle take it from one piece of the texture, that at the triangle's middle.
    """
    check_rendering("fast")
    import fast_simplification

    old = surface.welded()
    points, faces = fast_simplification.simplify(old.points, old.faces, target_count=count)
    faces = faces.astype(np.int64)
    corners, facing = points[faces], _unit(_area_vectors(points, faces))

    size = float(np.ptp(old.points, axis=0).max())
    areas = _area_vectors(old.points, old.faces)
    sizes = np.linalg.norm(areas, axis=1)
    rng = np.random.default_rng(0)
    face = np.concatenate([np.arange(len(sizes)), rng.choice(len(sizes), _SAMPLES, p=sizes / sizes.sum())])
    weights = rng.dirichlet(np.ones(3), len(face))
    places = np.concatenate(
        [np.einsum("fc,fcx->fx", weights, old.points[old.faces[face]]) / size, _FACING * _unit(areas)[face]],
        axis=1,
    )
    middles = np.concatenate([corners.mean(axis=1) / size, _FACING * facing], axis=1)
    piece = old.pieces()
    target_piece = piece[face[cKDTree(places).query(middles)[1]]]
    tree = cKDTree(np.concatenate([places, 1e3 * piece[face][:, None]], axis=1))  # pieces never meet
    here = np.concatenate(
        [np.repeat(_FACING * facing, 3, axis=0), 1e3 * np.repeat(target_piece, 3)[:, None]], axis=1
    )
    _, nearest = tree.query(np.concatenate([corners.reshape(-1, 3) / size, here], axis=1))
    source = face[nearest]
    shares = _barycentric(corners.reshape(-1, 3), old.points[old.faces[source]])
    texture = None
    if old.texture is not None:
        texture = np.einsum("fc,fcx->fx", shares, old.texture[source]).reshape(-1, 3, 2)
    normals = _unit(np.einsum("fc,fcx->fx", shares, old.normals[source])).reshape(-1, 3, 3)
    return Surface(points, faces, normals, texture)


def _area_vectors(points: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    a, b, c = np.moveaxis(points[faces], 1, 0)
    return np.cross(b - a, c - a)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _barycentric(points: NDArray[np.float64], triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Barycentric coordinates (n, 3) of points (n, 3), each moved into its triangle (n, 3, 3)."""
    a, b, c = np.moveaxis(triangles, 1, 0)
    normal = np.cross(b - a, c - a)
    scale = np.maximum((normal * normal).sum(axis=1), 1e-30)
    u = (np.cross(b - a, points - a) * normal).sum(axis=1) / scale  # share of c
    v = (np.cross(points - a, c - a) * normal).sum(axis=1) / scale  # share of b
    shares = np.stack([1 - u - v, v, u], axis=1).clip(0, 1)
    return shares / shares.sum(axis=1, keepdims=True)


def _obj(surface: Surface) -> str:
    lines = [f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in surface.points]
    lines += [f"vn {x:.4f} {y:.4f} {z:.4f}" for x, y, z in surface.normals.reshape(-1, 3)]
    if surface.texture is not None:  # OBJ counts from the lower edge of the texture
        lines += [f"vt {u:.5f} {1 - v:.5f}" for u, v in surface.texture.reshape(-1, 2)]
    for number, face in enumerate(surface.faces):
        corners = [(point + 1, 3 * number + corner + 1) for corner, point in enumerate(face)]
        lines.append(
            "f " + " ".join(f"{p}/{c if surface.texture is not None else ''}/{c}" for p, c in corners)
        )
    return "\n".join(lines) + "\n"
