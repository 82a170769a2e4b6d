"""The noise of a flow expert: fixed by the step in training, and by the observation in acting."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inspire_vla.backbones.flow import FlowExpert
from inspire_vla.lerobot_plugin.lerobot_host import several_processes


class FlowDraw(NamedTuple):
    """The noise, and the times between noise (1) and action (0), of a training step."""

    noise: Float[Tensor, "rows horizon dim"]
    time: Float[Tensor, " rows"]


def draw_for_step(expert: FlowExpert, rows: int, step: int) -> FlowDraw:
    """Draw what a training step learns from. It is fixed by the training's seed, the process and the step's number."""
    process = torch.distributed.get_rank() if several_processes() else 0
    rng = np.random.default_rng([torch.initial_seed() % (1 << 63), process, step])
    noise = expert.sample_noise(rows, rng)
    return FlowDraw(_tensor(noise), _tensor(expert.sample_time(rows, rng)))


def draw_noise(expert: FlowExpert, rngs: Sequence[np.random.Generator]) -> Float[Tensor, "rows horizon dim"]:
    """Draw the noise that each row's decision starts from, by the row's generator."""
    return _tensor(np.concatenate([expert.sample_noise(1, rng) for rng in rngs]))


def seeded_by(observations: Float[np.ndarray, "rows numbers"]) -> list[np.random.Generator]:
    """Return a generator for each row, with the row's numbers as its seed: so a decision can be repeated."""
    digests = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in observations]
    return [np.random.default_rng(list(digest)) for digest in digests]


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
