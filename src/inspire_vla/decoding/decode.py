"""The method: answer where each object is, then act on the answers (arXiv 2505.13888, section III).

    images  Q1 answer  Q2 answer  instruction  code code …

Everything passes through the backbone once, over one growing cache. An answer rarely changes from one control step
to the next, so the last ones are guessed: the whole dialogue goes through in the pass that the images need anyway,
and only what the model disagrees with is said anew. Where all drafts hold, reasoning takes no pass of its own.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from inspire_vla.backbones.base import Backbone
from inspire_vla.decoding.choices import choose
from inspire_vla.decoding.decision import Decision
from inspire_vla.decoding.grammar import Grammar
from inspire_vla.decoding.growing import GrowingSequences
from inspire_vla.decoding.line import Line
from inspire_vla.dialogue import Dialogue, TokenType
from inspire_vla.errors import InspireError


@torch.inference_mode()
def decode(
    backbone: Backbone,
    observation: Float[Tensor, "batch prefix hidden"],
    dialogues: Sequence[Dialogue],
    grammar: Grammar,
    *,
    drafts: Sequence[Mapping[str, str]] | None = None,
    overrides: Sequence[Mapping[str, str]] | None = None,
    temperature: float = 0.0,
    generator: np.random.Generator | None = None,
    hide: Collection[TokenType] = (),
) -> list[Decision]:
    """Answer the questions of each dialogue, then decode its action chunk.

    Answers are constrained to the closed set, action codes to what the action tokenizer allows. The outcome is that
    of plain greedy decoding, token for token, whatever is guessed (up to the rounding of the backbone's arithmetic,
    which may differ between one long pass and several short ones).

    Args:
        observation: what `backbone.encode_observation` made of the images.
        dialogues: one per row; their own answers are not looked at.
        drafts: per row {mention: word} expected, usually the answers of the previous control step.
        overrides: per row {mention: word} the caller insists on.
        temperature: 0 takes the best token; above, tokens are sampled (answers and codes), independently of drafts.
        hide: what the action must not see of the dialogue (see `make_attention_mask`); for models trained so.

    Raises:
        InspireError: an override that is no answer or whose object is not asked about, a wrong number of rows,
            a temperature below zero, scores that are not finite.
    """
    rows = len(dialogues)
    drafts, overrides = drafts or [{}] * rows, overrides or [{}] * rows
    counts = {"observations": len(observation), "drafts": len(drafts), "overrides": len(overrides)}
    wrong = [f"{count} {what}" for what, count in counts.items() if count != rows]
    if wrong or not rows:
        raise InspireError(f"{' and '.join(wrong) or 'nothing'} for {rows} dialogues.")
    if not temperature >= 0:
        raise InspireError(f"A temperature is 0 (the best token) or above (samples); found {temperature}.")
    lines = []
    for dialogue, draft, word, die in zip(
        dialogues, drafts, overrides, _dice(rows, temperature, generator), strict=True
    ):
        grammar.check(dialogue, word)
        pick = partial(choose, temperature=temperature, generator=die)
        lines.append(Line(grammar.script(dialogue), pick, drafts=draft, overrides=word))

    sequences = GrowingSequences(backbone, observation, hide=hide)
    sayable = torch.from_numpy(grammar.sayable).to(observation.device)
    while not all(line.done for line in lines):
        pieces, asked = zip(*(line.propose() for line in lines), strict=True)
        hidden = sequences.append(pieces)
        scores = _scores(backbone, hidden, asked, sayable)
        sequences.keep([line.hear(own) for line, own in zip(lines, scores, strict=True)])
    return [line.decision(sequences.passes) for line in lines]


def _dice(
    rows: int, temperature: float, generator: np.random.Generator | None
) -> Sequence[np.random.Generator | None]:
    """A die per row. It is thrown once per token said, so that drafts don't change what falls."""
    return (generator or np.random.default_rng()).spawn(rows) if temperature > 0 else [None] * rows


def _scores(
    backbone: Backbone,
    hidden: Float[Tensor, "batch piece hidden"],
    asked: Sequence[Sequence[int]],
    sayable: Int[Tensor, " sayable"],
) -> list[Float[np.ndarray, "asked sayable"]]:
    """Scores of what comes after the asked tokens of each row, from one pass through the head.

    What can never be said is not scored: π0-FAST would read 2 GiB of its head for every code, of which 16 MiB count.
    """
    rows = [row for row, places in enumerate(asked) for _ in places]
    wanted = hidden[rows, [place for places in asked for place in places]]
    scores = backbone.logits(wanted, among=sayable).float().cpu().numpy()
    return np.split(scores, np.cumsum([len(places) for places in asked])[:-1])
