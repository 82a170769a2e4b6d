"""Published weights of OpenVLA and MiniVLA → the parameters of `Prismatic`, and its sizes read from them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from inspire_vla.backbones.prismatic import LanguageConfig, PrismaticConfig, TowerConfig
from inspire_vla.backbones.published_weights import RenamedWeights, count_layers, rename_weights
from inspire_vla.errors import InspireError


def flat_checkpoint(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Flatten a `.pt` file of openvla-mini or openvla: {"model": {part: {name: tensor}}} → {"part.name": tensor}.

    Raises InspireError for a file of another form.
    """
    model = checkpoint.get("model") if isinstance(checkpoint, Mapping) else None
    parts = ("vision_backbone", "projector", "llm_backbone")
    if not isinstance(model, Mapping) or not all(part in model for part in parts):
        keys = sorted(map(str, model if isinstance(model, Mapping) else checkpoint))[:8]
        raise InspireError(f"A Prismatic checkpoint holds 'model' with {list(parts)}; found {keys}.")
    return {f"{part}.{name}": tensor for part in parts for name, tensor in model[part].items()}


def _normalise_names(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of the Hugging Face layout to those of the `.pt` layout.

    In the Hugging Face folders DINOv2 is `featurizer`, SigLIP `fused_featurizer`, the language model
    `language_model`, and LayerScale's `gamma` is `scale_factor`, because transformers renamed every gamma.
    """
    if any(name.startswith("llm_backbone.") for name in source):
        return dict(source)
    dino, siglip = r"vision_backbone\.featurizer\.(.*)", r"vision_backbone\.fused_featurizer\.(.*)"
    rules = [
        (dino + r"\.scale_factor", r"vision_backbone.dino_featurizer.\1.gamma"),
        (siglip + r"\.scale_factor", r"vision_backbone.siglip_featurizer.\1.gamma"),
        (dino, r"vision_backbone.dino_featurizer.\1"),
        (siglip, r"vision_backbone.siglip_featurizer.\1"),
        (r"language_model\.(.*)", r"llm_backbone.llm.\1"),
        (r"projector\.fc1\.(.*)", r"projector.projector.0.\1"),
        (r"projector\.fc2\.(.*)", r"projector.projector.2.\1"),
        (r"projector\.fc3\.(.*)", r"projector.projector.4.\1"),
        (r"(.*)", r"\1"),
    ]
    return rename_weights(source, rules).state


def map_weights(source: Mapping[str, Tensor], config: PrismaticConfig) -> RenamedWeights:
    """Rename the tensors of either layout to the parameters of `Prismatic`."""
    tower = r"vision_backbone\.(dino|siglip)_featurizer\."
    rules: list[tuple[str, str | None]] = [
        (tower + r"(norm\..*|fc_norm\..*|attn_pool\..*|head\..*)", None),
        (rf"vision_backbone\.dino_featurizer\.blocks\.{config.dino.blocks}\..*", None),
        (rf"vision_backbone\.siglip_featurizer\.blocks\.{config.siglip.blocks}\..*", None),
        (tower + r"(.*)", r"towers.\1.\2"),
        (r"projector\.projector\.0\.(.*)", r"projector.fc1.\1"),
        (r"projector\.projector\.2\.(.*)", r"projector.fc2.\1"),
        (r"projector\.projector\.4\.(.*)", r"projector.fc3.\1"),
        (r"llm_backbone\.llm\.model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", None),
        (r"llm_backbone\.llm\.model\.(.*)", r"decoder.\1"),
        (r"llm_backbone\.llm\.lm_head\.weight", None if config.language.tied else "head.weight"),
    ]
    return rename_weights(_normalise_names(source), rules)


def read_config(
    source: Mapping[str, Tensor],
    *,
    tower_heads: int | None = None,
    text_heads: int | None = None,
    text_config: Mapping[str, Any] | None = None,
) -> PrismaticConfig:
    """Read the sizes from the shapes of the tensors, in either layout. The caller sets `action_ids_end`.

    Args:
        tower_heads: attention heads of the image encoders; None: known from their width.
        text_heads: attention heads of the language model; None: `text_config`'s, or known from its width.
        text_config: configuration of the language model, if known. Shapes show neither the head size nor the base of
            the rotary embedding; the defaults are those of Qwen2.5 and Llama-2.

    Raises:
        InspireError: the tensors are not those of a model with fused DINOv2 and SigLIP, or the number of heads is
            not known or impossible; says which numbers are possible.
    """
    tensors = _normalise_names(source)
    towers = ("vision_backbone.dino_featurizer", "vision_backbone.siglip_featurizer")
    for part in (*towers, "llm_backbone.llm.model"):
        if not any(name.startswith(part + ".") for name in tensors):
            prefixes = sorted({".".join(name.split(".")[:2]) for name in tensors})
            raise InspireError(
                f"This is no Prismatic model with fused DINOv2 and SigLIP: no {part!r} among {prefixes[:8]}."
            )
    if "projector.projector.4.weight" not in tensors:
        raise InspireError("The projector is not the three-layer one of the fused models.")
    given = dict(text_config or {}) | ({"num_attention_heads": text_heads} if text_heads else {})
    patch = tensors["vision_backbone.dino_featurizer.patch_embed.proj.weight"].shape[-1]
    positions = tensors["vision_backbone.siglip_featurizer.pos_embed"].shape[1]
    return PrismaticConfig(
        language=_language_config(tensors, given, text_config is not None),
        dino=_tower_config(tensors, "dino", tower_heads),
        siglip=_tower_config(tensors, "siglip", tower_heads),
        image_size=round(positions**0.5) * patch,
        patch_size=patch,
    )


HEADS_OF_TOWERS = {384: 6, 768: 12, 1024: 16, 1152: 16, 1536: 24}
"""Width of DINOv2 and SigLIP encoders → their attention heads."""


def _tower_config(tensors: Mapping[str, Tensor], name: str, heads: int | None) -> TowerConfig:
    prefix = f"vision_backbone.{name}_featurizer."
    registers = tensors.get(prefix + "reg_token")
    width = tensors[prefix + "patch_embed.proj.weight"].shape[0]
    heads = heads or HEADS_OF_TOWERS.get(width)
    if heads is None or width % heads:
        raise InspireError(
            f"The image encoder {name} is {width} wide, and the weights do not show its attention heads; found "
            f"--vision-heads {heads}. Give their number: {_divisors(width)}."
        )
    return TowerConfig(
        width=width,
        blocks=count_layers(tensors, prefix + "blocks") - 1,
        heads=heads,
        mlp_size=tensors[prefix + "blocks.0.mlp.fc1.weight"].shape[0],
        registers=0 if registers is None else registers.shape[1],
    )


def _divisors(number: int) -> str:
    divisors = [str(n) for n in range(1, min(number, 128) + 1) if number % n == 0]
    return ", ".join(divisors[:-1]) + f" or {divisors[-1]}" if len(divisors) > 1 else divisors[0]


def _language_config(
    tensors: Mapping[str, Tensor], given: Mapping[str, Any], in_huggingface_layout: bool
) -> LanguageConfig:
    prefix = "llm_backbone.llm.model."
    embedding = tensors[prefix + "embed_tokens.weight"]
    vocabulary, hidden = embedding.shape
    qwen = prefix + "layers.0.self_attn.q_proj.bias" in tensors
    head_size = 64 if qwen and hidden == 896 else 128  # Qwen2.5-0.5B; all larger ones and Llama-2
    keys = tensors[prefix + "layers.0.self_attn.k_proj.weight"].shape[0]
    heads = given.get("num_attention_heads") or hidden // head_size
    if not heads or hidden % heads or keys % (hidden // heads):
        raise InspireError(
            f"The language model is {hidden} wide, and its keys {keys}: of no published size, and the weights do not "
            f"show its attention heads; found --heads {heads or None}. Give their number, of these: "
            f"{', '.join(str(n) for n in range(1, hidden + 1) if hidden % n == 0 and keys % (hidden // n) == 0)}."
        )
    head_size = hidden // heads
    head = tensors.get("llm_backbone.llm.lm_head.weight")
    theta = (given.get("rope_parameters") or {}).get("rope_theta", given.get("rope_theta"))
    return LanguageConfig(
        family="qwen2" if qwen else "llama",
        vocabulary_size=vocabulary,
        hidden_size=hidden,
        mlp_size=tensors[prefix + "layers.0.mlp.gate_proj.weight"].shape[0],
        layers=count_layers(tensors, prefix + "layers"),
        heads=heads,
        key_value_heads=keys // head_size,
        rope_theta=theta or (1e6 if qwen else 1e4),
        # Llama-2 has 1e-5, but the config.json of openvla-7b gives none, so its own code runs with 1e-6.
        norm_eps=given.get("rms_norm_eps", 1e-6 if qwen or in_huggingface_layout else 1e-5),
        longest=given.get("max_position_embeddings") or (32768 if qwen else 2048),
        tied=head is None or torch.equal(head, embedding),
    )
