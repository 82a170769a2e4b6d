"""Which pixels of an image belong to the objects that the instruction mentions."""

import mujoco
import numpy as np

from inspire_vla.tabletop.env import CAMERAS, TabletopEnv
from inspire_vla.tabletop.rendering import Renderer


def target_masks(env: TabletopEnv, camera: str = "image", height: int = 96, width: int = 96) -> np.ndarray:
    """Return bool (k, height, width): for each mention the pixels of what it names, as the camera sees it now.

    What hides a target is not part of its mask; a mask may be empty. A drawer is its own moving part.
    """
    world, model = env.world, env.world.model
    bodies = bodies_of_pixels(Renderer(model), world.data, CAMERAS[camera], height, width)
    masks = []
    for name in env.task.targets:
        body = model.body(int(model.site_bodyid[model.site(name).id])).name
        masks.append(np.isin(bodies, family_of(model, body)))
    return np.array(masks, dtype=bool).reshape(-1, height, width)


def family_of(model, body: str) -> list[int]:
    """Numbers of a body and of all that hang on it."""
    family = [model.body(body).id]
    for number in range(family[0] + 1, model.nbody):  # parents come first
        if int(model.body_parentid[number]) in family:
            family.append(number)
    return family


def bodies_of_pixels(renderer: Renderer, data, camera: str, height: int, width: int) -> np.ndarray:
    """(height, width) int: the body each pixel shows, -1 where there is none."""
    scene = renderer._scene
    flags = (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR)
    for flag in flags:
        scene.flags[flag] = 1
    try:
        colours = renderer.render(data, camera, height, width).astype(np.int32)
    finally:
        for flag in flags:
            scene.flags[flag] = 0
    ids = colours[..., 0] + (colours[..., 1] << 8) + (colours[..., 2] << 16)
    body_of = np.full(max(scene.ngeom, int(ids.max())) + 2, -1)
    for geom in scene.geoms[: scene.ngeom]:
        if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
            body_of[geom.segid + 1] = renderer._model.geom_bodyid[geom.objid]
    return body_of[ids]
