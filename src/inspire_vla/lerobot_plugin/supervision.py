"""Demonstrated samples → one padded batch of ids with what each of them is supervised for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from inspire_vla.dialogue import (
    CachedTokenizer,
    Dialogue,
    Template,
    TextTokenizer,
    TokenType,
    build_dialogue,
    render,
)
from inspire_vla.errors import InspireError
from inspire_vla.instruction import NoObjectFound
from inspire_vla.labels.columns import answer_column
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig, ReasoningConfig
from inspire_vla.spatial import decode_answers

_STATE = "{state}"


class DialogueWriter:
    """Writes instructions down as dialogues, as the configuration says; remembers those it has written."""

    def __init__(self, config: ReasoningConfig, template: Template, tokenizer: TextTokenizer) -> None:
        self.config, self.template = config, template
        self.tokenizer = CachedTokenizer(tokenizer)
        self._written = lru_cache(maxsize=1 << 16)(self._write)

    def prompt(self, instruction: str, state_text: str | None = None) -> Dialogue:
        """The dialogue with its answers left open. `state_text`: for templates that write the robot's state."""
        return self._told(self._written(instruction, None), state_text)

    def demonstration(
        self, instruction: str, codes: np.ndarray | None, state_text: str | None = None
    ) -> Dialogue:
        """The dialogue with the labelled answers, (max_objects,) codes.

        Raises InspireError where an asked object has no label.
        """
        if not self.config.enabled:
            return self.prompt(instruction, state_text)
        if codes is None:
            raise InspireError(
                "Reasoning is trained on labels, and the batch has none. Label the dataset, or train the base model "
                "with --policy.reasoning.enabled=false."
            )
        return self._told(self._written(instruction, tuple(codes.tolist())), state_text)

    def unasked(self, instruction: str, state_text: str | None = None) -> Dialogue:
        """The instruction and its action alone, as the base model has them."""
        return self._told(self._written(instruction, None, reasoning=False), state_text)

    def answered(self, instructions: Sequence[str], labels: Sequence[np.ndarray | None]) -> list[int]:
        """Numbers of the rows that can be learned from: those whose (max_objects,) codes answer all that is asked.

        An action is learned as what follows from the answers, so that there is nothing to learn without them.
        """
        return [
            n for n, told in enumerate(zip(instructions, labels, strict=True)) if self._has_answers(*told)
        ]

    def _has_answers(self, instruction: str, codes: np.ndarray | None) -> bool:
        if not self.config.enabled or codes is None:
            return True
        try:
            asked = len(self._written(instruction, None).mentions)
        except NoObjectFound:
            if (codes >= 0).any():
                raise
            return False
        return bool((codes[:asked] >= 0).all())

    def _told(self, dialogue: Dialogue, state_text: str | None) -> Dialogue:
        """The state put in its place: what is parsed and remembered is the dialogue without it."""
        if not self.template.needs_state:
            return dialogue
        if state_text is None:
            raise InspireError(
                f"Template {self.template.name!r} writes the robot's state, and there is none."
            )
        segments = tuple(
            replace(segment, text=(segment.text or "").replace(_STATE, state_text))
            if segment.token_type is TokenType.INSTRUCTION
            else segment
            for segment in dialogue.segments
        )
        return replace(dialogue, segments=segments)

    def _write(
        self, instruction: str, codes: tuple[int, ...] | None, reasoning: bool | None = None
    ) -> Dialogue:
        dialogue = build_dialogue(
            instruction,
            mode=self.config.mode,
            question_position=self.config.question_position,  # type: ignore[arg-type]  # checked by the configuration
            max_objects=self.config.max_objects,
            template=self.template,
            reasoning=self.config.enabled if reasoning is None else reasoning,
            state_text=_STATE if self.template.needs_state else None,
        )
        if codes is None:
            return dialogue
        own = codes[: len(dialogue.mentions)]
        if len(own) < len(dialogue.mentions) or min(own, default=0) < 0:
            raise InspireError(
                f"{instruction!r} asks about {list(dialogue.mentions)}, but the labels are {list(codes)} (-1: none)."
            )
        return dialogue.with_answers([str(word) for word in decode_answers(np.array(own), self.config.mode)])


def label_codes(batch: Mapping[str, Any], config: InspireVLAConfig) -> list[np.ndarray | None]:
    """The labels of each row, (max_objects,) codes; None each where nothing is asked or the batch has no labels.

    A column for one object comes without its last dimension, and with a history of images come earlier labels.
    """
    rows = len(batch["task"])
    column = batch.get(answer_column(config.reasoning.mode)) if config.reasoning.enabled else None
    if column is None:
        return [None] * rows
    now = column[:, -1] if config.n_obs_steps > 1 else column
    return list(now.reshape(rows, -1).cpu().numpy().astype(np.int64))


