"""Flow matching: an expert that turns noise into an action chunk, over the keys and values of the backbone.

    noise ──▶ expert ──▶ expert ──▶ … ──▶ action chunk        `denoise`: a few Euler steps
                ▲           ▲
                └───────────┴── keys and values of every backbone layer: images, questions, answers, instruction, state

The backbone runs once; its elements never attend to the actions. So one cache serves answers and actions, and nothing
is encoded twice. In training, action codes may follow in the backbone's sequence, which it learns by cross-entropy
(arXiv 2505.23705). The expert never sees them, see `visible_columns`.

The convention is that of π0 (arXiv 2410.24164), as in openpi and LeRobot:

    time 1 is noise, time 0 is the action chunk:    noisy = time · noise + (1 − time) · actions
    velocity = d noisy / d time = noise − actions

Tensor axes: batch; horizon = actions of a chunk; dim = numbers of an action, as wide as the expert takes them;
columns = elements of the backbone's sequence, padding included; kv_head, head_dim = of the backbone's attention.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from inspire_vla.backbones.attention import PAD
from inspire_vla.backbones.base import KeyValues
from inspire_vla.dialogue import TokenType
from inspire_vla.errors import InspireError


@dataclass(frozen=True)
class FlowContext:
    """What the expert knows of the backbone's sequence.

    Attributes:
        key_values: of every backbone layer.
        visible: the columns that the actions attend to, see `visible_columns`.
        positions: the position of each action. They go on behind the visible elements, hidden ones included.
    """

    key_values: KeyValues
    visible: Bool[Tensor, "batch columns"]
    positions: Int[Tensor, "batch horizon"]

    @classmethod
    def of(
        cls,
        key_values: KeyValues,
        token_types: Int[Tensor, "batch columns"],
        horizon: int,
        hide: Collection[TokenType] = (),
    ) -> "FlowContext":
        """The context of a sequence with these token types: a `TokenType`, PREFIX or PAD for each column."""
        visible = visible_columns(token_types, hide)
        given = visible_columns(token_types).sum(1, keepdim=True)
        return cls(key_values, visible, given + torch.arange(horizon, device=given.device))

    def detached(self) -> "FlowContext":
        """The same without gradient: what the expert learns does not change the backbone (knowledge insulation)."""
        detached = [(keys.detach(), values.detach()) for keys, values in self.key_values]
        return FlowContext(detached, self.visible, self.positions)

    def repeated(self, times: int) -> "FlowContext":
        """Each row `times` times in a row, for as many draws of noise."""
        repeated = [
            (keys.repeat_interleave(times, 0), values.repeat_interleave(times, 0))
            for keys, values in self.key_values
        ]
        visible, positions = (x.repeat_interleave(times, 0) for x in (self.visible, self.positions))
        return FlowContext(repeated, visible, positions)


def visible_columns(
    token_types: Int[Tensor, "batch columns"], hide: Collection[TokenType] = ()
) -> Bool[Tensor, "batch columns"]:
    """The columns that actions attend to: all but padding, action codes and what `hide` names.

    The mask of training and of decoding. `hide` is that of `make_attention_mask`, which keeps the rest of the sequence
    from attending to the same tokens.
    """
    visible = (token_types != PAD) & (token_types != TokenType.ACTION)
    for token_type in hide:
        visible &= token_types != token_type
    return visible


class FlowExpert(nn.Module, ABC):
    """Predicts the velocity of a noisy action chunk. One class for training and decoding.

    Every expert passes the tests in tests/backbones/flow_laws.py.

    Attributes:
        horizon: actions of a chunk.
        action_dim: numbers of an action as the expert takes them. A robot with fewer is padded with zeros, and the
            loss leaves the padding out.
        denoising_steps: Euler steps of `denoise`, unless another number is given.
        loss_on_padding: whether the loss counts actions beyond the end of an episode (π0.5 does, SmolVLA does not).
    """

    denoising_steps: ClassVar[int] = 10
    loss_on_padding: ClassVar[bool] = False
    horizon: int
    action_dim: int

    @abstractmethod
    def velocity(
        self,
        noisy_actions: Float[Tensor, "batch horizon dim"],
        time: Float[Tensor, " batch"],
        prepared: Any,
    ) -> Float[Tensor, "batch horizon dim"]:
        """The velocity at `noisy_actions`, float32. `prepared`: see `prepare`."""

    def prepare(self, context: FlowContext) -> Any:
        """What all denoising steps share, computed once: for example keys and values projected to the expert's width.

        Default: the context itself.
        """
        return context

    def prepare_draws(self, context: FlowContext, draws: int) -> Any:
        """`prepare` for `draws` noisy chunks of each row, one after another.

        Default: each row as often. An expert saves time where it shares a row's keys and values among its draws.
        """
        return self.prepare(context if draws == 1 else context.repeated(draws))

    def sample_time(self, batch: int, rng: np.random.Generator) -> Float[np.ndarray, " batch"]:
        """Times of training: Beta(1.5, 1), scaled to [0.001, 1], so that more noise is more frequent, as in π0."""
        return rng.beta(1.5, 1.0, batch) * 0.999 + 0.001

    def sample_noise(self, batch: int, rng: np.random.Generator) -> Float[np.ndarray, "batch horizon dim"]:
        """Standard normal numbers."""
        return rng.standard_normal((batch, self.horizon, self.action_dim))


def embed_time(time: Float[Tensor, " batch"], width: int) -> Float[Tensor, "batch width"]:
    """Sines, then cosines, of periods from 0.004 to 4 in geometric steps, as in openpi and LeRobot."""
    shortest, longest = 4e-3, 4.0
    share = torch.linspace(0, 1, width // 2, dtype=torch.float32, device=time.device)
    angles = 2 * math.pi * time[:, None] / (shortest * (longest / shortest) ** share)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def flow_loss(
    expert: FlowExpert,
    context: FlowContext,
    actions: Float[Tensor, "batch horizon robot_dim"],
    is_pad: Bool[Tensor, "batch horizon"] | None = None,
    *,
    noise: Float[Tensor, "draws horizon dim"],
    time: Float[Tensor, " draws"],
) -> Float[Tensor, ""]:
    """The mean squared error of the velocity, over the robot's own numbers.

    Args:
        actions: normalised.
        is_pad: actions beyond the end of the episode.
        noise, time: see `FlowExpert.sample_noise` and `sample_time`; the same number of draws for each row, those of
            the first row first.

    Raises:
        InspireError: actions of another horizon, or wider than the expert takes them.
    """
    robot_dim = actions.shape[-1]
    if actions.shape[1] != expert.horizon or robot_dim > expert.action_dim:
        raise InspireError(
            f"The expert takes {expert.horizon} actions of at most {expert.action_dim} numbers; found "
            f"{actions.shape[1]} of {robot_dim}."
        )
    draws = len(noise) // len(actions)
    wide = pad(actions.float(), (0, expert.action_dim - robot_dim)).repeat_interleave(draws, 0)
    share = time[:, None, None]
    prepared = expert.prepare_draws(context, draws)
    velocity = expert.velocity(share * noise + (1 - share) * wide, time, prepared)
    errors = (velocity - (noise - wide))[..., :robot_dim] ** 2
    if is_pad is None or expert.loss_on_padding:
        return errors.mean()
    real = ~is_pad.repeat_interleave(draws, 0)
    return (errors * real[..., None]).sum() / (real.sum() * robot_dim).clamp(min=1)


def denoise(
    expert: FlowExpert,
    context: FlowContext,
    noise: Float[Tensor, "batch horizon dim"],
    steps: int | None = None,
) -> Float[Tensor, "batch horizon dim"]:
    """Integrate the velocity from time 1 (`noise`) to time 0 (actions), by Euler steps of equal length."""
    steps = steps or expert.denoising_steps
    prepared = expert.prepare(context)
    actions = noise
    for step in range(steps):
        time = torch.full((len(noise),), 1 - step / steps, device=noise.device)
        actions = actions - expert.velocity(actions, time, prepared) / steps
    return actions
