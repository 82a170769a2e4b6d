"""The baseline: answers as the paper's released code asks for them. For comparison only.

Every question is a generation of its own, and the action one more: the images go through the vision towers again and
all text so far through the model again. Within one generation keys and values are cached, as `generate` does.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from inspire_vla.backbones.base import Backbone
from inspire_vla.decoding import Decision, Grammar, GrowingSequences, choose
from inspire_vla.decoding.grammar import Place, Token
from inspire_vla.dialogue import Dialogue


@torch.inference_mode()
def decode_official_style(
    backbone: Backbone, observe: Callable[[], Tensor], dialogue: Dialogue, grammar: Grammar
) -> Decision:
    """One row. `observe` encodes the images; it is called once per question and once for the action."""
    script = grammar.script(dialogue)
    sayable = torch.from_numpy(grammar.sayable).to(
        backbone.device
    )  # for fairness: the head costs as much as ours
    place, text = Place(), list(script.texts[0])
    answers: list[str] = []
    said: list[int] = []
    passes = 0
    for _ in range(len(dialogue.mentions) + 1):
        sequences = GrowingSequences(backbone, observe())
        piece: list[Token] = text
        answered = place.answered
        spelled: tuple[int, ...] = ()
        while (allowed := script.allowed(place)) is not None and place.answered == answered:
            hidden = sequences.append([piece])
            token = choose(backbone.logits(hidden[0, -1], sayable).float().cpu().numpy(), allowed).token_id
            place, spoken = script.say(place, token)
            said.append(token)
            spelled += (token,)
            piece = [spoken[0]]
            text += spoken
        passes += sequences.passes
        if place.answered > answered:
            answers.append(grammar.answers.word(spelled))
    return Decision(
        grammar.actions(place.codes),
        dialogue.mentions,
        tuple(answers),
        token_ids=tuple(said),
        forward_passes=passes,
    )
