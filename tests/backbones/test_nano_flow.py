"""nano's flow expert passes the laws, with causal attention and with a bidirectional prefix."""

import pytest
import torch
from tests.backbones.backbone_laws import ROWS
from tests.backbones.flow_laws import FlowLaws
from tests.backbones.tiny import SIZE, tiny

from inspire_vla.backbones.nano import Nano
from inspire_vla.backbones.nano_flow import NanoFlow, NanoFlowConfig
from inspire_vla.errors import InspireError


class TestNanoFlow(FlowLaws):
    bidirectional_prefix = False

    def make(self, seed: int) -> tuple[Nano, NanoFlow, torch.Tensor, torch.Tensor]:
        backbone = tiny(7, bidirectional_prefix=self.bidirectional_prefix)
        torch.manual_seed(seed)
        size = NanoFlowConfig(hidden_size=32, mlp_size=48)
        expert = NanoFlow(size, decoder=backbone.decoder.config, horizon=4, action_dim=self.robot_dim)
        return backbone, expert.eval(), torch.rand(ROWS, 1, 3, SIZE, SIZE), torch.randn(ROWS, 3)


class TestNanoFlowBidirectionalPrefix(TestNanoFlow):
    bidirectional_prefix = True


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(InspireError, match="must be even, found 33"):
        NanoFlow(NanoFlowConfig(hidden_size=33), decoder=tiny(0).decoder.config, horizon=2, action_dim=2)
