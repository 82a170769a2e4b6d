"""Off-screen rendering: find a working OpenGL, then draw a camera's image or segmentation of a model.

One OpenGL context serves the whole process, and every compiled model adds its own buffers to it. Shadows, reflections
and anti-aliasing are off, because each of them makes software rendering slower.
"""

import atexit
import contextlib
import functools
import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from inspire_vla.errors import MachineFault, reason_of

if TYPE_CHECKING:  # else after MUJOCO_GL is chosen
    import mujoco

_BACKENDS = ("cgl",) if sys.platform == "darwin" else ("egl", "osmesa")
_PROBE = "from mujoco.{0} import GLContext; c = GLContext(8, 8); c.make_current(); print('inspire-gl-ok'); c.free()"
_OFF = ("disable", "disabled", "off", "false", "0")


class GraphicsUnavailable(MachineFault):
    """No off-screen OpenGL works on this machine, so images cannot be drawn. Physics still runs."""


@functools.cache
def choose_gl_backend() -> str:
    """Return "egl", "osmesa" ("cgl" on macOS) or "disable", and set MUJOCO_GL to it, also for child processes.

    A MUJOCO_GL that is already set is kept. Otherwise each back end is tried once in a child process, because a
    broken driver can crash the process that tries it. Call this before mujoco is imported.
    """
    setting = os.environ.get("MUJOCO_GL", "").lower()
    if setting in _BACKENDS or setting in _OFF:
        return "disable" if setting in _OFF else setting
    working = next((backend for backend in _BACKENDS if _works(backend)), "disable")
    os.environ["MUJOCO_GL"] = working
    if working in ("egl", "osmesa"):
        os.environ.setdefault("PYOPENGL_PLATFORM", working)
    return working


def _works(backend: str) -> bool:
    env = {**os.environ, "MUJOCO_GL": backend}
    if backend != "cgl":
        env["PYOPENGL_PLATFORM"] = backend
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE.format(backend)],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "inspire-gl-ok" in probe.stdout


class _SharedContext:
    """The only OpenGL context of the process. A forked child makes its own: OpenGL does not survive a fork."""

    def __init__(self) -> None:
        self.pid = -1
        self.context: Any = None

    def make_current(self) -> None:
        if self.pid != os.getpid():
            self.context = _open_context()
            self.pid = os.getpid()
            atexit.register(_free, self.context)
        self.context.make_current()


_SHARED = _SharedContext()


def _free(context: Any) -> None:
    """Free the context before the interpreter unloads EGL. Errors are ignored: EGL may be gone already."""
    with contextlib.suppress(Exception):
        context.free()
    context._context = None  # else mujoco tries again when its modules are gone, and prints a traceback


def _open_context() -> Any:
    backend = choose_gl_backend()
    try:
        if backend == "disable":
            raise RuntimeError(f"none of {_BACKENDS} answered")
        kind = importlib.import_module(f"mujoco.{backend}").GLContext
        kind._context = None  # one that cannot be made would print a traceback when it is collected
        return kind(640, 640)
    except Exception as reason:
        raise GraphicsUnavailable(
            f"Cannot draw images: off-screen OpenGL failed with MUJOCO_GL={backend!r} ({reason_of(reason)}). "
            "On Debian or Ubuntu install 'libegl1 libgl1-mesa-dri' (EGL) or 'libosmesa6' (OSMesa), "
            "unset MUJOCO_GL and try again. Without images, make the environment with cameras=()."
        ) from reason


class Renderer:
    """Draws named cameras of one compiled model. Raises GraphicsUnavailable if there is no off-screen OpenGL."""

    def __init__(self, model: "mujoco.MjModel") -> None:
        import mujoco

        self._mujoco = mujoco
        self._model = model
        self._pid = -1
        self._scene = mujoco.MjvScene(model, maxgeom=400)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._option = mujoco.MjvOption()
        self._option.sitegroup[:] = 0
        self._option.geomgroup[:] = 0
        self._option.geomgroup[:3] = 1
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._perturb = mujoco.MjvPerturb()

    def render(self, data: "mujoco.MjData", camera: str, height: int, width: int) -> np.ndarray:
        """Return the current image of the named camera, uint8 (height, width, 3), upright."""
        mujoco = self._mujoco
        _SHARED.make_current()
        if self._pid != os.getpid():
            self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_50)
            self._pid = os.getpid()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._camera.fixedcamid = self._model.camera(camera).id
        category = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            self._model, data, self._option, self._perturb, self._camera, category, self._scene
        )
        viewport = mujoco.MjrRect(0, 0, width, height)
        image = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_render(viewport, self._scene, self._context)
        mujoco.mjr_readPixels(image, None, viewport, self._context)
        return np.ascontiguousarray(image[::-1])

    def segment(self, data: "mujoco.MjData", camera: str, height: int, width: int) -> np.ndarray:
        """Return the id of the body that each pixel shows, int (height, width); -1 where there is none."""
        mujoco, scene = self._mujoco, self._scene
        flags = [int(mujoco.mjtRndFlag.mjRND_SEGMENT), int(mujoco.mjtRndFlag.mjRND_IDCOLOR)]
        scene.flags[flags] = 1
        try:
            colours = self.render(data, camera, height, width).astype(np.int32)
        finally:
            scene.flags[flags] = 0
        ids = colours[..., 0] + (colours[..., 1] << 8) + (colours[..., 2] << 16)
        body_of_id = np.full(max(scene.ngeom, int(ids.max())) + 2, -1)
        for geom in scene.geoms[: scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                body_of_id[geom.segid + 1] = self._model.geom_bodyid[geom.objid]
        return body_of_id[ids]


@functools.cache
def shared_renderer(model: "mujoco.MjModel") -> Renderer:
    """Return the renderer of a compiled model that all its environments in this process share."""
    return Renderer(model)


def subtree(model: "mujoco.MjModel", body: str) -> list[int]:
    """Return the ids of a body and of all its descendants."""
    bodies = [model.body(body).id]
    for number in range(bodies[0] + 1, model.nbody):  # a parent's id is lower than its children's
        if int(model.body_parentid[number]) in bodies:
            bodies.append(number)
    return bodies
