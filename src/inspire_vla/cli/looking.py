"""Base and InSpire look at the same initial states of the tabletop: images to show and shares to count."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import FIRST_SEED, group_of
from inspire_vla.reports.attention import outlined, overlay
from inspire_vla.reports.attention_figure import TILE, Attention, Row, Tile
from inspire_vla.reports.attention_share import Measurement, Share, attention_share

WHITE = (255, 255, 255)
TARGETS = ((255, 205, 70), (90, 220, 255), (255, 120, 200), (140, 235, 120))
"""Of the outlines of the first, second, … object mentioned."""
PATCH = 16
"""Pixels a token and side of the masks that shares are counted on."""


def look_around(
    agents: Sequence[tuple[str, Any]],
    benchmark: Any,
    suites: Sequence[str],
    *,
    episodes: int,
    examples: int = 1,
    method: str = "rollout",
    on_state: Callable[[], None] = lambda: None,
) -> Attention:
    """Let every agent decide at the first image of each task, and see where it looked.

    Args:
        agents: (name, agent), the base model first.
        episodes: initial states a task that are measured; 0: only the examples.
        examples: of each suite so many tasks, the first, are shown, from their first state.
        on_state: called after each initial state.

    Raises InspireError for two agents of one name, or as `lerobot_plugin.attention.looks`.
    """
    from inspire_vla.lerobot_plugin.attention import looks

    names = [name for name, _ in agents]
    if len(set(names)) < len(names):
        raise InspireError(f"every policy needs a name of its own, found {names}.")
    rows: list[Row] = []
    measured: list[Measurement] = []
    for suite in suites:
        for number, task in enumerate(benchmark.tasks(suite)):
            shown = number < examples
            if not shown and not episodes:
                break
            env = benchmark.make(suite, task)
            for episode in range(max(episodes, int(shown))):
                seed = FIRST_SEED + episode
                observation, info = env.reset(seed=seed)
                found = [(name, looks(a, observation, info["task"], method=method)) for name, a in agents]
                shares = {name: [_share(env, info, look) for look in its] for name, its in found}
                if shown and not episode:
                    rows.append(_row(env, info, suite, seed, found, shares))
                if episode < episodes:
                    for name, its in found:
                        for look, share in zip(its, shares[name], strict=True):
                            of = (
                                name,
                                group_of(suite, groups=benchmark.groups),
                                suite,
                                task,
                                seed,
                                look.doing,
                                look.mention,
                            )
                            measured.append(Measurement(*of, share.share, share.area))
                on_state()
            env.close()
    return Attention(
        tuple(rows), tuple(measured), {"method": method, "suites": list(suites), "episodes": episodes}
    )


def states_of(benchmark: Any, suites: Sequence[str], *, episodes: int, examples: int) -> int:
    """How many initial states `look_around` goes through."""
    tasks = [len(benchmark.tasks(suite)) for suite in suites]
    return sum(n * episodes if episodes else min(n, examples) for n in tasks)


def _masks(env: Any, height: int, width: int) -> np.ndarray:
    """(k, height, width) bool: an object mentioned each."""
    return np.asarray(env.target_masks("image", height, width))


def _mask(masks: np.ndarray, info: Any, mention: str | None) -> np.ndarray:
    """The object asked about; while acting, all objects mentioned."""
    named = list(info["mentions"])
    return masks[named.index(mention)] if mention in named else np.asarray(masks.any(axis=0))


def _share(env: Any, info: Any, look: Any) -> Share:
    height, width = look.weights.shape
    return attention_share(
        look.weights, _mask(_masks(env, PATCH * height, PATCH * width), info, look.mention)
    )


def _row(env: Any, info: Any, suite: str, seed: int, found: Any, shares: Any) -> Row:
    image = env.image("image", TILE, TILE)
    masks = _masks(env, TILE, TILE)
    camera = overlay(image, None, size=TILE)
    for mask, colour in zip(masks, TARGETS, strict=False):
        camera = outlined(camera, mask, colour)
    tiles = [Tile(camera, "", "what the camera sees", "outlined: " + ", ".join(info["mentions"]))]
    acting: list[Tile] = []
    answering: list[Tile] = []
    for name, its in found:
        for look, share in zip(its, shares[name], strict=True):
            shown = outlined(
                overlay(image, look.weights, size=TILE), _mask(masks, info, look.mention), WHITE, width=1
            )
            about = f"{look.mention}? {look.said}." if look.mention else ""
            (answering if look.mention else acting).append(Tile(shown, name, look.doing, about, share))
    return Row(info["task"], suite, seed, (*tiles, *acting, *answering))
