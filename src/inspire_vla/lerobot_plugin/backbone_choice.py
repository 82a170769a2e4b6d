"""Configuration → backbone, with the action codes placed in its vocabulary."""

from pathlib import Path
from typing import Any

import torch

from inspire_vla.action_tokenizers import ActionTokenizer, ActionVocabulary
from inspire_vla.backbones.base import Backbone
from inspire_vla.backbones.hf_decoder import HFBackbone, cuda_graphs
from inspire_vla.backbones.image_text import ImageText
from inspire_vla.backbones.nano import Nano
from inspire_vla.backbones.paligemma import SKIPPED_IDS, PaliGemma
from inspire_vla.backbones.prismatic import Prismatic
from inspire_vla.backbones.text_tokenizer import FOLDER as SHIPPED
from inspire_vla.backbones.text_tokenizer import load_text_tokenizer
from inspire_vla.errors import InspireError
from inspire_vla.grounding.pretraining import load_weights
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig

SHIPPED_STARTS = Path(__file__).parents[1] / "checkpoints"


def make_backbone(
    config: InspireVLAConfig, action_tokenizer: ActionTokenizer, text_tokenizer_folder: Path | None = None
) -> tuple[Backbone, ActionVocabulary]:
    """The configured backbone with fresh weights, and where the action codes stand among its token ids.

    Args:
        text_tokenizer_folder: the checkpoint's own text tokenizer, so that words the package learns later do not
            move the action codes of a checkpoint that exists.

    Raises:
        InspireError: a published model's backbone without the tokenizer of its checkpoint.
    """
    if config.backbone == "nano":
        return _nano(config, action_tokenizer, text_tokenizer_folder)
    if text_tokenizer_folder is None:
        raise InspireError(
            f"The backbone {config.backbone!r} starts from published weights. Convert them once with "
            f"`inspire convert --from {config.backbone} PATH --to OUT`, and train with --policy.path=OUT."
        )
    with _default_dtype(getattr(torch, config.weights_dtype or config.dtype)):
        backbone, vocabulary = _hosted(config, action_tokenizer, text_tokenizer_folder)
    if vocabulary.id_range[1] > backbone.vocabulary_size:
        raise InspireError(
            f"{vocabulary.size} action codes end at token id {vocabulary.id_range[1]}, but the model knows only "
            f"{backbone.vocabulary_size}."
        )
    if config.static_cache != "off":
        compiler = cuda_graphs if config.static_cache == "cuda_graphs" else None
        backbone.use_static_cache(config.static_cache_length, compiler)
    if config.freeze_vision:
        backbone.freeze_vision()
    if config.gradient_checkpointing:
        backbone.gradient_checkpointing_enable()
    return backbone, vocabulary


def _nano(
    config: InspireVLAConfig, action_tokenizer: ActionTokenizer, folder: Path | None
) -> tuple[Nano, ActionVocabulary]:
    tokenizer = load_text_tokenizer(folder or SHIPPED)
    vocabulary = ActionVocabulary.appended(len(tokenizer), action_tokenizer.vocabulary_size)
    features = list(config.image_features.values())
    state = config.robot_state_feature
    backbone = Nano(
        config.nano,
        text_tokenizer=tokenizer,
        vocabulary_size=vocabulary.id_range[1],
        cameras=len(features) * config.n_obs_steps,
        image_size=config.seen_size,
        state_dim=state.shape[0] if state else 0,
    )
    if (
        config.pretrained_init and folder is None
    ):  # a checkpoint, which has a tokenizer of its own, brings all weights
        start_from(backbone, config.pretrained_init)
    if config.freeze_vision:
        backbone.freeze_vision()
    if config.gradient_checkpointing:
        backbone.gradient_checkpointing_enable()
    return backbone, vocabulary


def start_from(backbone: Nano, pretrained: str | Path) -> None:
    """Give a fresh nano the eyes and words of a grounding pre-training; the robot's state and action codes stay fresh.

    Args:
        pretrained: a folder, or the name of one that the package ships.

    Raises InspireError where the two differ in size.
    """
    folder = Path(pretrained)
    if not folder.is_dir() and (SHIPPED_STARTS / folder).is_dir():
        folder = SHIPPED_STARTS / folder
    size, weights = load_weights(folder)
    own = backbone.state_dict()
    for name, value in weights.items():
        rows = value.shape[0] if name in ("decoder.embed_tokens.weight", "head.weight") else None
        target = own.get(name)
        if (
            target is None
            or target.shape[1:] != value.shape[1:]
            or (rows is None and target.shape != value.shape)
        ):
            raise InspireError(
                f"{pretrained} was pre-trained as {size} and does not fit: {name} is {tuple(value.shape)} there, "
                f"{None if target is None else tuple(target.shape)} here. It starts policies with as many "
                "cameras and as large images as it was pre-trained on; others start from nothing: `inspire train "
                "--recipe nano_own`, or --policy.pretrained_init=null --policy.freeze_vision=false."
            )
        target[:rows] = value  # words; action codes come behind them
    backbone.load_state_dict(own)


def _hosted(
    config: InspireVLAConfig, action_tokenizer: ActionTokenizer, folder: Path
) -> tuple[HFBackbone, ActionVocabulary]:
    num_images = len(config.image_features) * config.n_obs_steps
    codes = action_tokenizer.vocabulary_size
    if config.backbone == "image_text":
        added = config.image_text.action_tokens == "added"
        text_ids = len(hosted_tokenizer(folder))
        backbone = ImageText.from_folder(
            folder, num_images=num_images, vocabulary_size=text_ids + codes if added else None
        )
        if added:
            return backbone, ActionVocabulary.appended(text_ids, codes)
        return backbone, ActionVocabulary.last_free_ids(text_ids, codes, backbone.special_ids)
    tokenizer = hosted_tokenizer(folder)
    if config.backbone == "pi0fast":
        paligemma = PaliGemma(config.paligemma, text_tokenizer=tokenizer, num_images=num_images)
        return paligemma, ActionVocabulary.last_ids(paligemma.vocabulary_size, codes, skip=SKIPPED_IDS)
    prismatic = Prismatic(config.prismatic, text_tokenizer=tokenizer, num_images=num_images)
    return prismatic, ActionVocabulary.last_ids(config.prismatic.action_ids_end, codes)


def hosted_tokenizer(folder: str | Path) -> Any:
    """The tokenizer of transformers in a folder (or of the hub). Raises InspireError where there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise InspireError(
            f"No tokenizer can be loaded from {folder}: {str(error).splitlines()[0]}"
        ) from None


class _default_dtype:
    """Within, new parameters are of a dtype, so that a 7B model is never held in float32 first."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __enter__(self) -> None:
        self.before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)

    def __exit__(self, *error: object) -> None:
        torch.set_default_dtype(self.before)