@dataclass(frozen=True)
class SupervisedBatch:
    """Token ids, right-padded, and which of them are learned.

    Attributes:
        supervised: where an id is to be predicted from those before it.
        token_types: a `TokenType` each.
        answers: (row, start, stop, number of the object, word) of each answer, to count which are right.
    """

    ids: Int[Tensor, "batch time"]
    supervised: Bool[Tensor, "batch time"]
    token_types: Int[Tensor, "batch time"]
    answers: tuple[tuple[int, int, int, int, str], ...] = ()


def supervise(
    dialogues: Sequence[Dialogue],
    action_ids: Sequence[np.ndarray],
    tokenizer: TextTokenizer,
    device: torch.device,
) -> SupervisedBatch:
    """Render each dialogue with its action and pad to the longest."""
    rows = [render(d, tokenizer, ids) for d, ids in zip(dialogues, action_ids, strict=True)]
    longest = max(len(row.ids) for row in rows)

    def padded(name: str, dtype: type) -> Tensor:
        out: np.ndarray = np.zeros((len(rows), longest), dtype=dtype)
        for place, row in enumerate(rows):
            values = getattr(row, name)
            out[place, : len(values)] = values
        return torch.from_numpy(out).to(device)

    answers = tuple(
        (row, *span, number, str(dialogue.answers[number]))
        for row, (dialogue, rendered) in enumerate(zip(dialogues, rows, strict=True))
        for number, span in enumerate(rendered.answer_spans)
    )
    return SupervisedBatch(
        padded("ids", np.int64), padded("loss_mask", np.bool_), padded("token_types", np.int64), answers
    )


@dataclass(frozen=True)
class Losses:
    """Mean cross-entropies over a batch, and how often the answer was right.

    Attributes:
        accuracy_of: share of answers right by "object_0", "object_1", … and by demonstrated word; only those that
            are in the batch.
    """

    action: Tensor
    answer: Tensor | None
    action_accuracy: float
    answer_accuracy: float | None
    accuracy_of: Mapping[str, float] = field(default_factory=dict)


def losses(logits: Float[Tensor, "tokens vocabulary"], batch: SupervisedBatch) -> Losses:
    """Next-token losses. `logits` has one row per supervised token, in the order of `batch.supervised`.

    A supervised token of the text (the end of a turn, where the template has it learned) counts to what it ends.
    """
    targets = batch.ids[batch.supervised]
    token_types = _ended(batch)[batch.supervised]
    each = cross_entropy(logits.float(), targets, reduction="none")
    right = logits.argmax(-1) == targets
    acts = token_types == int(TokenType.ACTION)
    answers = token_types == int(TokenType.ANSWER)
    said = batch.token_types[batch.supervised] == int(TokenType.ANSWER)
    spoken = bool(answers.any())
    return Losses(
        action=each[acts].mean(),
        answer=each[answers].mean() if spoken else None,
        action_accuracy=right[acts].float().mean().item(),
        answer_accuracy=right[said].float().mean().item() if spoken else None,
        accuracy_of=_accuracy_of(right, batch) if spoken else {},
    )


def _ended(batch: SupervisedBatch) -> Int[Tensor, "batch time"]:
    """Token types, those of supervised text replaced by the type of the last answer or action before it."""
    spoken = (batch.token_types == int(TokenType.ANSWER)) | (batch.token_types == int(TokenType.ACTION))
    place = torch.arange(batch.token_types.shape[1], device=batch.token_types.device)
    last = torch.where(spoken, place, 0).cummax(1).values
    ends = batch.supervised & (batch.token_types == int(TokenType.TEXT))
    return torch.where(ends, batch.token_types.gather(1, last), batch.token_types)


def _accuracy_of(right: Bool[Tensor, " tokens"], batch: SupervisedBatch) -> dict[str, float]:
    found = torch.zeros_like(batch.supervised)
    found[batch.supervised] = right
    table = found.cpu().numpy()
    counts: dict[str, list[bool]] = {}
    for row, start, stop, number, word in batch.answers:
        hit = bool(table[row, start:stop].all())
        for key in (f"object_{number}", word):
            counts.setdefault(key, []).append(hit)
    return {key: sum(hits) / len(hits) for key, hits in counts.items()}
