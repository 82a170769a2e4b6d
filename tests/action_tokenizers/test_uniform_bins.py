"""OpenVLA's bins."""

import numpy as np
import pytest
from tests.action_tokenizers.laws import TokenizerLaws

from inspire_vla.action_tokenizers import GRIPPER_CONVENTIONS, ActionVocabulary, UniformBins
from inspire_vla.errors import InspireError


class TestUniformBins(TokenizerLaws):
    def make(self):
        return UniformBins(horizon=3, action_dim=7)

    def error_bound(self, tokenizer):
        return tokenizer.max_error  # half a bin


class TestSingleStep(TestUniformBins):
    def make(self):
        return UniformBins()


class TestTurnedGripper(TestUniformBins):
    def make(self):
        return UniformBins(horizon=2, gripper=GRIPPER_CONVENTIONS["libero"])


def test_half_a_bin_is_reached_and_never_exceeded():
    tokenizer = UniformBins(action_dim=1)
    actions = np.linspace(-1, 1, 100_001).reshape(-1, 1, 1)
    error = np.abs(tokenizer.decode(tokenizer.encode(actions)) - actions).max()
    assert tokenizer.max_error == 1 / 255
    assert error == pytest.approx(1 / 255, rel=1e-3)


def test_openvla_token_ids():
    """OpenVLA's own numbers, vocabulary of 32000: −1 → 31999, 0 → 31872, 1 → 31744, and their bins' centres."""
    tokenizer, vocabulary = UniformBins(action_dim=4), ActionVocabulary.last_ids(32000, 256)
    ids = vocabulary.to_ids(tokenizer.encode(np.array([[-1.0, 0.0, 0.9999, 1.0]])))
    assert ids.tolist() == [31999, 31872, 31745, 31744]
    centres = tokenizer.decode(vocabulary.to_codes(ids))[0]
    np.testing.assert_allclose(centres, [-254 / 255, 0, 254 / 255, 254 / 255], atol=1e-7)


def test_bins_are_a_whole_number():
    for bins in (1, 0, -3, 2.5, True, "256"):
        with pytest.raises(InspireError, match="bins"):
            UniformBins(bins=bins)
