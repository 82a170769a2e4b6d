"""Images: which back end, what they show, and what is said when there are none."""

import os
import subprocess
import sys

import numpy as np
import pytest

from inspire_vla.tabletop import rendering
from inspire_vla.tabletop.env import TabletopEnv
from inspire_vla.tabletop.rendering import choose_gl_backend
from inspire_vla.tabletop.suites import SUITES

TASK = SUITES["tabletop_seen"][0]
with_images = pytest.mark.skipif(
    choose_gl_backend() == "disable", reason="no off-screen OpenGL on this machine"
)


@with_images
def test_images_have_the_asked_shape_and_repeat():
    env = TabletopEnv(TASK, cameras=("image", "image2"), image_size=96)
    first, _ = env.reset(seed=0)
    again, _ = env.reset(seed=0)
    for name in ("image", "image2"):
        assert first["pixels"][name].shape == (96, 96, 3)
        assert first["pixels"][name].dtype == np.uint8
        assert np.array_equal(first["pixels"][name], again["pixels"][name])
        assert first["pixels"][name].std() > 10
    assert env.observation_space.contains(first)


DRAW = """
from inspire_vla.tabletop.env import TabletopEnv
from inspire_vla.tabletop.suites import SUITES
env = TabletopEnv(SUITES["tabletop_seen"][0], cameras=("image",), image_size=32)
try:
    env.reset(seed=0)[0]["pixels"]["image"]
except ValueError as error:
    print(str(error)[:18])
"""


@pytest.mark.skipif(choose_gl_backend() != "egl", reason="EGL draws no images on this machine")
@pytest.mark.parametrize(("setting", "more", "stderr"), [
    ({}, "from mujoco import egl; egl.EGL.eglTerminate(egl.EGL_DISPLAY)", ""),  # as robosuite does at its exit
    ({"MUJOCO_EGL_DEVICE_ID": "99"}, "", "Cannot draw images\n"),
])  # fmt: skip
def test_a_process_that_drew_or_could_not_ends_without_a_word(setting, more, stderr):
    done = subprocess.run(
        [sys.executable, "-c", f"{DRAW}\n{more}"],
        env={**os.environ, **setting}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, stderr, "")


@with_images
def test_the_agent_view_looks_back_at_the_robot():
    """The red cube stands on the robot's left and so in the image's right half; the arm is at the top."""
    env = TabletopEnv(TASK, cameras=())
    env.reset(seed=0)
    image = env.image("image", 192, 192).astype(int)
    red = (image[..., 0] > 120) & (image[..., 1] < 70) & (image[..., 2] < 70)
    _, columns = np.nonzero(red)
    assert len(columns) > 20
    assert columns.mean() > 110
    dark = image.sum(-1) < 150
    assert dark[:64].sum() > 3 * dark[128:].sum()


@with_images
def test_environments_share_the_process_without_mixing_images():
    one, two = (TabletopEnv(task, cameras=()) for task in (TASK, SUITES["tabletop_seen"][6]))
    one.reset(seed=0)
    before = one.image()
    two.reset(seed=0)
    assert not np.array_equal(two.image(), before)
    assert np.array_equal(one.image(), before)


def _run(code: str, **variables: str) -> str:
    env = {**os.environ, **variables}
    env = {name: value for name, value in env.items() if value != "unset"}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=100
    ).stdout


def test_a_set_backend_is_kept_and_children_inherit_the_choice(monkeypatch):
    choose_gl_backend.cache_clear()
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert choose_gl_backend() == "osmesa"
    choose_gl_backend.cache_clear()
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setattr(rendering, "_works", lambda backend: backend == "osmesa")
    assert choose_gl_backend() == "osmesa"  # EGL fails its probe: the fall-back
    assert os.environ["MUJOCO_GL"] == "osmesa"
    choose_gl_backend.cache_clear()
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setattr(rendering, "_works", lambda backend: False)
    assert choose_gl_backend() == "disable"
    choose_gl_backend.cache_clear()


def test_without_opengl_physics_runs_and_images_name_the_package():
    out = _run(
        "from inspire_vla.tabletop.env import TabletopEnv\n"
        "from inspire_vla.tabletop.suites import SUITES\n"
        "env = TabletopEnv(SUITES['tabletop_seen'][0], cameras=())\n"
        "env.reset(seed=0); env.step([0] * 7); print('moved')\n"
        "try: env.render()\n"
        "except ValueError as reason: print(reason)\n",
        MUJOCO_GL="disable",
    )
    assert "moved" in out
    assert "libegl1" in out
    assert "libosmesa6" in out
