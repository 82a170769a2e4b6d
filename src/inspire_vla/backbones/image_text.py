"""Any image-text-to-text model of transformers (SmolVLM, Qwen2.5-VL, PaliGemma 2, Gemma 3, …) as a VLA.

Nothing of a model is rewritten. Its processor makes the tokens and pixels of a turn that holds the pictures, the model
merges them as it always does, and the embeddings are taken where they enter its decoder.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from inspire_vla.backbones.base import square_grid
from inspire_vla.backbones.hosted import HostedBackbone
from inspire_vla.dialogue import Template, TextTokenizer
from inspire_vla.errors import InspireError

PROMPT = "What action should the robot take to {instruction}?"
_MARKS = ("⟦one⟧", "⟦two⟧", "⟦three⟧")


@dataclass
class ImageTextConfig:
    """How a model of transformers is made a VLA.

    Attributes:
        action_tokens: "added": the vocabulary grows by the action codes. "reserved": they take the last ids of the
            tokenizer's own vocabulary, its least used ones.
    """

    action_tokens: str = "added"


class ImageText(HostedBackbone):
    """The model's own turn with pictures, then the dialogue in its own chat template.

    Positions are those of the sequence. Models that number pictures in two dimensions (Qwen-VL) get plain positions
    for them, which fine-tuning has to make up for.
    """

    name: ClassVar[str] = "image_text"
    lora_targets = r".*backbone\.model\..*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    fsdp_units: tuple[str, ...] = ()

    def __init__(self, model: PreTrainedModel, processor: Any, *, pictures: int = 1) -> None:
        """
        Args:
            model: for image-text-to-text; its vocabulary already holds the action codes.
            processor: the model's.

        Raises:
            InspireError: a processor without tokenizer or image processor, or a model whose decoder is not found.
        """
        super().__init__()
        for part in ("tokenizer", "image_processor"):
            if getattr(processor, part, None) is None:
                raise InspireError(f"The processor {type(processor).__name__} has no {part}.")
        self.model, self.processor, self.pictures = model, processor, pictures
        self.text_tokenizer: TextTokenizer = processor.tokenizer
        self.fsdp_units = tuple(sorted(getattr(model, "_no_split_modules", None) or ()))
        self.both_ways = model.config.model_type == "paligemma"
        text_config = model.config.get_text_config()
        self.hidden_size = text_config.hidden_size
        self.vocabulary_size = model.get_output_embeddings().weight.shape[0]
        self._softcap = getattr(text_config, "final_logit_softcapping", None)
        self.opening, self.template = chat(processor, pictures)
        self._picture_columns: list[int] = []  # of the last observation

    @classmethod
    def from_folder(cls, folder: Path, *, pictures: int = 1, vocabulary_size: int | None = None) -> Self:
        """The model with fresh weights, off the configuration and processor in a checkpoint's folder."""
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder))
        if vocabulary_size is not None and vocabulary_size != model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(vocabulary_size, mean_resizing=False)
        return cls(model, AutoProcessor.from_pretrained(folder), pictures=pictures)

    def save_companions(self, folder: Path) -> None:
        """Write the model's configuration and processor: what `from_folder` reads."""
        self.processor.save_pretrained(folder)
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

    def logits(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch vocabulary"]:
        scores = self.model.get_output_embeddings()(hidden)
        return scores if self._softcap is None else self._softcap * torch.tanh(scores / self._softcap)

    def observe(
        self, images: Float[Tensor, "batch picture 3 height width"], state: Float[Tensor, "batch dim"] | None
    ) -> Float[Tensor, "batch seen hidden"]:
        if state is not None:
            raise InspireError("An image-text model does not feel the robot's state: set use_state to false.")
        batch, pictures = images.shape[:2]
        if pictures != self.pictures:
            raise InspireError(f"This model looks at {self.pictures} picture(s), found {pictures}.")
        inputs = self.processor(
            images=[list(row.unbind(0)) for row in images],
            text=[self.opening] * batch,
            images_kwargs={"do_rescale": False},
            return_tensors="pt",
            add_special_tokens=self.opening == "" or not self._opens_itself,
        ).to(images.device)
        image_token = getattr(self.model.config, "image_token_id", None)
        self._picture_columns = [i for i, t in enumerate(inputs["input_ids"][0].tolist()) if t == image_token]
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.dtype)
        return self._merged(inputs)

    def picture_tokens(self, seen: int, pictures: int, which: int = 0) -> tuple[range, tuple[int, int]]:
        columns = self._picture_columns
        if not columns:
            raise InspireError(f"{self.model.config.model_type} does not say which tokens are its pictures.")
        starts = [i for i, at in enumerate(columns) if not i or at != columns[i - 1] + 1]
        runs = [columns[a:b] for a, b in zip(starts, [*starts[1:], len(columns)], strict=True)]
        if len(runs) == 1 and pictures > 1:  # nothing stands between them
            each = len(columns) // pictures
            runs = [columns[i * each : (i + 1) * each] for i in range(pictures)]
        if len(runs) != pictures:
            raise InspireError(
                f"{pictures} picture(s) became {len(runs)} runs of tokens: they are cut into tiles."
            )
        return square_grid(range(runs[which][0], runs[which][-1] + 1))

    @property
    def _opens_itself(self) -> bool:
        bos = getattr(self.text_tokenizer, "bos_token", None)
        return bos is not None and self.opening.startswith(bos)

    def _merged(self, inputs: Any) -> Float[Tensor, "batch seen hidden"]:
        """The embeddings with which the model would call its decoder."""

        def catch(module: nn.Module, args: tuple, options: dict[str, Any]) -> None:
            raise _Caught(options)

        hook = self.decoder.register_forward_pre_hook(catch, with_kwargs=True)
        try:
            self.model(**inputs, use_cache=False)
        except _Caught as caught:
            beside = caught.options.get("deepstack_visual_embeds")
            if beside is not None:
                raise InspireError(
                    f"{self.model.config.model_type} feeds pictures into its middle layers, which a sequence of "
                    "embeddings cannot hold."
                ) from None
            return caught.options["inputs_embeds"]
        finally:
            hook.remove()
        raise InspireError(
            f"{type(self.model).__name__} did not call its decoder {type(self.decoder).__name__}."
        )


class _Caught(Exception):
    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options


def chat(processor: Any, pictures: int) -> tuple[str, Template]:
    """The text of a turn up to its pictures, and how a dialogue goes on from there in the model's chat template.

    Without a chat template the pictures are the model's image tokens and a dialogue is plain lines.
    """
    if not getattr(processor, "chat_template", None):
        own = getattr(processor.tokenizer, "image_token", "<image>")
        image = str(getattr(processor, "image_token", None) or own)
        template = Template(
            "lines", question="{question}\n", answer="{answer}", answer_end="\n", instruction=PROMPT + "\n"
        )
        return image * pictures, template
    shown = [{"type": "image"}] * pictures
    turns = [
        {"role": "user", "content": [*shown, {"type": "text", "text": _MARKS[0]}]},
        {"role": "assistant", "content": [{"type": "text", "text": _MARKS[1]}]},
        {"role": "user", "content": [{"type": "text", "text": _MARKS[2]}]},
    ]
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    rest = text
    pieces = []
    for mark in _MARKS:
        piece, found, rest = rest.partition(mark)
        if not found:
            raise InspireError("The processor's chat template does not repeat the text of a turn.")
        pieces.append(piece)
    opening, asks, goes_on = pieces
    template = Template(
        "chat", question="{question}" + asks, answer="{answer}", answer_end=goes_on, instruction=PROMPT + rest
    )
    return opening, template
