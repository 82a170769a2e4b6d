"""Closed sets: what is forbidden cannot win, whatever the scores; what is chosen is the softmax over the rest."""

import numpy as np
import pytest
from tests.backbones.tiny import MODES, TOKENIZER, answer_set

from inspire_vla.decoding import AnswerSet, ClosedSet, choose
from inspire_vla.dialogue import NANO_TEMPLATE
from inspire_vla.errors import InspireError
from inspire_vla.spatial import answer_words


def closed(columns: list[int]) -> ClosedSet:
    """Tokens whose ids are 100 above their columns."""
    return ClosedSet(np.array(columns) + 100, np.array(columns))


@pytest.mark.parametrize("shift", [-1000.0, 0.0, 1000.0])
def test_a_forbidden_token_never_wins(shift: float) -> None:
    """With scores multiplied by a mask it would win wherever all allowed scores are negative."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        scores = rng.normal(size=12).astype(np.float32) + np.float32(shift)
        columns = sorted(rng.choice(12, size=int(rng.integers(1, 12)), replace=False).tolist())
        scores[np.setdiff1d(np.arange(12), columns)] += 5000
        choice = choose(scores, closed(columns))
        best = max(columns, key=lambda column: scores[column])
        assert choice.token_id == best + 100
        odds = np.exp(scores[columns].astype(np.float64) - scores[best])
        assert choice.probability == pytest.approx(odds.max() / odds.sum())


def test_the_forced_token_is_chosen_at_the_models_own_probability() -> None:
    scores = np.array([0.0, np.log(3.0), 50.0])
    choice = choose(scores, closed([0, 1]), forced=100)
    assert (choice.token_id, choice.probability) == (100, pytest.approx(0.25))


def test_of_equal_scores_the_first_wins() -> None:
    assert choose(np.zeros(4), closed([2, 1, 3])).token_id == 102


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_warmed_distribution(temperature: float) -> None:
    scores, allowed = np.array([0.0, 9.0, 1.0, -1.0]), closed([0, 2, 3])
    generator = np.random.default_rng(1)
    drawn = [choose(scores, allowed, temperature=temperature, generator=generator) for _ in range(4000)]
    odds = np.exp(scores[allowed.columns] / temperature)
    for token, share in zip(allowed.token_ids, odds / odds.sum(), strict=True):
        found = np.mean([choice.token_id == token for choice in drawn])
        assert abs(found - share) < 4 * np.sqrt(share * (1 - share) / len(drawn))
    # A confidence is what the model thinks, at temperature one, however warm the draw.
    cold = np.exp(scores[allowed.columns])
    said = dict(zip(allowed.token_ids.tolist(), (cold / cold.sum()).tolist(), strict=True))
    assert all(choice.probability == pytest.approx(said[choice.token_id]) for choice in drawn)


def test_broken_scores_are_refused() -> None:
    for broken in (np.nan, np.inf):
        with pytest.raises(InspireError, match="NaN or infinite"):
            choose(np.array([0.0, broken]), closed([0, 1]))
    assert choose(np.array([0.0, np.nan]), closed([0])).token_id == 100  # not looked at


@pytest.mark.parametrize("mode", MODES)
def test_a_walk_through_the_trie_spells_an_answer_and_every_answer_is_a_walk(mode: str) -> None:
    answers = answer_set(mode)
    walks: list[tuple[int, ...]] = [()]
    found = set()
    while walks:
        spelled = walks.pop()
        allowed = answers.allowed(spelled)
        if allowed is None:
            found.add(answers.word(spelled))
            assert answers.token_ids_of[answers.word(spelled)] == spelled
            continue
        assert list(allowed) == sorted(set(allowed.tolist()))
        assert set(allowed.tolist()) <= set(answers.all_ids.tolist())
        walks += [(*spelled, int(token)) for token in allowed]
    assert found == set(answer_words(mode))


def test_an_impossible_word_lists_the_possible_ones() -> None:
    answers = AnswerSet(("left", "right"), TOKENIZER, NANO_TEMPLATE)
    assert answers.check("left") == "left"
    with pytest.raises(InspireError, match=r"'leftt' is no answer here.*'left'") as caught:
        answers.check("leftt")
    assert "right" in str(caught.value)
