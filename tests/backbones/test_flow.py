"""The common part of flow matching: what is zero for the exact field, what is drawn, and what does not count."""

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


def test_the_exact_field_has_no_loss_and_leads_to_the_actions() -> None:
    torch.manual_seed(0)
    assert flow_loss(ExactField(), CONTEXT, TARGET[..., :ROBOT]) < 1e-6
    for steps in (1, 4, 10):
        found = denoise(ExactField(), CONTEXT, torch.randn(2, HORIZON, WIDE), steps)
        torch.testing.assert_close(found, TARGET, rtol=0, atol=1e-5)


def test_actions_beyond_the_episode_and_padded_numbers_do_not_count() -> None:
    actions = TARGET[..., :ROBOT].clone()
    actions[0, 1:] += 5  # the field is exact for the others
    is_pad = torch.zeros(2, HORIZON, dtype=torch.bool)
    assert flow_loss(ExactField(), CONTEXT, actions, is_pad) > 1
    is_pad[0, 1:] = True
    assert flow_loss(ExactField(), CONTEXT, actions, is_pad) < 1e-6
    expert = ExactField()
    expert.loss_on_padding = True  # type: ignore[misc]
    assert flow_loss(expert, CONTEXT, actions, is_pad) > 1


def test_the_seed_fixes_time_and_noise() -> None:
    class Zero(ExactField):
        def velocity(self, noisy_actions: Tensor, time: Tensor, prepared: FlowContext) -> Tensor:
            return torch.zeros_like(noisy_actions)

    def loss(seed: int) -> float:
        torch.manual_seed(seed)
        return float(flow_loss(Zero(), CONTEXT, TARGET[..., :ROBOT]))

    assert loss(1) == loss(1) != loss(2)


def test_times_are_those_of_pi0() -> None:
    torch.manual_seed(0)
    times = ExactField().sample_time(20_000, torch.device("cpu"))
    assert times.min() >= 0.001
    assert times.max() <= 1
    beta = torch.distributions.Beta(1.5, 1.0).sample((20_000,)) * 0.999 + 0.001
    shares = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    torch.testing.assert_close(times.quantile(shares), beta.quantile(shares), rtol=0, atol=0.02)


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
            flow_loss(ExactField(), CONTEXT, torch.zeros(shape))
