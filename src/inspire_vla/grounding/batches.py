"""Batches of the pre-training. The step number fixes a batch, so an interrupted training continues exactly.

Tensor axes: batch; grid = points along each side of the image; time = text tokens. Positions and offsets are (u, v):
from the left and from the top, as fractions of the image's sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from inspire_vla.dialogue import TextTokenizer
from inspire_vla.errors import InspireError
from inspire_vla.grounding.images import GRIPPER, ROBOT, Images, load_images, mirrored
from inspire_vla.grounding.questions import kind_and_colour, noun_of, sample_questions

KINDS = (
    "nothing", "robot", "cube", "cylinder", "ball", "mug", "plate", "bowl", "basket", "tray", "box", "cabinet",
)  # fmt: skip
"""Classes of the dense targets: those of the tabletop. A recipe for other objects gives its own. The first two stay."""
COLOURS = (
    "none", "red", "blue", "green", "yellow", "white", "black", "purple", "orange", "pink", "brown", "gray", "cyan",
)  # fmt: skip
"""The same of the looks, the first of which stays. "": objects without a look in their name."""
_GRIPPER_RADIUS = 0.2
"""Points of the robot that are nearer to the gripper than this have the offset to the gripper as target."""
FILES_PER_GROUP = 2
"""Number of files whose images are shuffled together."""


@dataclass(frozen=True)
class GroundingBatch:
    """Images with their dense targets, and questions with their answers.

    Attributes:
        images: RGB in [0, 1].
        classes: indices into the kinds and the looks at each grid point.
        offsets: from each grid point to the centre of the object there; NaN: no object.
        ids: questions and answers, right-padded.
        loss_mask: the ids of answers.
        points: target of pointing at the last token of a question "Where is …?"; NaN: any other token.
    """

    images: Float[Tensor, "batch 1 3 height width"]
    classes: Int[Tensor, "batch grid grid 2"]
    offsets: Float[Tensor, "batch grid grid 2"]
    ids: Int[Tensor, "batch time"]
    loss_mask: Bool[Tensor, "batch time"]
    points: Float[Tensor, "batch time 2"]

    def to(self, device: torch.device) -> "GroundingBatch":
        """The same batch on a device."""
        return GroundingBatch(*(getattr(self, field.name).to(device) for field in fields(self)))


class Batches:
    """`batches[step]` is the batch of a step. The files are read again and again, each time in another order."""

    def __init__(
        self,
        files: Sequence[Path],
        tokenizer: TextTokenizer,
        *,
        batch_size: int,
        questions: int,
        grid: int,
        seed: int,
        dense_steps: int = 0,
        kinds: Sequence[str] = KINDS,
        colours: Sequence[str] = COLOURS,
    ) -> None:
        """
        Args:
            questions: number of questions about each image.
            grid: points of the dense targets along each side.
            dense_steps: the first steps, whose batches have no questions.
            kinds, colours: the classes of the dense targets.
        """
        if not files:
            raise InspireError("There are no images to learn from.")
        self.files, self.tokenizer, self.seed = list(files), tokenizer, seed
        self.batch_size, self.questions, self.grid, self.dense_steps = (
            batch_size,
            questions,
            grid,
            dense_steps,
        )
        self.kinds, self.colours = kinds, colours
        self._ids = lru_cache(maxsize=1 << 16)(self._tokenize)
        self._loaded: tuple[int, list[Images], np.ndarray] | None = None
        self.batches_per_group = FILES_PER_GROUP * (len(load_images(self.files[0])) // batch_size)

    def __getitem__(self, step: int) -> GroundingBatch:
        group, position = divmod(step, self.batches_per_group)
        if self._loaded is None or self._loaded[0] != group:
            self._loaded = (group, *self._load(group))
        _, images, order = self._loaded
        rows = order[position * self.batch_size : (position + 1) * self.batch_size]
        rng = np.random.default_rng((self.seed, step))
        questions = self.questions if step >= self.dense_steps else 0
        return self.collate([(images[file], int(row)) for file, row in rows], questions, rng)

    def _load(self, number: int) -> tuple[list[Images], np.ndarray]:
        groups = -(-len(self.files) // FILES_PER_GROUP)
        epoch, group = divmod(number, groups)
        order = np.random.default_rng((self.seed, 3, epoch)).permutation(len(self.files))
        places = range(group * FILES_PER_GROUP, (group + 1) * FILES_PER_GROUP)
        images = [load_images(self.files[order[i % len(order)]]) for i in places]
        rows = np.array([(f, row) for f, shard in enumerate(images) for row in range(len(shard))])
        np.random.default_rng((self.seed, 4, number)).shuffle(rows)
        return images, rows

    def collate(
        self, rows: Sequence[tuple[Images, int]], questions: int, rng: np.random.Generator
    ) -> GroundingBatch:
        """Flip every other image, sample questions about each, and pad to the longest text."""
        rows = [(mirrored(images, row), 0) if rng.random() < 0.5 else (images, row) for images, row in rows]
        texts = [self._text(images, row, questions, rng) for images, row in rows]
        longest = max(len(ids) for ids, _, _ in texts)
        ids = np.zeros((len(rows), longest), np.int64)
        loss_mask = np.zeros((len(rows), longest), bool)
        points = np.full((len(rows), longest, 2), np.nan, np.float32)
        for i, (row_ids, row_mask, row_points) in enumerate(texts):
            ids[i, : len(row_ids)] = row_ids
            loss_mask[i, : len(row_ids)] = row_mask
            for end, point in row_points:
                points[i, end] = point
        pixels = np.stack([images.pixels[row] for images, row in rows])
        return GroundingBatch(
            torch.from_numpy(pixels).permute(0, 3, 1, 2).float()[:, None] / 255,
            torch.from_numpy(
                np.stack(
                    [dense_classes(images, row, self.grid, self.kinds, self.colours) for images, row in rows]
                )
            ),
            torch.from_numpy(np.stack([dense_offsets(images, row, self.grid) for images, row in rows])),
            torch.from_numpy(ids),
            torch.from_numpy(loss_mask),
            torch.from_numpy(points),
        )

    def _text(
        self, images: Images, row: int, questions: int, rng: np.random.Generator
    ) -> tuple[list[int], list[bool], list[tuple[int, tuple[float, float]]]]:
        """Ids, their loss mask, and (index of the last token of a question, point to point at)."""
        ids: list[int] = []
        loss_mask: list[bool] = []
        points: list[tuple[int, tuple[float, float]]] = []
        for question in sample_questions(images, row, rng, questions):
            question_ids, answer_ids = self._ids(question.text), self._ids(question.answer)
            ids += [*question_ids, *answer_ids]
            loss_mask += [False] * len(question_ids) + [True] * len(answer_ids)
            if question.point is not None:
                points.append((len(ids) - 1, question.point))
        return ids, loss_mask, points

    def _tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))


def dense_classes(
    images: Images, row: int, grid: int, kinds: Sequence[str] = KINDS, colours: Sequence[str] = COLOURS
) -> Int[np.ndarray, "grid grid 2"]:
    """Indices into the kinds and the looks at `grid` × `grid` points of an image.

    Raises InspireError for an object that is not among them.
    """
    names = map(str, images.names[row])
    looks = [kind_and_colour(name) if name.count("_") == 2 else ("nothing", "none") for name in names]
    for kind, colour in looks:
        if kind not in kinds or colour not in colours:
            raise InspireError(
                f"The images show a {noun_of(kind, colour)!r}, but the recipe has the kinds {', '.join(kinds)} and the "
                f"looks {', '.join(colours)}: the images are of another benchmark."
            )
    table = [(kinds.index(kind), colours.index(colour)) for kind, colour in looks]
    table += [(0, 0)] * (127 - len(table)) + [(1, 0), (0, 0)]  # index −2 is ROBOT, −1 BACKGROUND
    return np.array(table, dtype=np.int64)[_at_grid_points(images, row, grid)]


def dense_offsets(images: Images, row: int, grid: int) -> Float32[np.ndarray, "grid grid 2"]:
    """From each point to the centre of the object there (on the robot: to the gripper). NaN: no object."""
    size = images.segmentation.shape[1]
    step = size // grid
    along = (np.arange(grid) * step + step // 2 + 0.5) / size
    points = np.stack(np.meshgrid(along, along), axis=-1).astype(np.float32)
    indices = _at_grid_points(images, row, grid)
    offsets = np.full((grid, grid, 2), np.nan, np.float32)
    objects = indices >= 0
    offsets[objects] = images.positions[row][indices[objects]] - points[objects]
    grippers = np.flatnonzero(images.names[row] == GRIPPER)
    if len(grippers):
        to_gripper = images.positions[row][grippers[0]] - points
        near = (indices == ROBOT) & (np.abs(to_gripper).max(axis=-1) < _GRIPPER_RADIUS)
        offsets[near] = to_gripper[near]
    return offsets


def _at_grid_points(images: Images, row: int, grid: int) -> Int[np.ndarray, "grid grid"]:
    segmentation = images.segmentation[row]
    step = segmentation.shape[0] // grid
    return segmentation[step // 2 :: step, step // 2 :: step]
