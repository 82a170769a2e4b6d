"""Images without a display: find a working OpenGL, then draw a camera of a model into an array.

One OpenGL context serves the whole process; every compiled model adds its own buffers to it. Shadows,
reflections and anti-aliasing stay off, because software rendering pays for each of them.
"""

import atexit
import contextlib
import functools
import importlib
import os
import subprocess
import sys
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError

_BACKENDS = ("cgl",) if sys.platform == "darwin" else ("egl", "osmesa")
_PROBE = "from mujoco.{0} import GLContext; c = GLContext(8, 8); c.make_current(); print('inspire-gl-ok'); c.free()"
_OFF = ("disable", "disabled", "off", "false", "0")


class GraphicsUnavailable(InspireError):
    """No off-screen OpenGL works on this machine, so there can be no images. Physics still runs."""


@functools.cache
def choose_gl_backend() -> str:
    """Return "egl", "osmesa" ("cgl" on macOS) or "disable", set MUJOCO_GL to it, and remember it for child processes.

    A MUJOCO_GL that is already set wins. Otherwise each back end is tried once in a child process,
    since a broken driver can end the process that tries it. Call this before mujoco is imported.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted in _BACKENDS or wanted in _OFF:
        return "disable" if wanted in _OFF else wanted
    found = next((backend for backend in _BACKENDS if _works(backend)), "disable")
    os.environ["MUJOCO_GL"] = found
    if found in ("egl", "osmesa"):
        os.environ.setdefault("PYOPENGL_PLATFORM", found)
    return found


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
    """The process's only OpenGL context. A forked child makes its own, for OpenGL does not survive a fork."""

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
    """Free the context before the interpreter's own clean-up, when EGL is gone; it may be gone already."""
    with contextlib.suppress(Exception):
        context.free()


def _open_context():
    backend = choose_gl_backend()
    try:
        if backend == "disable":
            raise RuntimeError(f"none of {_BACKENDS} answered")
        return importlib.import_module(f"mujoco.{backend}").GLContext(640, 640)
    except Exception as reason:
        raise GraphicsUnavailable(
            f"Cannot draw images: off-screen OpenGL failed with MUJOCO_GL={backend!r} ({reason}). "
            "On Debian or Ubuntu install 'libegl1 libgl1-mesa-dri' (EGL) or 'libosmesa6' (OSMesa), "
            "unset MUJOCO_GL and try again. Without images, make the environment with cameras=()."
        ) from reason


class Renderer:
    """Draws named cameras of one compiled model.

    Raises GraphicsUnavailable when the machine has no off-screen OpenGL.
    """

    def __init__(self, model) -> None:
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

    def render(self, data, camera: str, height: int, width: int) -> np.ndarray:
        """Return the image uint8 (height, width, 3), upright, as the named camera sees `data` now."""
        mujoco = self._mujoco
        _SHARED.make_current()
        if self._pid != os.getpid():
            self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_50)
            self._pid = os.getpid()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._camera.fixedcamid = self._model.camera(camera).id
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._option,
            self._perturb,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        viewport = mujoco.MjrRect(0, 0, width, height)
        image = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_render(viewport, self._scene, self._context)
        mujoco.mjr_readPixels(image, None, viewport, self._context)
        return np.ascontiguousarray(image[::-1])
