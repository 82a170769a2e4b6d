"""A walk through a plan gives exactly the rendered sequence, and only allowed tokens."""

import numpy as np
import pytest
from tests.backbones.tiny import MODES, TOKENIZER, Setting

from inspire_vla.decoding import DecodeState
from inspire_vla.dialogue import render
from inspire_vla.errors import InspireError


@pytest.mark.parametrize("actions", ["vq", "bins", "fast"])
@pytest.mark.parametrize("question_position", ["before", "after"])
@pytest.mark.parametrize("mode", MODES)
def test_a_random_walk_is_a_training_sequence(mode: str, question_position: str, actions: str) -> None:
    rng = np.random.default_rng(0)
    setting = Setting(0, mode=mode, question_position=question_position, actions=actions)
    grammar = setting.grammar
    for dialogue in setting.dialogues():
        plan = grammar.plan(dialogue)
        state, tokens, decoded = DecodeState(), list(plan.texts[0]), []
        while (allowed := plan.allowed(state)) is not None:
            assert grammar.allowed_token_ids[allowed.columns].tolist() == allowed.token_ids.tolist()
            decoded.append((state, int(rng.choice(allowed.token_ids))))
            state, added = plan.advance(state, decoded[-1][1])
            tokens += added
        slots = [state.slot for state, _ in decoded]
        assert len(set(slots)) == len(slots)
        answers = [
            grammar.answers.word([token for state, token in decoded if state.num_answered == number])
            for number in range(len(dialogue.mentions))
        ]
        rendered = render(
            dialogue.with_answers(answers), TOKENIZER, grammar.action_vocabulary.to_ids(state.codes)
        )
        assert [token.id for token in tokens] == rendered.ids[: len(tokens)].tolist()
        assert [token.type for token in tokens] == rendered.token_types[: len(tokens)].tolist()
        assert len(tokens) == rendered.action_span[1]
        assert grammar.actions(state.codes) is not None  # what is allowed can be decoded
        words = dict(zip(dialogue.mentions, answers, strict=True))
        assert plan.slot_tokens(words) == {p.slot: t for p, t in decoded if p.num_answered < len(answers)}


def test_codes_come_from_their_own_range_alone() -> None:
    """Large scores of words and of codes that are not allowed change nothing."""
    for actions in ("vq", "bins", "fast"):
        setting = Setting(1, actions=actions)
        vocabulary, answers = setting.grammar.action_vocabulary, setting.grammar.answers
        head = setting.backbone.head
        loud = np.setdiff1d(np.arange(head.out_features), setting.grammar.allowed_token_ids)
        head.weight.data[loud] *= 1000
        quiet = setting.decode()
        head.weight.data[loud] *= -1
        assert [d.token_ids for d in setting.decode()] == [d.token_ids for d in quiet]
        for decision in quiet:
            spelled = sum(len(answers.token_ids_of[word]) for word in decision.answers)
            codes = np.array(decision.token_ids[spelled:])
            assert len(codes)
            assert vocabulary.holds(codes).all()
            assert decision.decodable
            prefix: list[int] = []
            for code in vocabulary.to_codes(codes).tolist():
                assert code in setting.tokenizer.allowed_codes(prefix)
                prefix.append(code)
            assert setting.tokenizer.allowed_codes(prefix) is None


def test_what_is_not_asked_lists_what_is() -> None:
    setting = Setting(0)
    with pytest.raises(InspireError, match="'the mug' is not asked about") as caught:
        setting.grammar.check_overrides(setting.dialogues()[0], {"the mug": "left"})
    assert "the red cube" in str(caught.value)
    assert "the blue plate" in str(caught.value)
