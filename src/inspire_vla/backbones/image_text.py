"""Any image-text-to-text model of transformers (SmolVLM2, Qwen2.5-VL, Qwen3-VL, PaliGemma 2, Gemma 3, …) as a VLA.

Nothing of a model is rewritten. Its processor makes the tokens and pixels of a turn that holds the images, the model
merges them as it always does, and what it then calls its decoder with is caught: the embeddings, and where a model has
them, places in two dimensions (Qwen-VL), images that see themselves both ways (Gemma 3) and features for the middle
layers (Qwen3-VL).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from inspire_vla.backbones.base import KeyValueCache, grid_like
from inspire_vla.backbones.chat_template import chat, load_chat, save_chat
from inspire_vla.backbones.hf_decoder import HFBackbone
from inspire_vla.backbones.image_rotation import ImageTurn
from inspire_vla.backbones.static_cache import FixedCache, Pass
from inspire_vla.dialogue import Template, TextTokenizer
from inspire_vla.errors import InspireError, did_you_mean

ACTION_TOKENS = ("added", "reserved")


@dataclass
class ImageTextConfig:
    """How a model of transformers is made a VLA.

    Attributes:
        action_tokens: "added": the vocabulary grows by the action codes. "reserved": they take the last ids of the
            tokenizer's own vocabulary, its least used ones, but for those that mean something to the model.

    Raises InspireError for any other.
    """

    action_tokens: str = "added"

    def __post_init__(self) -> None:
        if self.action_tokens not in ACTION_TOKENS:
            hint = did_you_mean(self.action_tokens, ACTION_TOKENS)
            raise InspireError(f"Unknown way to give actions tokens {self.action_tokens!r}.{hint}")


class ImageText(HFBackbone):
    """The model's own turn with images, then the dialogue in its own chat template.

    An element of a sequence is an embedding and, behind it, what the model adds in its first layers (`deep` of them:
    Qwen3-VL; zeros for text). `encode_observation` keeps how the images are arranged: it is
    the same for all images of a size, and a batch holds images of one size.
    """

    name: ClassVar[str] = "image_text"
    lora_targets = (
        r".*backbone\.model\..*"
        r"(q_proj|k_proj|v_proj|o_proj|out_proj|gate_proj|up_proj|down_proj|qkv|attn\.proj|fc1|fc2)"
    )
    fsdp_units: tuple[str, ...] = ()

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Any,
        *,
        num_images: int = 1,
        said: tuple[str, Template] | None = None,
    ) -> None:
        """
        Args:
            model: for image-text-to-text; its vocabulary already holds the action codes.
            processor: the model's.
            said: opening and template of a dialogue; None: those of the processor's chat template.

        Raises:
            InspireError: a processor without tokenizer or image processor, or a model whose decoder is not found.
        """
        super().__init__()
        for part in ("tokenizer", "image_processor"):
            if getattr(processor, part, None) is None:
                raise InspireError(f"The processor {type(processor).__name__} has no {part}.")
        self.model, self.processor, self.num_images = model, processor, num_images
        self.text_tokenizer: TextTokenizer = processor.tokenizer
        self.fsdp_units = tuple(sorted(getattr(model, "_no_split_modules", None) or ()))
        self.bidirectional_prefix = model.config.model_type == "paligemma"
        text_config = model.config.get_text_config()
        self.hidden_size = text_config.hidden_size
        head = model.get_output_embeddings()
        self.vocabulary_size = head.weight.shape[0]
        self._tied = head.weight is model.get_input_embeddings().weight and head.bias is None
        self.head = None
        self._window = _window(text_config)
        self.deep = len(
            getattr(getattr(model.config, "vision_config", None), "deepstack_visual_indexes", ()) or ()
        )
        self._turn = ImageTurn()
        self._softcap = getattr(text_config, "final_logit_softcapping", None)
        self.opening, self.template = said or chat(processor, num_images)
        self._image_columns: list[int] = []  # of the last observation, as the next
        self._image_size = (1, 1)

    @classmethod
    def from_folder(cls, folder: Path, *, num_images: int = 1, vocabulary_size: int | None = None) -> Self:
        """The model with fresh weights, off the configuration and processor in a checkpoint's folder."""
        config = AutoConfig.from_pretrained(folder)
        # The configuration names the dtype it was saved with; what is wanted is that of new parameters here.
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.get_default_dtype())
        if vocabulary_size is not None and vocabulary_size != model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(vocabulary_size, mean_resizing=False)
        processor = AutoProcessor.from_pretrained(folder)
        return cls(model, processor, num_images=num_images, said=load_chat(folder, processor, num_images))

    def save_companions(self, folder: Path) -> None:
        """Write the model's configuration, processor and way to write a dialogue: what `from_folder` reads."""
        self.processor.save_pretrained(folder)
        save_chat(self.opening, self.template, self.num_images, folder)
        self.model.config.save_pretrained(folder)

    @cached_property
    def _decoder(self) -> tuple[PreTrainedModel]:
        return (self.model.get_decoder(),)  # a tuple hides it: the parameters are registered once

    @property
    def decoder(self) -> PreTrainedModel:
        return self._decoder[0]

    def vision(self) -> tuple[nn.Module, ...]:
        inner = getattr(self.model, "model", self.model)
        found = [getattr(inner, name, None) for name in ("vision_tower", "vision_model", "visual")]
        return tuple(tower for tower in found if tower is not None)

    def tie(self) -> None:
        if self._tied:
            self.model.get_output_embeddings().weight = self.model.get_input_embeddings().weight

    @property
    def special_ids(self) -> set[int]:
        """Token ids that no action may take: special tokens, and those the model's configuration names."""
        tokenizer: Any = self.text_tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {})
        named = {
            value
            for config in (self.model.config, self.model.config.get_text_config())
            for key, value in config.to_dict().items()
            if key.endswith(("_token_id", "_token_index")) and isinstance(value, int)
        }
        return {*tokenizer.all_special_ids, *(i for i, token in added.items() if token.special), *named}

    @property
    def rows_of_new_tokens(self) -> tuple[str, ...]:
        """Names of the layers in which tokens that were added have rows: a LoRA has to learn these whole."""
        return ("embed_tokens",) if self._tied else ("embed_tokens", "lm_head")

    def logits(
        self, hidden: Float[Tensor, "*batch hidden"], among: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "*batch scored"]:
        if self._tied:  # read where the embedding is: a LoRA's copy of the embedding is then that of the head
            scores = super().logits(hidden, among)
        else:
            scores = self.model.get_output_embeddings()(hidden)
            scores = scores if among is None else scores[..., among]
        return scores if self._softcap is None else self._softcap * torch.tanh(scores / self._softcap)

    def encode_observation(
        self, images: Float[Tensor, "batch image 3 height width"], state: Float[Tensor, "batch dim"] | None
    ) -> Float[Tensor, "batch prefix hidden"]:
        if state is not None:
            raise InspireError("An image-text model does not feel the robot's state: set use_state to false.")
        batch, num_images = images.shape[:2]
        if num_images != self.num_images:
            raise InspireError(f"This model looks at {self.num_images} image(s), found {num_images}.")
        inputs = self.processor(
            images=[list(row.unbind(0)) for row in images],
            text=[self.opening] * batch,
            images_kwargs={"do_rescale": False},
            return_tensors="pt",
            add_special_tokens=self.opening == "" or not self._opens_itself,
        ).to(images.device)
        image_token = getattr(self.model.config, "image_token_id", None)
        self._image_size = (int(images.shape[-2]), int(images.shape[-1]))
        self._image_columns = [i for i, t in enumerate(inputs["input_ids"][0].tolist()) if t == image_token]
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.dtype)
        return self._merged(inputs)

    def image_tokens(
        self, prefix_length: int, num_images: int, index: int = 0
    ) -> tuple[range, tuple[int, int]]:
        columns = self._image_columns
        if not columns:
            raise InspireError(f"{self.model.config.model_type} does not say which tokens are its images.")
        starts = [i for i, at in enumerate(columns) if not i or at != columns[i - 1] + 1]
        runs = [columns[a:b] for a, b in zip(starts, [*starts[1:], len(columns)], strict=True)]
        if len(runs) == 1 and num_images > 1:  # nothing stands between them
            each = len(columns) // num_images
            runs = [columns[i * each : (i + 1) * each] for i in range(num_images)]
        if len(runs) != num_images:
            raise InspireError(
                f"{num_images} image(s) became {len(runs)} runs of tokens: they are cut into tiles."
            )
        return grid_like(range(runs[index][0], runs[index][-1] + 1), self._image_size)

    @property
    def _opens_itself(self) -> bool:
        bos = getattr(self.text_tokenizer, "bos_token", None)
        return bos is not None and self.opening.startswith(bos)

    def _merged(self, inputs: Any) -> Float[Tensor, "batch prefix element"]:
        """The elements with which the model would call its decoder; their arrangement is remembered."""

        def catch(module: nn.Module, args: tuple, options: dict[str, Any]) -> None:
            raise _Caught(options)

        hook = self.decoder.register_forward_pre_hook(catch, with_kwargs=True)
        try:
            self.model(**inputs, use_cache=False)
        except _Caught as caught:
            options = caught.options
        else:
            raise InspireError(
                f"{type(self.model).__name__} did not call its decoder {type(self.decoder).__name__}."
            )
        finally:
            hook.remove()
        self._turn = ImageTurn.of_call(options, bidirectional_prefix=self.bidirectional_prefix)
        elements = self._widened(options["inputs_embeds"])
        if self.deep:
            where = options["visual_pos_masks"]
            for number, features in enumerate(options["deepstack_visual_embeds"], start=1):
                own = slice(number * self.hidden_size, (number + 1) * self.hidden_size)
                elements[..., own][where] = features.to(elements.dtype)
        return elements

    def _widened(self, embeddings: Float[Tensor, "batch time hidden"]) -> Float[Tensor, "batch time element"]:
        return pad(embeddings, (0, self.deep * self.hidden_size))

    def use_static_cache(self, columns: int, compiler: Callable[[Pass], Pass] | None = None) -> None:
        """Raises InspireError for models whose passes hold more than embeddings, places and one mask."""
        if self.deep or self._window is not None or _counts_in_three(self.model.config.get_text_config()):
            raise InspireError(
                f"{self.model.config.model_type} has no static steps; set static_cache to 'off'."
            )
        super().use_static_cache(columns, compiler)

    def embed(self, token_ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time element"]:
        return self._widened(super().embed(token_ids))

    def extend(
        self,
        embeddings: Float[Tensor, "batch time element"],
        *,
        positions: Int[Tensor, "batch time"] | None = None,
        attention_mask: Bool[Tensor, "batch time total"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        fixed = isinstance(cache, FixedCache)
        if isinstance(cache, FixedCache):
            past = cache.length
        else:
            past = 0 if cache is None else cache.get_seq_length()
        total = past + embeddings.shape[1]
        if self._window is not None and total > self._window:
            raise InspireError(
                f"A sequence of {total} elements is longer than the window of {self._window} that some layers of "
                f"{self.model.config.model_type} look back: fewer images, or a smaller n_obs_steps."
            )
        if positions is None:
            positions = torch.arange(past, total, device=embeddings.device).expand(len(embeddings), -1)
        if past == 0:
            attention_mask = self._turn.widened(attention_mask, positions)
        embedded, *deep = embeddings.split(self.hidden_size, dim=-1)
        if fixed:
            return super().extend(embedded, positions=positions, attention_mask=attention_mask, cache=cache)
        more: dict[str, Any] = {}
        if deep:
            everywhere = torch.ones(embedded.shape[:2], dtype=torch.bool, device=embedded.device)
            more = {
                "visual_pos_masks": everywhere,
                "deepstack_visual_embeds": [d.flatten(0, 1) for d in deep],
            }
        return self.decoder(
            inputs_embeds=embedded,
            position_ids=self._turn.counted(positions),
            attention_mask=None if attention_mask is None else attention_mask[:, None],
            past_key_values=cache,
            use_cache=cache is not None,
            **more,
        ).last_hidden_state


class _Caught(Exception):
    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options


def _counts_in_three(config: Any) -> bool:
    return "mrope_section" in (getattr(config, "rope_parameters", None) or {})


def _window(config: Any) -> int | None:
    """How far the layers look back that do not look at everything; None where all do."""
    slides = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    return getattr(config, "sliding_window", None) if slides else None
