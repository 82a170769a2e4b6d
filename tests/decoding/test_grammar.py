"""The walk through a dialogue says exactly what the renderer writes, and nothing outside its closed sets."""

import numpy as np
import pytest
from tests.backbones.tiny import MODES, TOKENIZER, Setting

from inspire_vla.decoding.grammar import Place
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
        script = grammar.script(dialogue)
        place, tokens, said = Place(), list(script.texts[0]), []
        while (allowed := script.allowed(place)) is not None:
            assert grammar.sayable[allowed.columns].tolist() == allowed.token_ids.tolist()
            said.append((place, int(rng.choice(allowed.token_ids))))
            place, spoken = script.say(place, said[-1][1])
            tokens += spoken
        slots = [place.slot for place, _ in said]
        assert len(set(slots)) == len(slots)
        answers = [
            grammar.answers.word([token for place, token in said if place.answered == number])
            for number in range(len(dialogue.mentions))
        ]
        rendered = render(
            dialogue.with_answers(answers), TOKENIZER, grammar.action_vocabulary.to_ids(place.codes)
        )
        assert [token.id for token in tokens] == rendered.ids[: len(tokens)].tolist()
        assert [token.token_type for token in tokens] == rendered.token_types[: len(tokens)].tolist()
        assert len(tokens) == rendered.action_span[1]
        assert grammar.actions(place.codes) is not None  # what is allowed can be decoded
        words = dict(zip(dialogue.mentions, answers, strict=True))
        assert script.spell(words) == {p.slot: t for p, t in said if p.answered < len(answers)}


def test_codes_are_said_from_their_own_range_alone() -> None:
    """A head that screams for words and for forbidden codes is not heard."""
    for actions in ("vq", "bins", "fast"):
        setting = Setting(1, actions=actions)
        vocabulary, answers = setting.grammar.action_vocabulary, setting.grammar.answers
        head = setting.backbone.head
        loud = np.setdiff1d(np.arange(head.out_features), setting.grammar.sayable)
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
                assert setting.tokenizer.allowed_codes(len(prefix), prefix)[code]
                prefix.append(code)
            assert setting.tokenizer.allowed_codes(len(prefix), prefix) is None


def test_what_is_not_asked_lists_what_is() -> None:
    setting = Setting(0)
    with pytest.raises(InspireError, match="'the mug' is not asked about") as caught:
        setting.grammar.check(setting.dialogues()[0], {"the mug": "left"})
    assert "the red cube" in str(caught.value)
    assert "the blue plate" in str(caught.value)
