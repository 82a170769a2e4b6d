"""The rendering context of a LIBERO simulation, kept over its resets: on a CPU half of a reset is to make one.

A reset of robosuite reads the scene's XML again, because objects and fixtures stand elsewhere. Textures and meshes stay
the same, and they are what a context holds.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

import mujoco

MAX_GEOMS = 1000
"""Of a drawn scene, as robosuite has it."""


def keep_render_context(inner: Any, process_xml: Callable[[str], str] = str) -> None:
    """Let the resets of a robosuite environment keep the rendering context where the scene differs in its bodies alone.

    Args:
        inner: the environment. Closing it frees the context.
        process_xml: what is done with a scene's XML before it is read (robosuite's `set_xml_processor`).
    """
    _KeptContext(inner, process_xml)


class _KeptContext:
    def __init__(self, inner: Any, process_xml: Callable[[str], str]) -> None:
        self._inner, self._process = inner, process_xml
        self._context: Any = None
        """While no simulation has it."""
        self._look = self._look_of_context = ""
        self._destroy, self._initialize, self._close = inner._destroy_sim, inner._initialize_sim, inner.close
        inner._destroy_sim, inner._initialize_sim, inner.close = (
            self.destroy_sim,
            self.initialize_sim,
            self.close,
        )
        inner.set_xml_processor(self.process_xml)

    def process_xml(self, xml: str) -> str:
        xml = self._process(xml)
        parts = (part for part in ElementTree.fromstring(xml) if part.tag != "worldbody")
        self._look = "".join(ElementTree.tostring(part, encoding="unicode") for part in parts)
        return xml

    def destroy_sim(self) -> None:
        sim = self._inner.sim
        if sim is not None and sim._render_context_offscreen is not None:
            self._context, sim._render_context_offscreen = sim._render_context_offscreen, None
            for name in ("sim", "model", "data", "scn"):
                setattr(self._context, name, None)
        self._destroy()

    def initialize_sim(self, *args: Any, **kwargs: Any) -> None:
        self._initialize(*args, **kwargs)
        context, self._context = self._context, None
        if context is not None and self._look == self._look_of_context:
            sim = self._inner.sim
            context.sim, context.model, context.data = sim, sim.model, sim.data
            context.scn = mujoco.MjvScene(sim.model._model, maxgeom=MAX_GEOMS)
            sim.add_render_context(context)
        self._look_of_context = self._look

    def close(self) -> None:
        self._close()
        self._context = None
