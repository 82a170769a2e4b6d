"""Sampling is constrained to the allowed tokens; probabilities are the softmax over them."""

import numpy as np
import pytest
from tests.backbones.tiny import MODES, TOKENIZER, answer_set

from inspire_vla.decoding import AllowedTokens, AnswerSet, sample
from inspire_vla.dialogue import NANO_TEMPLATE
from inspire_vla.errors import InspireError
from inspire_vla.spatial import answer_words


def allowed_tokens(columns: list[int]) -> AllowedTokens:
    """Tokens whose ids are 100 above their columns."""
    return AllowedTokens(np.array(columns) + 100, np.array(columns))


@pytest.mark.parametrize("shift", [-1000.0, 0.0, 1000.0])
def test_a_forbidden_token_never_wins(shift: float) -> None:
    """With scores multiplied by a mask it would win wherever all allowed scores are negative."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        scores = rng.normal(size=12).astype(np.float32) + np.float32(shift)
        columns = sorted(rng.choice(12, size=int(rng.integers(1, 12)), replace=False).tolist())
        scores[np.setdiff1d(np.arange(12), columns)] += 5000
        chosen = sample(scores, allowed_tokens(columns))
        best = max(columns, key=lambda column: scores[column])
        assert chosen.token_id == best + 100
        weights = np.exp(scores[columns].astype(np.float64) - scores[best])
        assert chosen.probability == pytest.approx(weights.max() / weights.sum())


def test_an_override_is_returned_with_the_models_own_probability() -> None:
    scores = np.array([0.0, np.log(3.0), 50.0])
    chosen = sample(scores, allowed_tokens([0, 1]), override=100)
    assert (chosen.token_id, chosen.probability) == (100, pytest.approx(0.25))


def test_of_equal_scores_the_first_wins() -> None:
    assert sample(np.zeros(4), allowed_tokens([2, 1, 3])).token_id == 102


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_tempered_distribution(temperature: float) -> None:
    scores, allowed = np.array([0.0, 9.0, 1.0, -1.0]), allowed_tokens([0, 2, 3])
    generator = np.random.default_rng(1)
    drawn = [sample(scores, allowed, temperature=temperature, rng=generator) for _ in range(4000)]
    weights = np.exp(scores[allowed.columns] / temperature)
    for token, share in zip(allowed.token_ids, weights / weights.sum(), strict=True):
        frequency = np.mean([chosen.token_id == token for chosen in drawn])
        assert abs(frequency - share) < 4 * np.sqrt(share * (1 - share) / len(drawn))
    # The probability is that at temperature 1, whatever the temperature of the samples.
    plain = np.exp(scores[allowed.columns])
    probabilities = dict(zip(allowed.token_ids.tolist(), (plain / plain.sum()).tolist(), strict=True))
    assert all(chosen.probability == pytest.approx(probabilities[chosen.token_id]) for chosen in drawn)


def test_broken_scores_are_refused() -> None:
    for broken in (np.nan, np.inf):
        with pytest.raises(InspireError, match="NaN or infinite"):
            sample(np.array([0.0, broken]), allowed_tokens([0, 1]))
    assert sample(np.array([0.0, np.nan]), allowed_tokens([0])).token_id == 100  # not looked at


@pytest.mark.parametrize("mode", MODES)
def test_a_walk_through_the_trie_spells_an_answer_and_every_answer_is_a_walk(mode: str) -> None:
    answers = answer_set(mode)
    walks: list[tuple[int, ...]] = [()]
    words = set()
    while walks:
        spelled = walks.pop()
        allowed = answers.allowed(spelled)
        if allowed is None:
            words.add(answers.word(spelled))
            assert answers.token_ids_of[answers.word(spelled)] == spelled
            continue
        assert list(allowed) == sorted(set(allowed.tolist()))
        assert set(allowed.tolist()) <= set(answers.all_ids.tolist())
        walks += [(*spelled, int(token)) for token in allowed]
    assert words == set(answer_words(mode))


def test_an_impossible_word_lists_the_possible_ones() -> None:
    answers = AnswerSet(("left", "right"), TOKENIZER, NANO_TEMPLATE)
    assert answers.check("left") == "left"
    with pytest.raises(InspireError, match=r"'leftt' is no answer here.*'left'") as caught:
        answers.check("leftt")
    assert "right" in str(caught.value)
