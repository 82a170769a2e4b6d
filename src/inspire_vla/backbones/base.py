"""The protocol between the method and a language model that sees."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from inspire_vla.dialogue import Template, TextTokenizer
from inspire_vla.errors import InspireError


class KeyValueCache(Protocol):
    """Keys and values of what has passed through a backbone. transformers' caches are such."""

    def crop(self, length: int, /) -> None:
        """Forget all but the first `length` columns."""

    def get_seq_length(self) -> int:
        """How many columns it holds."""
        ...


class Backbone(nn.Module, ABC):
    """Turns an observation and tokens into hidden states, and hidden states into scores of the next token.

    One control step is one growing sequence, `observation tokens · text · answers · action codes`.
    `encode_observation` makes the elements of the observation (the prefix), `embed` those of text and codes, and
    `extend` runs elements behind those in a cache. Training is a single `forward` without a cache. Both take their
    mask from `make_attention_mask`.
    The law-suite every backbone passes is tests/backbones/backbone_laws.py.
    """

    name: ClassVar[str]
    bidirectional_prefix: bool = False
    """Whether what is given (images, questions, instruction) attends both ways: see `make_attention_mask`."""
    hidden_size: int
    vocabulary_size: int
    text_tokenizer: TextTokenizer
    template: Template

    @abstractmethod
    def encode_observation(
        self, images: Float[Tensor, "batch camera 3 height width"], state: Float[Tensor, "batch dim"] | None
    ) -> Float[Tensor, "batch prefix hidden"]:
        """Images in [0, 1], RGB, and the normalised robot state → the embeddings a sequence starts with."""

    @abstractmethod
    def embed(self, token_ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time hidden"]:
        """Token ids → embeddings."""

    @abstractmethod
    def extend(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        *,
        positions: Int[Tensor, "batch time"] | None = None,
        attention_mask: Bool[Tensor, "batch time total"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """Run `embeddings` behind what `cache` holds, and add them to it.

        Args:
            positions: place of each element in its own sequence; default: its column.
            attention_mask: which of the `total` = cached + new columns each element sees; default: all up to itself.
        """

    @abstractmethod
    def logits(
        self, hidden: Float[Tensor, "*batch hidden"], among: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "*batch scored"]:
        """Scores of the token that comes next: of the whole vocabulary, or of the token ids `among` alone."""

    def forward(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        loss_mask: Bool[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch time time"] | None = None,
    ) -> Float[Tensor, "supervised vocabulary"]:
        """Scores of the token after each element of `loss_mask`, row by row: one `extend` from nothing.

        All that training asks for. A backbone may leave out what these scores do not depend on.
        """
        return self.logits(self.extend(embeddings, attention_mask=attention_mask)[loss_mask])

    @abstractmethod
    def new_cache(self, rows: int = 1) -> KeyValueCache:
        """An empty cache for `extend`, of that many rows."""

    def image_tokens(
        self, prefix_length: int, num_images: int, index: int = 0
    ) -> tuple[range, tuple[int, int]]:
        """Where image `index` of `num_images` is in a prefix of `prefix_length` elements, and its grid.

        Returns the columns, row by row from the top left, and how many rows and columns of the image they are.
        Here: images one after the other from the first element, each as a square. Raises InspireError otherwise.
        """
        each = prefix_length // num_images
        return square_grid(range(index * each, (index + 1) * each))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


def square_grid(columns: range) -> tuple[range, tuple[int, int]]:
    """Columns of an image whose tokens are a square. Raises InspireError where they are not."""
    return grid_like(columns, (1, 1))


def grid_like(columns: range, image: tuple[int, int]) -> tuple[range, tuple[int, int]]:
    """Columns of an image whose tokens stand in its own proportions, given its height and width, or as a square.

    Raises InspireError where they are no square, and no number of rows comes within a quarter of the proportions.
    """
    count, wanted = len(columns), math.log(image[0] / image[1])
    shapes = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    off, shape = min(((abs(math.log(r / c) - wanted), (r, c)) for r, c in shapes), default=(math.inf, (0, 0)))
    if off > math.log(1.25):
        side = math.isqrt(count)
        if side and side * side == count:  # the model squeezes every image into a square
            return columns, (side, side)
        raise InspireError(
            f"the {count} tokens of an image of {image[0]}:{image[1]} are no grid: where they lie is not known."
        )
    return columns, shape
