"""The interface of a backbone: a vision-language model, as training and decoding use it.

Tensor axes: batch; camera; prefix = image and state tokens; time = elements of this call; total = cached + new
elements; supervised = elements whose next token is in the loss; hidden = width of the decoder.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from inspire_vla.dialogue import Template, TextTokenizer, TokenType
from inspire_vla.errors import InspireError

LINEAR_LAYERS = "q_proj|k_proj|v_proj|o_proj|out_proj|gate_proj|up_proj|down_proj|fc1|fc2"
"""Names of the linear layers of language models and vision encoders, for `lora_targets`."""


class KeyValueCache(Protocol):
    """Keys and values of the elements a backbone has processed. The caches of transformers have this form."""

    def crop(self, length: int, /) -> None:
        """Forget all but the first `length` columns."""

    def get_seq_length(self) -> int:
        """The number of cached columns."""
        ...


KeyValues = Sequence[
    tuple[Float[Tensor, "batch kv_head columns head_dim"], Float[Tensor, "batch kv_head columns head_dim"]]
]
"""Keys (after the rotary embedding) and values of each layer of a backbone, from the first to the last."""


class Backbone(nn.Module, ABC):
    """Maps an observation and tokens to hidden states, and hidden states to logits of the next token.

    One control step is one sequence: prefix · text · answers · action codes. `encode_observation` embeds the prefix and
    `embed` the tokens. `extend` runs elements behind those in a cache (decoding). `forward` runs a whole sequence
    without a cache (training). Both take their mask from `make_attention_mask`.

    Every backbone passes the tests in tests/backbones/backbone_laws.py.
    """

    name: ClassVar[str]
    bidirectional_prefix: bool = False
    """Whether input elements (images, questions, instruction) attend to each other, see `make_attention_mask`."""
    pads_images: ClassVar[bool] = False
    """Whether images of another aspect ratio are padded. Else they would be stretched."""
    lora_targets: ClassVar[str | None] = None
    """Regular expression of the linear layers that LoRA adapts by default; None: no default."""
    trained_whole: ClassVar[tuple[str, ...]] = ()
    """Layers that are trained whole beside a LoRA, where the language model learns answers or action codes."""
    fsdp_units: tuple[str, ...] = ()
    """Class names of the blocks that FSDP shards as one unit, those of the flow expert included."""
    hidden_size: int
    vocabulary_size: int
    text_tokenizer: TextTokenizer
    template: Template

    @abstractmethod
    def encode_observation(
        self, images: Float[Tensor, "batch camera 3 height width"], state: Float[Tensor, "batch dim"] | None
    ) -> Float[Tensor, "batch prefix hidden"]:
        """RGB images in [0, 1] and the normalised robot state → the embeddings at the start of a sequence."""

    @abstractmethod
    def embed(self, token_ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time hidden"]:
        """Token ids → embeddings."""

    def encode_state(
        self, state: Float[Tensor, "batch dim"] | None
    ) -> Float[Tensor, "batch state_tokens hidden"] | None:
        """The normalised robot state → the embeddings of a template with `state_tokens`; None for other templates."""
        return None

    def embed_sequence(
        self,
        token_ids: Int[Tensor, "batch time"],
        token_types: Int[Tensor, "batch time"],
        states: Float[Tensor, "batch state_tokens hidden"] | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """Token ids → embeddings, with `states` (see `encode_state`) where the type is STATE."""
        embeddings = self.embed(token_ids)
        if states is None:
            return embeddings
        is_state = token_types == TokenType.STATE
        row = torch.arange(len(token_ids), device=token_ids.device)[:, None]
        of_state = states[row, torch.where(is_state, token_ids, 0)].to(embeddings.dtype)
        return torch.where(is_state[..., None], of_state, embeddings)

    @abstractmethod
    def extend(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        *,
        positions: Int[Tensor, "batch time"] | None = None,
        attention_mask: Bool[Tensor, "batch time total"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """Run `embeddings` behind the columns of `cache`, and add them to it.

        Args:
            positions: position of each element in its own sequence; default: its column.
            attention_mask: True where the row attends to the column; default: causal.
        """

    @abstractmethod
    def logits(
        self, hidden: Float[Tensor, "*batch hidden"], among: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "*batch scored"]:
        """Logits of the next token: over the whole vocabulary, or only over the token ids `among`."""

    def supervised_states(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        loss_mask: Bool[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch time time"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "supervised hidden"]:
        """The last hidden states where `loss_mask` is true, row by row. Used in training.

        cache: gets the keys and values of all elements, with their gradient.
        """
        return self.extend(embeddings, attention_mask=attention_mask, cache=cache)[loss_mask]

    def forward(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        loss_mask: Bool[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch time time"] | None = None,
    ) -> Float[Tensor, "supervised vocabulary"]:
        """Logits of the token after each element where `loss_mask` is true, row by row. Used in training."""
        return self.logits(self.supervised_states(embeddings, loss_mask, attention_mask=attention_mask))

    @abstractmethod
    def forward_with_key_values(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        loss_mask: Bool[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch time time"] | None = None,
    ) -> tuple[Float[Tensor, "supervised vocabulary"], KeyValues]:
        """`forward`, and the keys and values of all elements, with their gradient: the training of a flow expert."""

    @abstractmethod
    def key_values(self, cache: KeyValueCache) -> KeyValues:
        """The keys and values in a cache of `new_cache`."""

    @abstractmethod
    def new_cache(self, rows: int = 1) -> KeyValueCache:
        """An empty cache for `extend` with this batch size."""

    def freeze(self) -> None:
        """Exclude all but what belongs to the flow expert from training."""
        self.requires_grad_(False)

    def image_tokens(
        self, prefix_length: int, num_images: int, index: int = 0
    ) -> tuple[range, tuple[int, int]]:
        """Find image `index` of `num_images` in a prefix of `prefix_length` elements.

        Returns:
            Its columns, row by row from the top left, and its grid (rows, columns). By default the images follow each
            other from the first element, each as a square.

        Raises:
            InspireError: the tokens form no grid.
        """
        each = prefix_length // num_images
        return token_grid(range(index * each, (index + 1) * each))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


def token_grid(columns: range, image_size: tuple[int, int] = (1, 1)) -> tuple[range, tuple[int, int]]:
    """The columns of an image and their grid (rows, columns), which has the proportions of the image, or is a square.

    Args:
        image_size: height and width of the image; only their ratio counts.

    Raises:
        InspireError: the number of tokens is no square, and no grid has the ratio of the image within a quarter.
    """
    count, ratio = len(columns), math.log(image_size[0] / image_size[1])
    grids = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    error, grid = min(((abs(math.log(r / c) - ratio), (r, c)) for r, c in grids), default=(math.inf, (0, 0)))
    if error <= math.log(1.25):
        return columns, grid
    side = math.isqrt(count)
    if side and side * side == count:  # the model resizes every image to a square
        return columns, (side, side)
    raise InspireError(f"{count} tokens of an image of {image_size[0]}:{image_size[1]} form no grid.")
