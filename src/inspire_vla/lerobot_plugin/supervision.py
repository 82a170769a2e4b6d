"""Demonstrated samples → one padded batch of ids with what each of them is supervised for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from inspire_vla.dialogue import (
    Dialogue,
    RememberingTokenizer,
    Role,
    Template,
    TextTokenizer,
    build_dialogue,
    render,
)
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.configuration_inspire_vla import ReasoningConfig
from inspire_vla.spatial import decode_answers


class DialogueWriter:
    """Writes instructions down as dialogues, as the configuration says; remembers those it has written."""

    def __init__(self, config: ReasoningConfig, template: Template, tokenizer: TextTokenizer) -> None:
        self.config, self.template = config, template
        self.tokenizer = RememberingTokenizer(tokenizer)
        self._written = lru_cache(maxsize=1 << 16)(self._write)

    def prompt(self, instruction: str) -> Dialogue:
        """The dialogue with its answers left open."""
        return self._written(instruction, None)

    def demonstration(self, instruction: str, codes: np.ndarray | None) -> Dialogue:
        """The dialogue with the labelled answers, (max_objects,) codes.

        Raises InspireError where an asked object has no label.
        """
        if not self.config.enabled:
            return self._written(instruction, None)
        if codes is None:
            raise InspireError(
                "Reasoning is trained on labels, and the batch has none. Label the dataset, or train the base model "
                "with --policy.reasoning.enabled=false."
            )
        return self._written(instruction, tuple(codes.tolist()))

    def _write(self, instruction: str, codes: tuple[int, ...] | None) -> Dialogue:
        dialogue = build_dialogue(
            instruction,
            mode=self.config.mode,
            asked=self.config.asked,  # type: ignore[arg-type]  # checked by the configuration
            max_objects=self.config.max_objects,
            template=self.template,
            reasoning=self.config.enabled,
        )
        if codes is None:
            return dialogue
        own = codes[: len(dialogue.mentions)]
        if len(own) < len(dialogue.mentions) or min(own, default=0) < 0:
            raise InspireError(
                f"{instruction!r} asks about {list(dialogue.mentions)}, but the labels are {list(codes)} (-1: none)."
            )
        return dialogue.with_answers([str(word) for word in decode_answers(np.array(own), self.config.mode)])


@dataclass(frozen=True)
class SupervisedBatch:
    """Token ids, right-padded, and which of them are learned.

    Attributes:
        supervised: where an id is to be predicted from those before it.
        roles: a `Role` each.
    """

    ids: Int[Tensor, "batch time"]
    supervised: Bool[Tensor, "batch time"]
    roles: Int[Tensor, "batch time"]


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

    return SupervisedBatch(padded("ids", np.int64), padded("loss_mask", np.bool_), padded("roles", np.int64))


@dataclass(frozen=True)
class Losses:
    """Mean cross-entropies over a batch, and how often the answer was right."""

    action: Tensor
    answer: Tensor | None
    action_accuracy: float
    answer_accuracy: float | None


def losses(logits: Float[Tensor, "tokens vocabulary"], batch: SupervisedBatch) -> Losses:
    """Next-token losses. `logits` has one row per supervised token, in the order of `batch.supervised`."""
    targets = batch.ids[batch.supervised]
    roles = batch.roles[batch.supervised]
    each = cross_entropy(logits.float(), targets, reduction="none")
    right = (logits.argmax(-1) == targets).float()
    acts = roles == int(Role.ACTION)
    answers = roles == int(Role.ANSWER)
    spoken = bool(answers.any())
    return Losses(
        action=each[acts].mean(),
        answer=each[answers].mean() if spoken else None,
        action_accuracy=right[acts].mean().item(),
        answer_accuracy=right[answers].mean().item() if spoken else None,
    )
