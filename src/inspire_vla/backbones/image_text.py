"""Any image-text-to-text model of transformers (SmolVLM2, Qwen2.5-VL, Qwen3-VL, PaliGemma 2, Gemma 3, …) as a VLA.

The model is used as it is. Its processor makes tokens and pixels of a chat turn with the images, the model merges
them, and `decoder_call` returns the arguments with which it would call its decoder: the embeddings and, where the model
has them, three-dimensional positions (Qwen-VL), a mask in which images attend bidirectionally (Gemma 3), and image
features for the first layers (deepstack, Qwen3-VL).

Tensor axes: batch; image; prefix = the turn up to the last image; time = elements of this call; total = cached + new
elements; hidden = width of the decoder; element = hidden, plus one more hidden per deepstack layer.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from inspire_vla.backbones.base import LINEAR_LAYERS, KeyValueCache, token_grid
from inspire_vla.backbones.chat_template import ChatTemplate, load_chat
from inspire_vla.backbones.hf_decoder import (
    Compiler,
    CroppableStaticCache,
    HFBackbone,
    decoder_call,
    deepstack_layers,
    no_split_modules,
    sliding_window,
    special_ids,
    uses_mrope,
    vision_encoders,
)
from inspire_vla.backbones.prefix_layout import PrefixLayout
from inspire_vla.dialogue import TextTokenizer
from inspire_vla.errors import InspireError, counted, did_you_mean

ACTION_TOKENS = ("added", "reserved")


@dataclass
class ImageTextConfig:
    """How a model of transformers becomes a VLA.

    Attributes:
        action_tokens: "added": the vocabulary grows by the action codes. "reserved": action codes take the last token
            ids of the vocabulary, its rarest, except those with a meaning for the model.

    Raises InspireError for any other value.
    """

    action_tokens: str = "added"

    def __post_init__(self) -> None:
        if self.action_tokens not in ACTION_TOKENS:
            hint = did_you_mean(self.action_tokens, ACTION_TOKENS)
            raise InspireError(f"Unknown way to give actions tokens {self.action_tokens!r}.{hint}")


class ImageText(HFBackbone):
    """A chat turn with the images, then the dialogue in the model's own chat template.

    An element of a sequence is an embedding, followed by its deepstack features (zeros for text). All images of a batch
    have one size. `encode_observation` keeps the layout of the images for the calls after it.
    """

    name: ClassVar[str] = "image_text"
    lora_targets = rf".*backbone\.model\..*({LINEAR_LAYERS}|qkv|attn\.proj)"

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Any,
        *,
        num_images: int = 1,
        chat: ChatTemplate | None = None,
    ) -> None:
        """
        Args:
            model: an image-text-to-text model whose vocabulary already contains the action codes.
            processor: the processor of the model.
            chat: how a dialogue is written; None: by the processor's chat template.

        Raises:
            InspireError: a processor without tokenizer or image processor, or a model without a decoder.
        """
        super().__init__()
        for part in ("tokenizer", "image_processor"):
            if getattr(processor, part, None) is None:
                raise InspireError(f"The processor {type(processor).__name__} has no {part}.")
        self.model, self.processor, self.num_images = model, processor, num_images
        self.text_tokenizer: TextTokenizer = processor.tokenizer
        self.chat = chat or ChatTemplate.of(processor, num_images)
        self.template = self.chat.template
        self.bidirectional_prefix = model.config.model_type == "paligemma"
        self.fsdp_units = no_split_modules(model)
        text_config, head = model.config.get_text_config(), model.get_output_embeddings()
        self.hidden_size, self.vocabulary_size = text_config.hidden_size, head.weight.shape[0]
        self.deepstack = deepstack_layers(model.config)
        self.head = None
        self._tied = head.weight is model.get_input_embeddings().weight and head.bias is None
        self._window = sliding_window(model.config)
        self._softcap = getattr(text_config, "final_logit_softcapping", None)
        self._layout = PrefixLayout()
        self._image_columns: list[int] = []
        self._image_size = (1, 1)

    @classmethod
    def from_folder(
        cls, folder: Path, *, num_images: int = 1, vocabulary_size: int | None = None, state: bool = False
    ) -> Self:
        """Build the model with fresh weights from the configuration and processor in a checkpoint's folder.

        state: whether the prompt holds the robot's state as text.
        """
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        # The configuration names the dtype it was saved with; new parameters here have the default dtype.
        model = AutoModelForImageTextToText.from_config(
            config, dtype=torch.get_default_dtype(), trust_remote_code=False
        )
        if vocabulary_size is not None and vocabulary_size != model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(vocabulary_size, mean_resizing=False)
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
        chat = load_chat(folder, processor, num_images).with_state(state)
        return cls(model, processor, num_images=num_images, chat=chat)

    @cached_property
    def _decoder(self) -> tuple[PreTrainedModel]:
        return (self.model.get_decoder(),)  # in a tuple, so that its parameters are registered only once

    @property
    def decoder(self) -> PreTrainedModel:
        return self._decoder[0]

    def vision(self) -> tuple[nn.Module, ...]:
        return vision_encoders(self.model)

    def tie(self) -> None:
        if self._tied:
            self.model.get_output_embeddings().weight = self.model.get_input_embeddings().weight

    @property
    def special_ids(self) -> set[int]:
        """Token ids that no action code may take: special tokens, and those named by the model's configuration."""
        named = {
            value
            for config in (self.model.config, self.model.config.get_text_config())
            for key, value in config.to_dict().items()
            if key.endswith(("_token_id", "_token_index")) and isinstance(value, int)
        }
        return special_ids(self.text_tokenizer) | named

    @property
    def rows_of_new_tokens(self) -> tuple[str, ...]:
        """Names of the layers that have rows for added tokens. LoRA must train these layers fully."""
        return ("embed_tokens",) if self._tied else ("embed_tokens", "lm_head")

    def logits(
        self, hidden: Float[Tensor, "*batch hidden"], among: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "*batch scored"]:
        if self._tied:  # from the embedding, so that LoRA's copy of the embedding is used here too
            scores = super().logits(hidden, among)
        else:
            scores = self.model.get_output_embeddings()(hidden)
            scores = scores if among is None else scores[..., among]
        return scores if self._softcap is None else self._softcap * torch.tanh(scores / self._softcap)

    def encode_observation(
        self, images: Float[Tensor, "batch image 3 height width"], state: Float[Tensor, "batch dim"] | None
    ) -> Float[Tensor, "batch prefix element"]:
        if state is not None:
            raise InspireError("An image-text model takes the robot's state as text, in its prompt only.")
        self.check_images(images)
        opening, bos = self.chat.opening, getattr(self.text_tokenizer, "bos_token", None)
        inputs = self.processor(
            images=[list(row.unbind(0)) for row in images],
            text=[opening] * len(images),
            images_kwargs={"do_rescale": False},
            return_tensors="pt",
            add_special_tokens=not (opening and bos is not None and opening.startswith(bos)),
        ).to(images.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.dtype)
        image_token = getattr(self.model.config, "image_token_id", None)
        self._image_columns = [i for i, t in enumerate(inputs["input_ids"][0].tolist()) if t == image_token]
        self._image_size = (int(images.shape[-2]), int(images.shape[-1]))

        call = decoder_call(self.model, self.decoder, inputs)
        self._layout = PrefixLayout.of_call(call, bidirectional_prefix=self.bidirectional_prefix)
        elements = self._with_deepstack(call["inputs_embeds"])
        if self.deepstack:
            image_positions = call["visual_pos_masks"]
            for number, features in enumerate(call["deepstack_visual_embeds"], start=1):
                layer = slice(number * self.hidden_size, (number + 1) * self.hidden_size)
                elements[..., layer][image_positions] = features.to(elements.dtype)
        return elements

    def image_tokens(
        self, prefix_length: int, num_images: int, index: int = 0
    ) -> tuple[range, tuple[int, int]]:
        columns = self._image_columns
        if not columns:
            raise InspireError(f"{self.model.config.model_type} does not say which tokens are its images.")
        starts = [i for i, at in enumerate(columns) if not i or at != columns[i - 1] + 1]
        runs = [columns[a:b] for a, b in zip(starts, [*starts[1:], len(columns)], strict=True)]
        if len(runs) == 1 and num_images > 1:  # no token separates the images
            each = len(columns) // num_images
            runs = [columns[i * each : (i + 1) * each] for i in range(num_images)]
        if len(runs) != num_images:
            raise InspireError(
                f"{counted(num_images, 'image')} became {counted(len(runs), 'run')} of tokens: the model cuts "
                "images into tiles."
            )
        return token_grid(range(runs[index][0], runs[index][-1] + 1), self._image_size)

    def _with_deepstack(
        self, embeddings: Float[Tensor, "batch time hidden"]
    ) -> Float[Tensor, "batch time element"]:
        return pad(embeddings, (0, self.deepstack * self.hidden_size))

    def use_static_cache(self, max_length: int, compiler: Compiler | None = None) -> None:
        """Raises InspireError for models with deepstack, sliding windows or three-dimensional positions."""
        if self.deepstack or self._window is not None or uses_mrope(self.model.config):
            raise InspireError(
                f"{self.model.config.model_type} has no static cache; set static_cache to 'off'."
            )
        super().use_static_cache(max_length, compiler)

    def embed(self, token_ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time element"]:
        return self._with_deepstack(super().embed(token_ids))

    def extend(
        self,
        embeddings: Float[Tensor, "batch time element"],
        *,
        positions: Int[Tensor, "batch time"] | None = None,
        attention_mask: Bool[Tensor, "batch time total"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        if isinstance(cache, CroppableStaticCache):
            past = cache.length
        else:
            past = 0 if cache is None else cache.get_seq_length()
        total = past + embeddings.shape[1]
        if self._window is not None and total > self._window:
            raise InspireError(
                f"A sequence of {total} elements is longer than the attention window of {self._window} of some layers "
                f"of {self.model.config.model_type}: use fewer images, or a smaller n_obs_steps."
            )
        if positions is None:
            positions = torch.arange(past, total, device=embeddings.device).expand(len(embeddings), -1)
        if past == 0:
            attention_mask = self._layout.add_to_mask(attention_mask, positions)
        embedded, *deepstack = embeddings.split(self.hidden_size, dim=-1)
        if isinstance(cache, CroppableStaticCache):
            return super().extend(embedded, positions=positions, attention_mask=attention_mask, cache=cache)
        features: dict[str, Any] = {}
        if deepstack:
            everywhere = torch.ones(embedded.shape[:2], dtype=torch.bool, device=embedded.device)
            features = {
                "visual_pos_masks": everywhere,
                "deepstack_visual_embeds": [layer.flatten(0, 1) for layer in deepstack],
            }
        return self._run_decoder(
            embedded, self._layout.model_positions(positions), attention_mask, cache, **features
        )
