"""Decoding laws: a draft changes the time and never the outcome; a batch is its rows; an override is emitted."""

from dataclasses import FrozenInstanceError
from itertools import product

import numpy as np
import pytest
from tests.backbones.tiny import INSTRUCTIONS, MODES, Setting

from inspire_vla.action_tokenizers import UndecodableAction
from inspire_vla.decoding import Decision, decode
from inspire_vla.dialogue import TokenType
from inspire_vla.errors import InspireError

SEEDS_PER_KIND = 7  # × 5 modes × 2 attention patterns × 3 kinds of actions = 210 random models


def same(actual: list[Decision], expected: list[Decision]) -> None:
    assert [d.token_ids for d in actual] == [d.token_ids for d in expected]
    assert [d.answers for d in actual] == [d.answers for d in expected]
    for one, two in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one.confidences, two.confidences, atol=2e-4)
        np.testing.assert_array_equal(one.actions, two.actions)


def drafts_of_every_kind(decisions: list[Decision], words: tuple[str, ...], rng: np.random.Generator):
    """All right; wrong at one position, for each position; all wrong; some left out; words that are no answers."""
    right = [d.answers_by_mention for d in decisions]

    def wrong(word: str) -> str:
        return str(rng.choice([w for w in words if w != word]))

    yield right
    for position in range(max(len(d.mentions) for d in decisions)):
        yield [
            {m: wrong(w) if i == position else w for i, (m, w) in enumerate(draft.items())} for draft in right
        ]
    yield [{m: wrong(w) for m, w in draft.items()} for draft in right]
    yield [
        {m: w if rng.random() < 0.5 else wrong(w) for m, w in draft.items() if rng.random() < 0.7}
        for draft in right
    ]
    yield [{"the moon": "left", **dict.fromkeys(draft, "sideways")} for draft in right]


@pytest.mark.parametrize("actions", ["vq", "bins", "fast"])
@pytest.mark.parametrize("bidirectional_prefix", [False, True], ids=["causal", "bidirectional_prefix"])
@pytest.mark.parametrize("mode", MODES)
def test_drafted_cached_and_batched_equals_plain(mode: str, bidirectional_prefix: bool, actions: str) -> None:
    for seed in range(SEEDS_PER_KIND):
        rng = np.random.default_rng([seed, MODES.index(mode), bidirectional_prefix])
        texts = tuple(rng.choice(INSTRUCTIONS, size=1 + seed % 4).tolist())
        question_position = "after" if seed % 3 == 2 else "before"
        setting = Setting(
            int(rng.integers(1 << 30)),
            mode=mode,
            question_position=question_position,
            bidirectional_prefix=bidirectional_prefix,
            hide={4: (TokenType.ANSWER, TokenType.QUESTION), 5: (TokenType.ANSWER,)}.get(seed, ()),
            actions=actions,
            instructions=texts,
            max_objects=1 if seed == 6 else None,
        )
        cached = setting.decode()
        for row, decision in enumerate(cached):
            tokens, confidences = setting.plainly(row)
            assert decision.token_ids == tokens
            np.testing.assert_allclose(decision.confidences, confidences, atol=2e-4)
        for drafts in drafts_of_every_kind(cached, setting.grammar.answers.words, rng):
            decisions = setting.decode(drafts=drafts)
            same(decisions, cached)
            for decision, draft in zip(decisions, drafts, strict=True):
                holds = [draft.get(m) == a for m, a in decision.answers_by_mention.items()]
                assert decision.accepted == tuple(holds)


@pytest.mark.parametrize("bidirectional_prefix", [False, True])
def test_a_batch_is_its_rows(bidirectional_prefix: bool) -> None:
    setting = Setting(3, mode="direction_3d", bidirectional_prefix=bidirectional_prefix)
    together = setting.decode()
    assert len({d.token_ids for d in together}) == len(together)
    for row in range(len(INSTRUCTIONS)):
        same(setting.decode([row]), together[row : row + 1])
    same(setting.decode([3, 1]), [together[3], together[1]])


@pytest.mark.parametrize("actions", ["vq", "bins"])
@pytest.mark.parametrize("bidirectional_prefix", [False, True], ids=["causal", "bidirectional_prefix"])
@pytest.mark.parametrize(
    ("mode", "question_position", "row"),
    product(("direction", "direction_3d"), ("before", "after"), range(4)),
)
def test_a_perfect_draft_costs_the_passes_of_the_base_model(
    mode: str, question_position: str, row: int, bidirectional_prefix: bool, actions: str
) -> None:
    options = {
        "mode": mode,
        "question_position": question_position,
        "bidirectional_prefix": bidirectional_prefix,
        "actions": actions,
    }
    setting = Setting(row, **options)
    base = Setting(row, **options, reasoning=False).decode([row])[0]
    plain = setting.decode([row])[0]
    drafted = setting.decode([row], drafts=[plain.answers_by_mention])[0]
    assert base.mentions == ()
    assert base.forward_passes == drafted.forward_passes == len(base.token_ids)
    answer_tokens = len(plain.token_ids) - len(base.token_ids)
    assert plain.forward_passes == base.forward_passes + answer_tokens
    assert all(drafted.accepted)


def test_a_rejected_draft_costs_at_most_one_pass() -> None:
    """Single-token answers: the corrected token and the new draft behind it take one pass."""
    saved = 0
    for seed in range(4):
        setting = Setting(seed)
        plain = setting.decode([2])[0]
        assert len(plain.mentions) == 4
        for wrong in range(5):
            draft = {
                m: w if i >= wrong else next(x for x in setting.grammar.answers.words if x != w)
                for i, (m, w) in enumerate(plain.answers_by_mention.items())
            }
            decision = setting.decode([2], drafts=[draft])[0]
            assert decision.answers == plain.answers
            assert setting.tokenizer.levels <= decision.forward_passes <= setting.tokenizer.levels + wrong
            saved += setting.tokenizer.levels + wrong - decision.forward_passes
    assert saved > 0  # the model's predictions behind a rejected draft are drafts, too


