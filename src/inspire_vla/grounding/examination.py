"""How well a pre-trained backbone sees, on images it has not learned from; always beside what chance would get."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from inspire_vla.backbones.nano import Nano
from inspire_vla.grounding.images import load_images
from inspire_vla.grounding.objective import Heads
from inspire_vla.grounding.pointing import NEAR
from inspire_vla.grounding.questions import Exchange, exchanges

_BATCH = 64


@dataclass(frozen=True)
class Examination:
    """n questions of each kind, right ones, and the rate of the best answer that does not look at the image.

    found: share of "Where is …?" answered within NEAR; found_blind: by always answering the middle of the places.
    error: median distance, shares of the image's side.
    """

    where_n: int
    found: float
    found_blind: float
    error: float
    presence_n: int
    presence: float
    naming_n: int
    naming: float


def examine(
    model: Nano, heads: Heads, files: Sequence[Path], *, images: int = 2048, seed: int = 0
) -> Examination:
    """Ask one question of each kind on each image; words are decoded greedily, places pointed at."""
    model.eval()
    asked = _questions(files, images, seed)
    truth = np.array([e.place for _, e in asked["Where"]])
    distance = np.hypot(*(_places(model, heads, asked["Where"]) - truth).T)
    blind = np.hypot(*(truth - np.median(truth, axis=0)).T)
    presence = _answers(model, asked["Is"], length=1)
    naming = _answers(model, asked["What"], length=2)
    return Examination(
        len(truth),
        float((distance < NEAR).mean()),
        float((blind < NEAR).mean()),
        float(np.median(distance)),
        len(presence),
        float(np.mean([a == e.answer for a, (_, e) in zip(presence, asked["Is"], strict=True)])),
        len(naming),
        float(np.mean([a.startswith(e.answer) for a, (_, e) in zip(naming, asked["What"], strict=True)])),
    )


def point_at(
    model: Nano, heads: Heads, files: Sequence[Path], *, images: int, seed: int = 0
) -> tuple[list[tuple[UInt8[np.ndarray, "height width 3"], Exchange]], Float[np.ndarray, "n 2"]]:
    """Questions "Where is …?" on some images of those of the examination, and where the model points."""
    model.eval()
    asked = _questions(files, images, seed)["Where"]
    return asked, _places(model, heads, asked)


def _questions(files: Sequence[Path], images: int, seed: int) -> dict[str, list[tuple[np.ndarray, Exchange]]]:
    """Of each kind, named by its first word, at most one an image.

    The images are spread over all files: neighbours show the same things.
    """
    rng = np.random.default_rng((seed, 5))
    asked: dict[str, list[tuple[np.ndarray, Exchange]]] = {"Where": [], "Is": [], "What": []}
    shards = [load_images(file) for file in files]
    rows = [(shard, row) for shard in shards for row in range(len(shard))]
    for at in np.linspace(0, len(rows), min(images, len(rows)), endpoint=False).astype(int):
        shard, row = rows[at]
        talk = exchanges(shard, row, rng, 12)
        for kind, list_of_kind in asked.items():
            own = [e for e in talk if e.question.startswith(kind)]
            if own:
                list_of_kind.append((shard.pixels[row], own[0]))
    return asked


@torch.inference_mode()
def _places(
    model: Nano, heads: Heads, asked: Sequence[tuple[np.ndarray, Exchange]]
) -> Float[np.ndarray, "n 2"]:
    """Where the model points, shares of the sides."""
    found = np.zeros((len(asked), 2))
    for rows, prefix, ids in _equally_long(model, asked):
        hidden = model.extend(torch.cat([prefix, model.embed(ids)], dim=1))
        found[rows] = heads.pointing.point(hidden[:, -1]).cpu().numpy()
    return found


@torch.inference_mode()
def _answers(model: Nano, asked: Sequence[tuple[np.ndarray, Exchange]], *, length: int) -> list[str]:
    """Greedy answers of `length` tokens."""
    answers = [""] * len(asked)
    for rows, prefix, ids in _equally_long(model, asked):
        size = ids.shape[1]
        for _ in range(length):
            hidden = model.extend(torch.cat([prefix, model.embed(ids)], dim=1))
            ids = torch.cat([ids, model.logits(hidden[:, -1]).argmax(-1, keepdim=True)], dim=1)
        for i, own in zip(rows, ids[:, size:].tolist(), strict=True):
            answers[i] = model.text_tokenizer.decode(own)
    return answers


def _equally_long(
    model: Nano, asked: Sequence[tuple[np.ndarray, Exchange]]
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Batches of rows whose questions have equally many tokens: their numbers, what is seen, ids."""
    questions = [model.text_tokenizer.encode(e.question, add_special_tokens=False) for _, e in asked]
    order = sorted(range(len(asked)), key=lambda i: len(questions[i]))
    start = 0
    while start < len(order):
        size = len(questions[order[start]])
        rows = [i for i in order[start : start + _BATCH] if len(questions[i]) == size]
        start += len(rows)
        pixels = torch.from_numpy(np.stack([asked[i][0] for i in rows])).to(model.device)
        prefix = model.encode_observation(pixels.permute(0, 3, 1, 2)[:, None].float() / 255, None)
        yield rows, prefix, torch.tensor([questions[i] for i in rows], device=model.device)
