"""Attention of several policies in the initial states of a benchmark's tasks, measured and drawn."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
)
from inspire_vla.reports.attention_overlay import outlined, overlay

if TYPE_CHECKING:
    from inspire_vla.lerobot_plugin.attention import AttentionMap

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
    check_names([name for name, _ in agents])
    examples_drawn: list[Example] = []
    measured: list[Measurement] = []
    for suite in suites:
        group = benchmark.groups[suite]
        for number, task in enumerate(benchmark.tasks(suite)):
            is_example = number < examples
            if not is_example and not episodes:
                break
            with closing(benchmark.make(suite, task)) as env:
                for episode in range(max(episodes, int(is_example))):
                    seed = FIRST_SEED + episode
                    observation, info = env.reset(seed=seed)
                    maps = _maps(agents, env, observation, info, method)
                    if is_example and not episode:
                        examples_drawn.append(_example(env, info, suite, seed, maps))
                    if episode < episodes:
                        measured += [each.measurement(group, suite, task, seed) for each in maps]
                    on_state()
    about = {"method": method, "suites": list(suites), "episodes": episodes}
    return Attention(tuple(examples_drawn), tuple(measured), about)


def count_states(benchmark: Any, suites: Sequence[str], *, episodes: int, examples: int) -> int:
    """Return the number of initial states that `measure_attention` visits."""
    tasks = [len(benchmark.tasks(suite)) for suite in suites]
    return sum(n * episodes if episodes else min(n, examples) for n in tasks)


def check_names(names: Sequence[str]) -> None:
    """Raise InspireError for two policies of one name."""
    if len(set(names)) < len(names):
        raise InspireError(f"every policy needs a name of its own, found {list(names)}.")


@dataclass(frozen=True)
class _PolicyMap:
    """An attention map of one policy, and the share of it on the object asked about, or on all objects."""

    policy: str
    map: "AttentionMap"
    share: Share

    def measurement(self, group: str, suite: str, task: str, seed: int) -> Measurement:
        share = self.share
        return Measurement(
            self.policy, group, suite, task, seed, self.map.doing, self.map.mention, share.share, share.area
        )


def _maps(
    agents: Sequence[tuple[str, Any]], env: Any, observation: Any, info: Mapping[str, Any], method: str
) -> list[_PolicyMap]:
    """Let every agent decide at an observation: one map for each of its answers, then one for its action."""
    from inspire_vla.lerobot_plugin.attention import attention_maps  # imports torch: seconds

    return [
        _PolicyMap(name, each, _share(env, info, each))
        for name, agent in agents
        for each in attention_maps(agent, observation, info["task"], method=method)
    ]


def _mask(
    masks: Bool[np.ndarray, "objects height width"], info: Mapping[str, Any], mention: str | None
) -> Bool[np.ndarray, "height width"]:
    """The mask of the object mentioned; without a mention, of all objects."""
    mentions = list(info["mentions"])
    return masks[mentions.index(mention)] if mention in mentions else np.any(masks, axis=0)


def _share(env: Any, info: Mapping[str, Any], attention: "AttentionMap") -> Share:
    height, width = attention.weights.shape
    masks = env.target_masks("image", PATCH * height, PATCH * width)
    return attention_share(attention.weights, _mask(masks, info, attention.mention))


def _example(env: Any, info: Mapping[str, Any], suite: str, seed: int, maps: Sequence[_PolicyMap]) -> Example:
    """The camera image with the objects outlined, then the maps of acting, then those of answering."""
    image = env.image("image", TILE, TILE)
    masks = env.target_masks("image", TILE, TILE)
    camera = overlay(image, None, size=TILE)
    for mask, colour in zip(masks, TARGETS, strict=False):
        camera = outlined(camera, mask, colour)
    tiles = [Tile(camera, "", "camera image", "outlined: " + ", ".join(info["mentions"]))]
    for doing in ("acting", "answering"):
        for each in maps:
            if each.map.doing == doing:
                attended = overlay(image, each.map.weights, size=TILE)
                shown = outlined(attended, _mask(masks, info, each.map.mention), WHITE, width=1)
                about = f"{each.map.mention}? {each.map.answer}." if each.map.mention else ""
                tiles.append(Tile(shown, each.policy, doing, about, each.share))
    return Example(info["task"], suite, seed, tuple(tiles))
