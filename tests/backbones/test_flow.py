"""The common part of flow matching: what is zero for the exact field, what is drawn, and what does not count."""

import numpy as np
import pytest
import torch
from torch import Tensor

from inspire_vla.backbones.attention import PAD, PREFIX
from inspire_vla.backbones.flow import (
    FlowContext,
    FlowExpert,
    denoise,
    embed_time,
    flow_loss,
    visible_columns,
)
from inspire_vla.dialogue import TokenType
from inspire_vla.errors import InspireError

HORIZON, WIDE, ROBOT = 3, 5, 2
TARGET = torch.nn.functional.pad(torch.rand(2, HORIZON, ROBOT) * 2 - 1, (0, WIDE - ROBOT))
CONTEXT = FlowContext([], torch.ones(2, 4, dtype=torch.bool), torch.zeros(2, HORIZON, dtype=torch.long))


class ExactField(FlowExpert):
    """The velocity towards one known chunk for each row."""

    horizon, action_dim = HORIZON, WIDE

    def velocity(self, noisy_actions: Tensor, time: Tensor, prepared: FlowContext) -> Tensor:
        return (noisy_actions - TARGET) / time[:, None, None]


def loss_of(actions: Tensor, is_pad: Tensor | None = None, expert: FlowExpert | None = None) -> Tensor:
    expert, rng = expert or ExactField(), np.random.default_rng(0)
    noise, time = expert.sample_noise(2, rng), expert.sample_time(2, rng)
    return flow_loss(
        expert,
        CONTEXT,
        actions,
        is_pad,
        noise=torch.from_numpy(noise).float(),
        time=torch.from_numpy(time).float(),
    )


def test_the_exact_field_has_no_loss_and_leads_to_the_actions() -> None:
    assert loss_of(TARGET[..., :ROBOT]) < 1e-6
    for steps in (1, 4, 10):
        actions = denoise(ExactField(), CONTEXT, torch.randn(2, HORIZON, WIDE), steps)
        torch.testing.assert_close(actions, TARGET, rtol=0, atol=1e-5)


def test_actions_beyond_the_episode_and_padded_numbers_do_not_count() -> None:
    actions = TARGET[..., :ROBOT].clone()
    actions[0, 1:] += 5  # the field is exact for the others
    is_pad = torch.zeros(2, HORIZON, dtype=torch.bool)
    assert loss_of(actions, is_pad) > 1
    is_pad[0, 1:] = True
    assert loss_of(actions, is_pad) < 1e-6
    expert = ExactField()
    expert.loss_on_padding = True  # type: ignore[misc]
    assert loss_of(actions, is_pad, expert) > 1


def test_times_are_those_of_pi0() -> None:
    times = ExactField().sample_time(20_000, np.random.default_rng(0))
    assert 0.001 <= times.min() < times.max() <= 1
    beta = torch.distributions.Beta(1.5, 1.0).sample((20_000,)).numpy() * 0.999 + 0.001
    shares = [0.05, 0.25, 0.5, 0.75, 0.95]
    np.testing.assert_allclose(np.quantile(times, shares), np.quantile(beta, shares), atol=0.02)


def test_times_are_embedded_as_in_lerobot() -> None:
    from lerobot.policies.common.vla_utils import create_sinusoidal_pos_embedding

    time = torch.tensor([0.001, 0.3, 1.0])
    expected = create_sinusoidal_pos_embedding(time, 16, 4e-3, 4.0, device=time.device)
    torch.testing.assert_close(embed_time(time, 16), expected.float(), rtol=0, atol=1e-3)


def test_padding_and_codes_are_never_visible_and_positions_go_on_behind_the_rest() -> None:
    types = torch.tensor(
        [[PREFIX, TokenType.QUESTION, TokenType.ANSWER, TokenType.INSTRUCTION, TokenType.ACTION, PAD]]
    )
    assert visible_columns(types).tolist() == [[True, True, True, True, False, False]]
    hidden = (TokenType.ANSWER, TokenType.QUESTION)
    assert visible_columns(types, hidden).tolist() == [[True, False, False, True, False, False]]
    assert FlowContext.of([], types, 2, hidden).positions.tolist() == [[4, 5]]


def test_actions_that_do_not_fit_are_refused() -> None:
    for shape in ((2, HORIZON + 1, ROBOT), (2, HORIZON, WIDE + 1)):
        with pytest.raises(InspireError, match=f"takes {HORIZON} actions of at most {WIDE}"):
            loss_of(torch.zeros(shape))