@pytest.mark.parametrize("bidirectional_prefix", [False, True])
def test_an_override_is_emitted_marked_and_acted_on(bidirectional_prefix: bool) -> None:
    setting = Setting(2, bidirectional_prefix=bidirectional_prefix)
    for word in ("left", "grasped"):
        overrides = {"the red cube": word}
        (decision,) = setting.decode([0], overrides=[overrides], drafts=[{"the red cube": "up"}])
        tokens, confidences = setting.plainly(0, overrides)
        assert decision.answers[0] == word
        assert decision.overridden == (True, False)
        assert decision.accepted == (False, False)
        assert decision.token_ids == tokens
        np.testing.assert_allclose(decision.confidences, confidences, atol=2e-4)


def test_overriding_all_answers_costs_no_pass() -> None:
    setting = Setting(2)
    overrides = [dict.fromkeys(d.mentions, "left") for d in setting.dialogues()]
    decisions = setting.decode(overrides=overrides)
    assert {d.forward_passes for d in decisions} == {setting.tokenizer.levels}
    assert all(set(d.answers) == {"left"} for d in decisions)


def test_hidden_answers_do_not_change_the_action() -> None:
    shown, hidden = Setting(4), Setting(4, hide=(TokenType.ANSWER,))
    levels = shown.tokenizer.levels

    def codes(setting: Setting, word: str) -> list[tuple[int, ...]]:
        overrides = [dict.fromkeys(d.mentions, word) for d in setting.dialogues()]
        return [d.token_ids[-levels:] for d in setting.decode(overrides=overrides)]

    assert codes(hidden, "left") == codes(hidden, "grasped")
    assert codes(shown, "left") != codes(shown, "grasped")


def test_impossible_words_and_unasked_objects_are_refused() -> None:
    setting = Setting(2)
    with pytest.raises(InspireError, match=r"'letf' is no answer here. Did you mean 'left'\?"):
        setting.decode([0], overrides=[{"the red cube": "letf"}])
    with pytest.raises(InspireError, match="'the mug' is not asked about"):
        setting.decode([0], overrides=[{"the mug": "left"}])
    with pytest.raises(InspireError, match="1 observations for 0"):
        decode(setting.backbone, setting.prefix[:1], [], setting.grammar)


def test_rows_that_do_not_match_and_impossible_temperatures_are_refused() -> None:
    setting = Setting(2)
    with pytest.raises(InspireError, match="2 drafts and 3 overrides for 1 dialogues"):
        setting.decode([0], drafts=[{}, {}], overrides=[{}, {}, {}])
    for impossible in (-0.5, float("nan")):
        with pytest.raises(InspireError, match="temperature"):
            setting.decode([0], temperature=impossible)


def test_broken_weights_are_refused() -> None:
    setting = Setting(2)
    setting.backbone.head.weight.data.fill_(float("nan"))
    with pytest.raises(InspireError, match="NaN"):
        setting.decode([0])


def test_samples_depend_on_the_generator_and_not_on_drafts() -> None:
    setting = Setting(3)

    def sample(seed: int, **options) -> list[Decision]:
        return setting.decode(temperature=3.0, generator=np.random.default_rng(seed), **options)

    one = sample(1)
    same(sample(1), one)
    same(sample(1, drafts=[d.answers_by_mention for d in one]), one)
    same(sample(1, drafts=[d.answers_by_mention for d in setting.decode()]), one)
    assert [d.token_ids for d in sample(2)] != [d.token_ids for d in one]


def test_undecodable_codes_give_no_actions() -> None:
    setting = Setting(3)

    def refuse(codes: np.ndarray) -> np.ndarray:
        raise UndecodableAction("no action")

    broken = type(
        "Broken", (), {"decode": staticmethod(refuse), "allowed_codes": setting.tokenizer.allowed_codes}
    )
    setting.grammar.action_tokenizer = broken()
    decisions = setting.decode()
    assert all(d.actions is None and not d.decodable for d in decisions)
    assert all(len(d.token_ids) == setting.tokenizer.levels + len(d.mentions) for d in decisions)


def test_a_decision_is_frozen_and_parallel_to_the_mentions() -> None:
    setting = Setting(5, mode="direction_3d")
    for decision, dialogue in zip(setting.decode(), setting.dialogues(), strict=True):
        assert decision.mentions == dialogue.mentions
        answers = decision.answers, decision.confidences, decision.overridden, decision.accepted
        assert {len(part) for part in answers} == {len(decision.mentions)}
        assert all(0 < confidence <= 1 for confidence in decision.confidences)
        assert decision.answers_by_mention == dict(zip(decision.mentions, decision.answers, strict=True))
        assert decision.decodable
        assert decision.actions is not None
        assert decision.actions.shape == (setting.tokenizer.horizon, setting.tokenizer.action_dim)
        assert np.abs(decision.actions).max() <= 1
        with pytest.raises(FrozenInstanceError):
            decision.forward_passes = 0


def test_the_base_model_answers_nothing() -> None:
    (decision,) = Setting(5, reasoning=False).decode([0])
    assert (decision.mentions, decision.answers, decision.confidences, decision.answers_by_mention) == (
        (),
        (),
        (),
        {},
    )
    assert len(decision.token_ids) == 3
