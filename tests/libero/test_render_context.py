"""A reset keeps the rendering context, and draws what a new one would draw."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from inspire_vla.libero import simulation
from inspire_vla.libero.render_context import keep_render_context
from inspire_vla.libero.simulation import draw, make_simulation, segment

EXTRA = '<texture name="extra" type="2d" builtin="flat" width="8" height="8"/></asset>'


@pytest.fixture
def env(recording: Any) -> Iterator[Any]:
    made = make_simulation(recording.path, pixels=64, render="fast")
    yield made
    if hasattr(made, "env"):
        made.close()


def images(env: Any) -> np.ndarray:
    """Of two resets, whose fixtures stand elsewhere: both cameras and the geoms."""
    drawn = []
    for seed in (1, 2):
        env.seed(seed)
        env.reset()
        drawn += [draw(env.env, "image", 64), draw(env.env, "image2", 64)]
        drawn += [segment(env.env, "image", 64)[..., None].repeat(3, -1)]
    return np.stack(drawn)


def test_images_are_those_of_a_new_context(env: Any, recording: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context = env.env.sim._render_context_offscreen
    kept = images(env)
    assert env.env.sim._render_context_offscreen is context
    assert not np.array_equal(kept[0], kept[3]), "the two scenes look alike, so they show little"
    env.close()
    monkeypatch.setattr(
        simulation, "keep_render_context", lambda inner, process_xml: inner.set_xml_processor(process_xml)
    )
    fresh = make_simulation(recording.path, pixels=64, render="fast")
    try:
        first = fresh.env.sim._render_context_offscreen
        assert np.array_equal(images(fresh), kept)
        assert fresh.env.sim._render_context_offscreen is not first
    finally:
        fresh.close()


def test_another_look_gets_a_new_context(env: Any) -> None:
    looks = ["</asset>", "</asset>", EXTRA, EXTRA]
    keep_render_context(env.env, lambda xml: xml.replace("</asset>", looks.pop(0)))
    env.reset()  # the first description of what the context holds
    found = []
    while looks:
        before = env.env.sim._render_context_offscreen
        env.reset()
        found.append(env.env.sim._render_context_offscreen is before)
    assert found == [True, False, True]


def test_closing_frees_it(env: Any) -> None:
    context = env.env.sim._render_context_offscreen
    freed: list[bool] = []
    context.gl_ctx.free = lambda free=context.gl_ctx.free: freed.append(True) or free()
    del context
    env.close()
    simulation.gc.collect()
    assert freed
