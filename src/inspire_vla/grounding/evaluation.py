"""How well a pre-trained backbone answers on held-out images, beside a baseline that does not look at the image."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from inspire_vla.backbones.nano import Nano
from inspire_vla.grounding.heads import POINTING_TOLERANCE, Heads
from inspire_vla.grounding.images import load_images
from inspire_vla.grounding.questions import PHRASE_KINDS, Question, sample_questions

_BATCH = 64

ImageQuestion = tuple[UInt8[np.ndarray, "height width 3"], Question]


@dataclass(frozen=True)
class PointingAccuracy:
    """Number of questions "Where is …?", and the fraction answered within POINTING_TOLERANCE."""

    n: int
    accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """Number of questions of each kind, and accuracy.

    Attributes:
        pointing_by_kind: of each kind of phrase, see PHRASE_KINDS.
        pointing_accuracy: fraction of "Where is …?" answered within POINTING_TOLERANCE.
        pointing_accuracy_blind: the same of a baseline that always points at the median of the true points.
        pointing_median_error: fraction of the image's side.
        presence_accuracy: of "Is there …?". Chance is about one half.
        recognition_accuracy: of "What is at …?".
    """

    pointing_by_kind: Mapping[str, PointingAccuracy]
    pointing_n: int
    pointing_accuracy: float
    pointing_accuracy_blind: float
    pointing_median_error: float
    presence_n: int
    presence_accuracy: float
    recognition_n: int
    recognition_accuracy: float


def evaluate(
    model: Nano, heads: Heads, files: Sequence[Path], *, images: int = 2048, seed: int = 0
) -> Evaluation:
    """Ask one question of each kind about each image that allows it. Words are decoded greedily."""
    model.eval()
    by_kind = _questions(files, images, seed)
    pointing = [each for kind in PHRASE_KINDS for each in by_kind[kind]]
    truth = np.array([question.point for _, question in pointing])
    distance = np.hypot(*(_points(model, heads, pointing) - truth).T)
    blind = np.hypot(*(truth - np.median(truth, axis=0)).T)
    kinds = np.array([question.kind for _, question in pointing])
    presence = _answers(model, by_kind["presence"], length=1)
    encode = model.text_tokenizer.encode
    longest = max(
        (len(encode(q.answer, add_special_tokens=False)) for _, q in by_kind["recognition"]), default=1
    )
    recognition = _answers(model, by_kind["recognition"], length=longest)
    return Evaluation(
        {
            kind: PointingAccuracy(
                len(by_kind[kind]), float((distance[kinds == kind] < POINTING_TOLERANCE).mean())
            )
            for kind in PHRASE_KINDS
            if by_kind[kind]
        },
        len(truth),
        float((distance < POINTING_TOLERANCE).mean()),
        float((blind < POINTING_TOLERANCE).mean()),
        float(np.median(distance)),
        len(presence),
        float(np.mean([a == q.answer for a, (_, q) in zip(presence, by_kind["presence"], strict=True)])),
        len(recognition),
        float(
            np.mean(
                [
                    a.startswith(q.answer)
                    for a, (_, q) in zip(recognition, by_kind["recognition"], strict=True)
                ]
            )
        ),
    )


def point_at(
    model: Nano, heads: Heads, files: Sequence[Path], *, images: int, seed: int = 0
) -> tuple[list[ImageQuestion], Float[np.ndarray, "n 2"]]:
    """One question "Where is …?" about each of some images of `evaluate`, and the points (u, v) of the model.

    The kinds of phrases take turns.
    """
    model.eval()
    pairs: list[ImageQuestion] = []
    for number, (pixels, questions) in enumerate(_images_with_questions(files, images, seed)):
        of_kind = {question.kind: question for question in questions if question.point is not None}
        if of_kind:
            pairs.append((pixels, list(of_kind.values())[number % len(of_kind)]))
    return pairs, _points(model, heads, pairs)


def _questions(files: Sequence[Path], images: int, seed: int) -> dict[str, list[ImageQuestion]]:
    """Questions by their kind; of each kind at most one per image."""
    by_kind: dict[str, list[ImageQuestion]] = defaultdict(list)
    for pixels, questions in _images_with_questions(files, images, seed):
        for question in questions:
            by_kind[question.kind].append((pixels, question))
    return by_kind


def _images_with_questions(
    files: Sequence[Path], images: int, seed: int
) -> Iterator[tuple[UInt8[np.ndarray, "height width 3"], list[Question]]]:
    """Images, each with one question of every kind that it allows.

    The images are spread over all files, because neighbours show the same objects.
    """
    rng = np.random.default_rng((seed, 5))
    shards = [load_images(file) for file in files]
    rows = [(shard, row) for shard in shards for row in range(len(shard))]
    for at in np.linspace(0, len(rows), min(images, len(rows)), endpoint=False).astype(int):
        shard, row = rows[at]
        questions = sample_questions(shard, row, rng, 1_000)
        yield shard.pixels[row], list({question.kind: question for question in questions}.values())


@torch.inference_mode()
def _points(model: Nano, heads: Heads, pairs: Sequence[ImageQuestion]) -> Float[np.ndarray, "n 2"]:
    """The points (u, v) of the model, as fractions of the image's sides."""
    points = np.zeros((len(pairs), 2))
    for rows, prefix, ids in _batches(model, pairs):
        hidden = model.extend(torch.cat([prefix, model.embed(ids)], dim=1))
        points[rows] = heads.pointing.point(hidden[:, -1]).cpu().numpy()
    return points


@torch.inference_mode()
def _answers(model: Nano, pairs: Sequence[ImageQuestion], *, length: int) -> list[str]:
    """Greedy answers of `length` tokens."""
    answers = [""] * len(pairs)
    for rows, prefix, ids in _batches(model, pairs):
        size = ids.shape[1]
        for _ in range(length):
            hidden = model.extend(torch.cat([prefix, model.embed(ids)], dim=1))
            ids = torch.cat([ids, model.logits(hidden[:, -1]).argmax(-1, keepdim=True)], dim=1)
        for i, answer in zip(rows, ids[:, size:].tolist(), strict=True):
            answers[i] = model.text_tokenizer.decode(answer)
    return answers


def _batches(model: Nano, pairs: Sequence[ImageQuestion]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Batches of questions with the same number of tokens: (rows of `pairs`, prefix, ids)."""
    token_ids = [model.text_tokenizer.encode(q.text, add_special_tokens=False) for _, q in pairs]
    order = sorted(range(len(pairs)), key=lambda i: len(token_ids[i]))
    start = 0
    while start < len(order):
        size = len(token_ids[order[start]])
        rows = [i for i in order[start : start + _BATCH] if len(token_ids[i]) == size]
        start += len(rows)
        pixels = torch.from_numpy(np.stack([pairs[i][0] for i in rows])).to(model.device)
        prefix = model.encode_observation(pixels.permute(0, 3, 1, 2)[:, None].float() / 255, None)
        yield rows, prefix, torch.tensor([token_ids[i] for i in rows], device=model.device)
