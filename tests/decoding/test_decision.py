"""What the caller sees cannot be changed, and says all of the reasoning."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from tests.backbones.tiny import Setting


def test_it_is_frozen_and_parallel_to_the_mentions() -> None:
    setting = Setting(5, mode="direction_3d")
    for decision, dialogue in zip(setting.decode(), setting.dialogues(), strict=True):
        assert decision.mentions == dialogue.mentions
        told = decision.answers, decision.confidences, decision.overridden, decision.accepted
        assert {len(part) for part in told} == {len(decision.mentions)}
        assert all(0 < confidence <= 1 for confidence in decision.confidences)
        assert decision.answers_by_mention == dict(zip(decision.mentions, decision.answers, strict=True))
        assert decision.decodable
        assert decision.actions is not None
        assert decision.actions.shape == (setting.tokenizer.horizon, setting.tokenizer.action_dim)
        assert np.abs(decision.actions).max() <= 1
        with pytest.raises(FrozenInstanceError):
            decision.forward_passes = 0


def test_the_base_model_says_nothing() -> None:
    (decision,) = Setting(5, reasoning=False).decode([0])
    assert (decision.mentions, decision.answers, decision.confidences, decision.answers_by_mention) == (
        (),
        (),
        (),
        {},
    )
    assert len(decision.token_ids) == 3
