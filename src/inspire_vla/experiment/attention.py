"""Attention of several policies in the initial states of a benchmark's tasks, measured and drawn."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from inspire_vla.episode_conventions import FIRST_SEED
from inspire_vla.errors import InspireError
from inspire_vla.reports.attention import (
    TILE,
    Attention,
    Example,
    Measurement,
    Share,
    Tile,
    attention_share,
    outlined,
    overlay,
)

WHITE = (255, 255, 255)
TARGETS = ((255, 205, 70), (90, 220, 255), (255, 120, 200), (140, 235, 120))
"""Colours of the outlines of the first, second, … object mentioned."""
PATCH = 16
"""Pixels per image token. Attention shares are computed on masks of this resolution."""


def measure_attention(
    agents: Sequence[tuple[str, Any]],
    benchmark: Any,
    suites: Sequence[str],
    *,
    episodes: int,
    examples: int = 1,
    method: str = "rollout",
    on_state: Callable[[], None] = lambda: None,
) -> Attention:
    """Let every agent decide at the first image of each task, and measure its attention.

    Args:
        agents: (name, agent), the base model first.
        benchmark: one whose environments have `target_masks` and `image`, as those of the tabletop.
        episodes: initial states per task that are measured; 0 for only the examples.
        examples: tasks of each suite that are drawn, the first ones, in their first state.
        on_state: called after each initial state.

    Raises:
        InspireError: two agents of one name, or as `lerobot_plugin.attention.attention_maps`.
    """
    from inspire_vla.lerobot_plugin.attention import attention_maps  # imports torch: seconds

    check_names([name for name, _ in agents])
    drawn: list[Example] = []
    measured: list[Measurement] = []
    for suite in suites:
        group = benchmark.groups[suite]
        for number, task in enumerate(benchmark.tasks(suite)):
            shown = number < examples
            if not shown and not episodes:
                break
            env = benchmark.make(suite, task)
            for episode in range(max(episodes, int(shown))):
                seed = FIRST_SEED + episode
                observation, info = env.reset(seed=seed)
                by_agent = [
                    (name, attention_maps(agent, observation, info["task"], method=method))
                    for name, agent in agents
                ]
                shares = {name: [_share(env, info, each) for each in its] for name, its in by_agent}
                if shown and not episode:
                    drawn.append(_example(env, info, suite, seed, by_agent, shares))
                if episode < episodes:
                    for name, its in by_agent:
                        for each, share in zip(its, shares[name], strict=True):
                            of = name, group, suite, task, seed, each.doing, each.mention
                            measured.append(Measurement(*of, share.share, share.area))
                on_state()
            env.close()
    about = {"method": method, "suites": list(suites), "episodes": episodes}
    return Attention(tuple(drawn), tuple(measured), about)


def count_states(benchmark: Any, suites: Sequence[str], *, episodes: int, examples: int) -> int:
    """Return the number of initial states that `measure_attention` visits."""
    tasks = [len(benchmark.tasks(suite)) for suite in suites]
    return sum(n * episodes if episodes else min(n, examples) for n in tasks)


def check_names(names: Sequence[str]) -> None:
    """Raise InspireError for two policies of one name."""
    if len(set(names)) < len(names):
        raise InspireError(f"every policy needs a name of its own, found {list(names)}.")


def _mask(
    masks: Bool[np.ndarray, "objects height width"], info: Any, mention: str | None
) -> Bool[np.ndarray, "height width"]:
    """The mask of the object mentioned; without a mention, of all objects."""
    mentions = list(info["mentions"])
    return masks[mentions.index(mention)] if mention in mentions else np.any(masks, axis=0)


def _share(env: Any, info: Any, each: Any) -> Share:
    height, width = each.weights.shape
    masks = env.target_masks("image", PATCH * height, PATCH * width)
    return attention_share(each.weights, _mask(masks, info, each.mention))


def _example(env: Any, info: Any, suite: str, seed: int, by_agent: Any, shares: Any) -> Example:
    image = env.image("image", TILE, TILE)
    masks = env.target_masks("image", TILE, TILE)
    camera = overlay(image, None, size=TILE)
    for mask, colour in zip(masks, TARGETS, strict=False):
        camera = outlined(camera, mask, colour)
    tiles = [Tile(camera, "", "camera image", "outlined: " + ", ".join(info["mentions"]))]
    acting: list[Tile] = []
    answering: list[Tile] = []
    for name, its in by_agent:
        for each, share in zip(its, shares[name], strict=True):
            attended = overlay(image, each.weights, size=TILE)
            shown = outlined(attended, _mask(masks, info, each.mention), WHITE, width=1)
            about = f"{each.mention}? {each.answer}." if each.mention else ""
            (answering if each.mention else acting).append(Tile(shown, name, each.doing, about, share))
    return Example(info["task"], suite, seed, (*tiles, *acting, *answering))
