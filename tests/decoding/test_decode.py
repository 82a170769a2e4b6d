"""Decoding laws: a guess changes the time and never the outcome; a batch is its rows; a forced word is said."""

import numpy as np
import pytest
import torch

from inspire_vla.action_tokenizers import ActionVocabulary, ResidualVQ
from inspire_vla.backbones.nano import Nano, NanoConfig
from inspire_vla.backbones.text_tokenizer import load_text_tokenizer
from inspire_vla.decoding import AnswerSet, decode
from inspire_vla.dialogue import build_dialogue, render
from inspire_vla.errors import InspireError
from inspire_vla.spatial import answer_words

INSTRUCTIONS = (
    "pick up the red cube and place it on the blue plate",
    "open the top drawer of the cabinet",
    "put the red cube on the blue plate and put the yellow ball in the basket",
    "close the drawer of the cabinet",
)
TOKENIZER = load_text_tokenizer()
CHUNKS = np.random.default_rng(0).uniform(-1, 1, (64, 2, 7))
ACTIONS = ResidualVQ.fit(CHUNKS, codes_per_level=8, levels=2)
VOCABULARY = ActionVocabulary.appended(len(TOKENIZER), ACTIONS.vocabulary_size)


def make(seed: int, mode: str = "direction") -> tuple[Nano, AnswerSet]:
    torch.manual_seed(seed)
    backbone = Nano(
        NanoConfig(hidden_size=32, layers=2, heads=2, mlp_size=48, stem_width=4),
        text_tokenizer=TOKENIZER,
        vocabulary_size=VOCABULARY.id_range[1],
        cameras=1,
        image_size=(32, 32),
        state_dim=3,
    ).eval()
    for parameter in backbone.parameters():  # far from uniform, so that answers differ between rows and seeds
        parameter.data *= 3 if parameter.ndim > 1 else 1
    return backbone, AnswerSet(answer_words(mode), TOKENIZER, backbone.template)


def say(backbone, answers, instructions, *, mode="direction", seed=0, rows=None, reasoning=True, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(len(instructions), 1, 3, 32, 32, generator=generator)
    state = torch.randn(len(instructions), 3, generator=generator)
    if rows is not None:
        images, state, instructions = images[rows], state[rows], [instructions[r] for r in rows]
    with torch.inference_mode():
        observation = backbone.observe(images, state)
    return decode(
        backbone,
        observation,
        [build_dialogue(i, mode=mode, reasoning=reasoning) for i in instructions],
        answers=answers,
        action_tokenizer=ACTIONS,
        action_vocabulary=VOCABULARY,
        **kwargs,
    )


@pytest.mark.parametrize("mode", ["direction", "direction_3d", "distance", "distance_fine", "position"])
@pytest.mark.parametrize("seed", range(4))
def test_guesses_never_change_the_outcome(seed: int, mode: str) -> None:
    backbone, answers = make(seed, mode)
    plain = say(backbone, answers, INSTRUCTIONS, mode=mode, seed=seed)
    rng = np.random.default_rng(seed)
    right = [d.words for d in plain]
    wrong = [{m: str(rng.choice(answers.words)) for m in d.mentions} for d in plain]
    half = [{m: w for m, w in d.words.items() if rng.random() < 0.5} for d in plain]
    for guesses in (right, wrong, half):
        guessed = say(backbone, answers, INSTRUCTIONS, mode=mode, seed=seed, guesses=guesses)
        assert [d.token_ids for d in guessed] == [d.token_ids for d in plain]
        assert [d.answers for d in guessed] == [d.answers for d in plain]
        np.testing.assert_allclose(
            [c for d in guessed for c in d.confidences], [c for d in plain for c in d.confidences], atol=1e-4
        )


def test_a_perfect_guess_costs_the_passes_of_the_base_model() -> None:
    backbone, answers = make(0)
    base = say(backbone, answers, INSTRUCTIONS, reasoning=False)
    plain = say(backbone, answers, INSTRUCTIONS)
    guessed = say(backbone, answers, INSTRUCTIONS, guesses=[d.words for d in plain])
    assert base[0].passes == guessed[0].passes == ACTIONS.levels
    assert plain[0].passes == ACTIONS.levels + max(len(d.mentions) for d in plain)
    assert all(all(d.guessed) for d in guessed)


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_is_its_rows(seed: int) -> None:
    backbone, answers = make(seed)
    together = say(backbone, answers, INSTRUCTIONS, seed=seed)
    for row in range(len(INSTRUCTIONS)):
        (alone,) = say(backbone, answers, INSTRUCTIONS, seed=seed, rows=[row])
        assert alone.token_ids == together[row].token_ids
        np.testing.assert_allclose(alone.confidences, together[row].confidences, atol=1e-4)


def test_the_cached_outcome_is_that_of_one_uncached_pass() -> None:
    """Every chosen token is the constrained argmax of a fresh forward over the whole sequence before it."""
    backbone, answers = make(1)
    (decision,) = say(backbone, answers, INSTRUCTIONS, rows=[2])
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(len(INSTRUCTIONS), 1, 3, 32, 32, generator=generator)[[2]]
    state = torch.randn(len(INSTRUCTIONS), 3, generator=generator)[[2]]
    dialogue = build_dialogue(INSTRUCTIONS[2], decision.answers)
    rendered = render(dialogue, TOKENIZER, decision.token_ids[-ACTIONS.levels :])
    with torch.inference_mode():
        seen = backbone.observe(images, state)
        ids = torch.from_numpy(rendered.ids)[None]
        hidden = backbone.extend(torch.cat([seen, backbone.embed(ids)], 1))
        scores = backbone.logits(hidden)[0, seen.shape[1] - 1 : -1]
    for (start, _), word in zip(rendered.answer_spans, decision.answers, strict=True):
        allowed = answers.all_ids
        assert (allowed[scores[start][allowed].argmax()],) == answers.token_ids_of[word]
    start, stop = rendered.action_span
    for level, place in enumerate(range(start, stop)):
        low, high = VOCABULARY.ids_of_span(ACTIONS.allowed(level))
        assert low + scores[place][low:high].argmax() == rendered.ids[place]


def test_a_forced_answer_is_said_and_marked() -> None:
    backbone, answers = make(2)
    for word in ("left", "grasped"):
        (decision,) = say(backbone, answers, INSTRUCTIONS, rows=[0], forced=[{"the red cube": word}])
        assert decision.answers[0] == word
        assert decision.forced == (True, False)
        assert 0 < decision.confidences[0] < 1


def test_impossible_words_and_unasked_objects_are_refused() -> None:
    backbone, answers = make(2)
    with pytest.raises(InspireError, match=r"'letf' is no answer here. Did you mean 'left'\?"):
        say(backbone, answers, INSTRUCTIONS, rows=[0], forced=[{"the red cube": "letf"}])
    with pytest.raises(InspireError, match="'the mug' is not asked about"):
        say(backbone, answers, INSTRUCTIONS, rows=[0], forced=[{"the mug": "left"}])


def test_sampling_follows_its_generator() -> None:
    backbone, answers = make(3)
    one, two, other = (
        say(backbone, answers, INSTRUCTIONS, temperature=2.0, generator=np.random.default_rng(s)) for s in (1, 1, 2)
    )
    assert [d.token_ids for d in one] == [d.token_ids for d in two] != [d.token_ids for d in other]
