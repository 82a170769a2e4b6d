"""The losses of a batch, and what a reasoning policy logs at each step.

Axes: B rows of a batch, T tokens, N tokens of the loss, K questions (max_objects).
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from inspire_vla.dialogue import TokenType
from inspire_vla.lerobot_plugin.lerobot_host import several_processes
from inspire_vla.spatial import canonical_answers


class Losses:
    """Mean losses of a batch, of answers and of the action.

    A supervised token of the text (the end of a turn, where the template trains it) counts to what it ends.

    Attributes:
        action: that of the action codes, or the loss of a flow expert.
        codes: that of the action codes beside a flow expert; None where there are none.
        answer: None where nothing is answered.
        correct: (N,) whether each token of the loss was the likeliest.
    """

    def __init__(
        self,
        logits: Float[Tensor, "N vocabulary"],
        ids: Int[Tensor, "B T"],
        types: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        flow: Float[Tensor, ""] | None = None,
    ) -> None:
        targets, ended = ids[mask], _types_of_ended(types, mask)[mask]
        each = cross_entropy(logits.float(), targets, reduction="none")
        self.correct = logits.argmax(-1) == targets
        acts, answers = ended == int(TokenType.ACTION), ended == int(TokenType.ANSWER)
        answered = bool(answers.any())
        self.action = each[acts].mean() if flow is None else flow
        self.codes = each[acts].mean() if flow is not None and bool(acts.any()) else None
        self.answer = each[answers].mean() if answered else None
        self._metrics = {"action_loss" if flow is None else "flow_loss": self.action}
        if self.codes is not None:
            self._metrics["action_codes_loss"] = self.codes
        if flow is None or self.codes is not None:
            name = "action_accuracy" if flow is None else "action_codes_accuracy"
            self._metrics[name] = self.correct[acts].float().mean()
        if self.answer is not None:
            of_answers = types[mask] == int(TokenType.ANSWER)
            self._metrics["answer_loss"] = self.answer
            self._metrics["answer_accuracy"] = self.correct[of_answers].float().mean()

    def metrics(self) -> dict[str, float]:
        """Losses and accuracies by token, for the log."""
        return dict(zip(self._metrics, torch.stack([*self._metrics.values()]).tolist(), strict=True))


def _types_of_ended(types: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """Token types; those of supervised text replaced by the type of the last answer or action before it."""
    generated = (types == int(TokenType.ANSWER)) | (types == int(TokenType.ACTION))
    position = torch.arange(types.shape[1], device=types.device)
    last = torch.where(generated, position, 0).cummax(1).values
    ends = mask & (types == int(TokenType.TEXT))
    return torch.where(ends, types.gather(1, last), types)


class LossLog:
    """What a reasoning policy logs at each step: answer accuracies by question and by demonstrated answer.

    A batch has values only for the answers in it. LeRobot 0.6.1 averages over processes by position
    (utils/logging_utils.py), so several processes must log the same names at every step: those without a new value
    keep the last one, NaN before the first.
    """

    def __init__(
        self, mode: str, words: Sequence[str], max_objects: int, *, flow: bool = False, codes: bool = True
    ) -> None:
        self._answers = canonical_answers(mode)
        objects = [f"object_{number}" for number in range(max_objects)]
        action = "action_codes" if flow else "action"
        names = ["flow_loss"] if flow else []
        names += [f"{action}_loss", f"{action}_accuracy"] if codes else []
        names += ["unlabelled_rows", "answer_loss", "answer_accuracy"]
        names += [f"answer_accuracy/{name}" for name in (*objects, *words)]
        self._last = dict.fromkeys(names, math.nan)

    def accuracies(
        self,
        correct: Bool[Tensor, " N"],
        types: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        labels: Int[Tensor, "B K"],
    ) -> dict[str, float]:
        """Share of right answers, for each question and each demonstrated answer in the batch.

        An answer is right when all its tokens are.
        """
        answer = types == int(TokenType.ANSWER)
        begins = answer & ~torch.nn.functional.pad(answer, (1, 0))[:, :-1]
        number = begins.cumsum(1) - 1  # which answer a token belongs to
        wrong = torch.zeros_like(mask)
        wrong[mask] = ~correct
        questions = torch.arange(labels.shape[1], device=labels.device)
        missed = ((number[..., None] == questions) & (wrong & answer)[..., None]).any(1)
        answered = labels >= 0
        right = answered & ~missed
        of_word = labels[..., None] == torch.arange(len(self._answers), device=labels.device)
        counts = torch.stack(
            [
                torch.cat([right.sum(0), (of_word & right[..., None]).sum((0, 1))]),
                torch.cat([answered.sum(0), of_word.sum((0, 1))]),
            ]
        ).tolist()
        names = [*(f"object_{i}" for i in range(labels.shape[1])), *self._answers]
        return {
            f"answer_accuracy/{name}": hits / total
            for name, hits, total in zip(names, *counts, strict=True)
            if total
        }

    def complete(self, found: Mapping[str, float]) -> dict[str, float]:
        """What to log where a batch has `found`."""
        if not several_processes():
            return dict(found)
        self._last |= found
        return dict(self._last)
