"""Nano passes the backbone laws, with causal attention and with a bidirectional prefix."""

import pytest
import torch
from tests.backbones.backbone_laws import ROWS, BackboneLaws
from tests.backbones.tiny import SIZE, tiny

from inspire_vla.backbones.nano import Nano
from inspire_vla.errors import InspireError


class TestNano(BackboneLaws):
    bidirectional_prefix = False

    def make(self, seed: int) -> tuple[Nano, torch.Tensor, torch.Tensor]:
        backbone = tiny(7, bidirectional_prefix=self.bidirectional_prefix)
        torch.manual_seed(seed)
        for parameter in backbone.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
        return backbone, torch.rand(ROWS, 1, 3, SIZE, SIZE), torch.randn(ROWS, 3)


class TestNanoBidirectionalPrefix(TestNano):
    bidirectional_prefix = True


def test_images_of_another_size_or_number_are_refused() -> None:
    nano = tiny(0)
    for shape in ((1, 1, 3, SIZE, 2 * SIZE), (1, 2, 3, SIZE, SIZE)):
        with pytest.raises(InspireError, match=f"takes 1 image.*{SIZE}×{SIZE}"):
            nano.encode_observation(torch.rand(shape), torch.zeros(1, 3))


def test_a_missing_state_is_refused() -> None:
    with pytest.raises(InspireError, match="trained with the robot state"):
        tiny(0).encode_observation(torch.rand(1, 1, 3, SIZE, SIZE), None)
