"""Images → batches, in an order that the step's number fixes: an interrupted training goes on the same way."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inspire_vla.backbones.base import TextTokenizer
from inspire_vla.errors import InspireError
from inspire_vla.grounding.images import Images, load_images, mirrored
from inspire_vla.grounding.naming import middles_of_points, names_of_points
from inspire_vla.grounding.questions import exchanges

FILES_TOGETHER = 2
"""So many files are shuffled into one another."""


@dataclass(frozen=True)
class GroundingBatch:
    """Images, what is at the points of each, and a conversation on each.

    Attributes:
        images: RGB in [0, 1].
        points: class of (kind, colour) at a grid over the image.
        middles: from those points to the middle of what is there, shares of the sides; NaN: nothing.
        ids: questions and answers, right-padded.
        supervised: the ids of answers.
        places: at the end of a question that is answered by pointing the place, shares of the sides; else NaN.
    """

    images: Float[Tensor, "batch 1 3 height width"]
    points: Int[Tensor, "batch rows columns 2"]
    middles: Float[Tensor, "batch rows columns 2"]
    ids: Int[Tensor, "batch time"]
    supervised: Bool[Tensor, "batch time"]
    places: Float[Tensor, "batch time 2"]

    def to(self, device: torch.device) -> "GroundingBatch":
        """The same on a device."""
        return GroundingBatch(*(getattr(self, each.name).to(device) for each in fields(self)))


class Batches:
    """Batch number `step` of a training that reads its files over and over, each time in another order."""

    def __init__(
        self,
        files: Sequence[Path],
        tokenizer: TextTokenizer,
        *,
        batch_size: int,
        questions: int,
        grid: int,
        seed: int,
    ) -> None:
        if not files:
            raise InspireError("There are no images to learn from.")
        self.files, self.tokenizer, self.seed = list(files), tokenizer, seed
        self.batch_size, self.questions, self.grid = batch_size, questions, grid
        self._ids = lru_cache(maxsize=1 << 16)(self._tokenise)
        self._loaded: tuple[int, list[Images], np.ndarray] | None = None
        first = load_images(self.files[0])
        self.group = FILES_TOGETHER * (len(first) // batch_size)
        """Batches in a group of files."""

    def __getitem__(self, step: int) -> GroundingBatch:
        number, place = divmod(step, self.group)
        if self._loaded is None or self._loaded[0] != number:
            self._loaded = (number, *self._load(number))
        _, images, order = self._loaded
        rows = order[place * self.batch_size : (place + 1) * self.batch_size]
        rng = np.random.default_rng((self.seed, step))
        return self.collate([(images[file], int(row)) for file, row in rows], rng)

    def _load(self, number: int) -> tuple[list[Images], np.ndarray]:
        groups = -(-len(self.files) // FILES_TOGETHER)
        epoch, group = divmod(number, groups)
        order = np.random.default_rng((self.seed, 3, epoch)).permutation(len(self.files))
        wanted = [
            self.files[order[i % len(order)]]
            for i in range(group * FILES_TOGETHER, (group + 1) * FILES_TOGETHER)
        ]
        images = [load_images(file) for file in wanted]
        rows = np.array([(f, row) for f, shard in enumerate(images) for row in range(len(shard))])
        np.random.default_rng((self.seed, 4, number)).shuffle(rows)
        return images, rows

    def collate(self, rows: Sequence[tuple[Images, int]], rng: np.random.Generator) -> GroundingBatch:
        """Ask about each image, every other one mirrored, and pad to the longest conversation."""
        rows = [(mirrored(images, row), 0) if rng.random() < 0.5 else (images, row) for images, row in rows]
        talks = [self._talk(images, row, rng) for images, row in rows]
        longest = max(len(ids) for ids, _, _ in talks)
        ids = np.zeros((len(rows), longest), np.int64)
        supervised = np.zeros((len(rows), longest), bool)
        places = np.full((len(rows), longest, 2), np.nan, np.float32)
        for place, (own, learned, pointed) in enumerate(talks):
            ids[place, : len(own)] = own
            supervised[place, : len(own)] = learned
            for end, where in pointed:
                places[place, end] = where
        pixels = np.stack([images.pixels[row] for images, row in rows])
        points = np.stack([names_of_points(images, row, self.grid) for images, row in rows])
        middles = np.stack([middles_of_points(images, row, self.grid) for images, row in rows])
        return GroundingBatch(
            torch.from_numpy(pixels).permute(0, 3, 1, 2).float()[:, None] / 255,
            torch.from_numpy(points),
            torch.from_numpy(middles),
            torch.from_numpy(ids),
            torch.from_numpy(supervised),
            torch.from_numpy(places),
        )

    def _talk(
        self, images: Images, row: int, rng: np.random.Generator
    ) -> tuple[list[int], list[bool], list[tuple[int, tuple[float, float]]]]:
        """Ids, which of them are learned, and at which of them to point where."""
        ids: list[int] = []
        supervised: list[bool] = []
        pointed: list[tuple[int, tuple[float, float]]] = []
        for exchange in exchanges(images, row, rng, self.questions):
            asked, answered = self._ids(exchange.question), self._ids(exchange.answer)
            ids += [*asked, *answered]
            supervised += [False] * len(asked) + [True] * len(answered)
            if exchange.place is not None:
                pointed.append((len(ids) - 1, exchange.place))
        return ids, supervised, pointed

    def _tokenise(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))
