"""Published Prismatic weights under our names, and our configuration read off their shapes."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from inspire_vla.backbones.hf_decoder import LanguageConfig
from inspire_vla.backbones.prismatic.config import PrismaticConfig, TowerConfig
from inspire_vla.backbones.weight_map import DROP, Mapped, rename
from inspire_vla.errors import InspireError

HEADS = 16
"""Attention heads of both published towers; shapes do not tell."""


def flat_checkpoint(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """An openvla-mini or openvla `.pt` file, {"model": {part: {name: tensor}}} → {"part.name": tensor}.

    Raises InspireError where it holds something else.
    """
    model = checkpoint.get("model") if isinstance(checkpoint, Mapping) else None
    parts = ("vision_backbone", "projector", "llm_backbone")
    if not isinstance(model, Mapping) or not all(part in model for part in parts):
        found = sorted(map(str, model if isinstance(model, Mapping) else checkpoint))[:8]
        raise InspireError(f"A Prismatic checkpoint holds 'model' with {list(parts)}; found {found}.")
    return {f"{part}.{name}": tensor for part in parts for name, tensor in model[part].items()}


def normalised_names(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of either layout under the names that `map_weights` reads: those of the `.pt` files.

    In the Hugging Face folders DINOv2 is `featurizer`, SigLIP `fused_featurizer`, the language model
    `language_model`, and LayerScale's `gamma` is `scale_factor`, since transformers used to rename any gamma.
    """
    if any(name.startswith("llm_backbone.") for name in source):
        return dict(source)
    rules = [
        (r"vision_backbone\.featurizer\.(.*)\.scale_factor", r"vision_backbone.dino_featurizer.\1.gamma"),
        (
            r"vision_backbone\.fused_featurizer\.(.*)\.scale_factor",
            r"vision_backbone.siglip_featurizer.\1.gamma",
        ),
        (r"vision_backbone\.featurizer\.(.*)", r"vision_backbone.dino_featurizer.\1"),
        (r"vision_backbone\.fused_featurizer\.(.*)", r"vision_backbone.siglip_featurizer.\1"),
        (r"language_model\.(.*)", r"llm_backbone.llm.\1"),
        (r"projector\.fc1\.(.*)", r"projector.projector.0.\1"),
        (r"projector\.fc2\.(.*)", r"projector.projector.2.\1"),
        (r"projector\.fc3\.(.*)", r"projector.projector.4.\1"),
        (r"(.*)", r"\1"),
    ]
    return rename(source, rules).state


def map_weights(source: Mapping[str, Tensor], config: PrismaticConfig) -> Mapped:
    """Tensors of either layout → the parameters of `Prismatic`."""
    tower = r"vision_backbone\.(dino|siglip)_featurizer\."
    rules: list[tuple[str, str | None]] = [
        (tower + r"(norm\..*|fc_norm\..*|attn_pool\..*|head\..*)", DROP),
        (rf"vision_backbone\.dino_featurizer\.blocks\.{config.dino.blocks}\..*", DROP),
        (rf"vision_backbone\.siglip_featurizer\.blocks\.{config.siglip.blocks}\..*", DROP),
        (tower + r"(.*)", r"towers.\1.\2"),
        (r"projector\.projector\.0\.(.*)", r"projector.fc1.\1"),
        (r"projector\.projector\.2\.(.*)", r"projector.fc2.\1"),
        (r"projector\.projector\.4\.(.*)", r"projector.fc3.\1"),
        (r"llm_backbone\.llm\.model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", DROP),
        (r"llm_backbone\.llm\.model\.(.*)", r"decoder.\1"),
        (r"llm_backbone\.llm\.lm_head\.weight", DROP if config.language.tied else "head.weight"),
    ]
    return rename(normalised_names(source), rules)


def read_config(
    source: Mapping[str, Tensor], *, tower_heads: int = HEADS, text_config: Mapping[str, Any] | None = None
) -> PrismaticConfig:
    """The sizes, off the shapes of tensors in either layout. `action_ids_end` is left to the caller.

    Args:
        text_config: the language model's configuration where there is one; shapes do not tell the head size
            or the base of the rotary embedding. Without it: those of Qwen2.5 and of Llama-2.

    Raises:
        InspireError: no fused DINOv2 + SigLIP model.
    """
    tensors = normalised_names(source)
    for part in (
        "vision_backbone.dino_featurizer",
        "vision_backbone.siglip_featurizer",
        "llm_backbone.llm.model",
    ):
        if not any(name.startswith(part + ".") for name in tensors):
            found = sorted({".".join(name.split(".")[:2]) for name in tensors})
            raise InspireError(
                f"This is no Prismatic model with fused DINOv2 and SigLIP: no {part!r} among {found[:8]}."
            )
    if "projector.projector.4.weight" not in tensors:
        raise InspireError("The projector is not the three-layer one of the fused models.")
    dino = _tower(tensors, "dino", tower_heads)
    patch = tensors["vision_backbone.dino_featurizer.patch_embed.proj.weight"].shape[-1]
    places = tensors["vision_backbone.siglip_featurizer.pos_embed"].shape[1]
    return PrismaticConfig(
        language=_language(tensors, text_config),
        dino=dino,
        siglip=_tower(tensors, "siglip", tower_heads),
        image_size=round(places**0.5) * patch,
        patch_size=patch,
    )


def _tower(tensors: Mapping[str, Tensor], name: str, heads: int) -> TowerConfig:
    prefix = f"vision_backbone.{name}_featurizer."
    registers = tensors.get(prefix + "reg_token")
    return TowerConfig(
        width=tensors[prefix + "patch_embed.proj.weight"].shape[0],
        blocks=_count(tensors, prefix + "blocks") - 1,
        heads=heads,
        mlp_size=tensors[prefix + "blocks.0.mlp.fc1.weight"].shape[0],
        registers=0 if registers is None else registers.shape[1],
    )


def _language(tensors: Mapping[str, Tensor], text_config: Mapping[str, Any] | None) -> LanguageConfig:
    given = text_config or {}
    prefix = "llm_backbone.llm.model."
    embedding = tensors[prefix + "embed_tokens.weight"]
    vocabulary, hidden = embedding.shape
    qwen = prefix + "layers.0.self_attn.q_proj.bias" in tensors
    head_size = 64 if qwen and hidden == 896 else 128  # Qwen2.5-0.5B; all larger ones and Llama-2
    heads = given.get("num_attention_heads") or max(hidden // head_size, 1)
    head_size = hidden // heads
    head = tensors.get("llm_backbone.llm.lm_head.weight")
    theta = (given.get("rope_parameters") or {}).get("rope_theta", given.get("rope_theta"))
    return LanguageConfig(
        family="qwen2" if qwen else "llama",
        vocabulary_size=vocabulary,
        hidden_size=hidden,
        mlp_size=tensors[prefix + "layers.0.mlp.gate_proj.weight"].shape[0],
        layers=_count(tensors, prefix + "layers"),
        heads=heads,
        key_value_heads=tensors[prefix + "layers.0.self_attn.k_proj.weight"].shape[0] // head_size,
        rope_theta=theta or (1e6 if qwen else 1e4),
        # Llama-2 says 1e-5, but openvla-7b's config.json says nothing, and so its own code runs with 1e-6.
        norm_eps=given.get("rms_norm_eps", 1e-6 if qwen or text_config is not None else 1e-5),
        longest=given.get("max_position_embeddings") or (32768 if qwen else 2048),
        tied=head is None or torch.equal(head, embedding),
    )


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return 1 + max(int(m.group(1)) for name in tensors if (m := pattern.match(name)))
