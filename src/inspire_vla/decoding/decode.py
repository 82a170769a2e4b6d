"""The method: answer where each object is, then act on the answers (arXiv 2505.13888, section III)."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inspire_vla.action_tokenizers import ActionTokenizer, ActionVocabulary
from inspire_vla.backbones.base import Backbone
from inspire_vla.decoding.choices import AnswerSet, choose
from inspire_vla.decoding.decision import Decision
from inspire_vla.decoding.growing import GrowingSequences
from inspire_vla.decoding.line import Line
from inspire_vla.dialogue import Dialogue
from inspire_vla.errors import InspireError, did_you_mean


@torch.inference_mode()
def decode(
    backbone: Backbone,
    observation: Float[Tensor, "batch seen hidden"],
    dialogues: Sequence[Dialogue],
    *,
    answers: AnswerSet,
    action_tokenizer: ActionTokenizer,
    action_vocabulary: ActionVocabulary,
    guesses: Sequence[Mapping[str, str]] | None = None,
    forced: Sequence[Mapping[str, str]] | None = None,
    temperature: float = 0.0,
    generator: np.random.Generator | None = None,
) -> list[Decision]:
    """Answer the questions of each dialogue, then decode its action chunk, over one growing cache.

    Answers are constrained to the closed set, action codes to what the action tokenizer allows. Guessed answers
    run through the backbone together with the prompt and are kept as far as the model agrees; the outcome is that
    of plain greedy decoding, only sooner.

    Args:
        observation: what `backbone.observe` made of the pictures.
        dialogues: one per row; their own answers are not looked at.
        guesses: per row {mention: word} expected, usually the answers of the previous control step.
        forced: per row {mention: word} the caller insists on.
        temperature: 0 takes the best token; above, tokens are sampled (answers and codes).

    Raises:
        InspireError: a forced word that is no answer, or a forced object that is not asked about.
    """
    if len(dialogues) != len(observation):
        raise InspireError(f"{len(observation)} observations for {len(dialogues)} dialogues.")
    nothing: list[Mapping[str, str]] = [{}] * len(dialogues)
    forced, guesses = forced or nothing, guesses or nothing
    lines = []
    for dialogue, must, may in zip(dialogues, forced, guesses, strict=True):
        for mention, word in must.items():
            if mention not in dialogue.mentions:
                raise InspireError(
                    f"{mention!r} is not asked about.{did_you_mean(mention, dialogue.mentions)}"
                )
            answers.check(word)
        known = {mention: word for mention, word in may.items() if word in answers.token_ids_of}
        line = Line(
            dialogue,
            backbone.text_tokenizer,
            answers,
            action_tokenizer,
            action_vocabulary,
            guesses=known,
            forced=must,
        )
        lines.append(line)

    pick = partial(choose, temperature=temperature, generator=generator)
    sequences = GrowingSequences(backbone, observation)
    while not all(line.done for line in lines):
        proposals = [([], []) if line.done else line.propose() for line in lines]
        hidden = sequences.append([tokens for tokens, _ in proposals])
        scores = _scores(backbone, hidden, [places for _, places in proposals])
        for row, (line, (tokens, places)) in enumerate(zip(lines, proposals, strict=True)):
            if not line.done:
                kept = line.hear(tokens, places, scores[row], pick)
                sequences.retract(row, kept)
        sequences.crop()
    return [line.decision(sequences.passes) for line in lines]


def _scores(
    backbone: Backbone, hidden: Sequence[Tensor], places: Sequence[Sequence[int]]
) -> list[np.ndarray]:
    """Scores over the vocabulary at the wanted places of each row, from one pass through the head."""
    wanted = torch.cat([states[list(at)] for states, at in zip(hidden, places, strict=True)])
    scores = backbone.logits(wanted).float().cpu().numpy()
    return np.split(scores, np.cumsum([len(at) for at in places])[:-1])
