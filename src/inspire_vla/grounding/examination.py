"""How well a pre-trained backbone sees, on pictures it has not learned from; always beside what chance would get."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from inspire_vla.backbones.nano import Nano
from inspire_vla.grounding.pictures import load_pictures
from inspire_vla.grounding.questions import Exchange, exchanges

NEAR = 0.03
"""Share of the picture's side that counts as found: about two centimetres on the benchmark's table."""
_BATCH = 64


@dataclass(frozen=True)
class Examination:
    """n questions of each kind, right ones, and the rate of the best answer that does not look at the picture.

    found: share of "Where is …?" answered within NEAR; found_blind: by always answering the middle of the places.
    error: median distance, shares of the picture's side.
    """

    where_n: int
    found: float
    found_blind: float
    error: float
    presence_n: int
    presence: float
    naming_n: int
    naming: float


def examine(model: Nano, files: Sequence[Path], *, pictures: int = 512, seed: int = 0) -> Examination:
    """Ask one question of each kind on each picture; answers are decoded greedily, digit by digit."""
    rng = np.random.default_rng((seed, 5))
    model.eval()
    asked: dict[str, list[tuple[np.ndarray, Exchange]]] = {"Where": [], "Is": [], "What": []}
    left = pictures
    for file in files:
        shard = load_pictures(file)
        for row in range(min(left, len(shard))):
            talk = exchanges(shard, row, rng, 12)
            for kind, list_of_kind in asked.items():
                own = [e for e in talk if e.question.startswith(kind)]
                if own:
                    list_of_kind.append((shard.pixels[row], own[0]))
        left -= min(left, len(shard))
        if not left:
            break
    where = _answers(model, asked["Where"], length=4)
    truth = np.array([_place(e.answer) for _, e in asked["Where"]])
    said = np.array([_place(text) for text in where])
    distance = np.hypot(*(said - truth).T)
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


def _place(answer: str) -> tuple[float, float]:
    digits = [int(word) if word.lstrip("-").isdigit() else 5 for word in answer.split()]
    digits += [5] * (4 - len(digits))
    return digits[0] / 10 + digits[2] / 100 + 0.005, digits[1] / 10 + digits[3] / 100 + 0.005


@torch.inference_mode()
def _answers(model: Nano, asked: Sequence[tuple[np.ndarray, Exchange]], *, length: int) -> list[str]:
    """Greedy answers of `length` tokens. Rows of equally long questions are answered together."""
    tokenizer = model.text_tokenizer
    questions = [tokenizer.encode(e.question, add_special_tokens=False) for _, e in asked]
    answers = [""] * len(asked)
    order = sorted(range(len(asked)), key=lambda i: len(questions[i]))
    start = 0
    while start < len(order):
        size = len(questions[order[start]])
        rows = [i for i in order[start : start + _BATCH] if len(questions[i]) == size]
        start += len(rows)
        pixels = torch.from_numpy(np.stack([asked[i][0] for i in rows])).to(model.device)
        seen = model.observe(pixels.permute(0, 3, 1, 2)[:, None].float() / 255, None)
        ids = torch.tensor([questions[i] for i in rows], device=model.device)
        for _ in range(length):
            hidden = model.extend(torch.cat([seen, model.embed(ids)], dim=1))
            ids = torch.cat([ids, model.logits(hidden[:, -1]).argmax(-1, keepdim=True)], dim=1)
        for i, own in zip(rows, ids[:, size:].tolist(), strict=True):
            answers[i] = tokenizer.decode(own)
    return answers
