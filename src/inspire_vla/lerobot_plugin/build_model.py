"""A configuration → the modules of a policy with fresh weights: backbone, action codes and flow expert.

configuration + text tokenizer + action tokenizer ──▶ make_backbone ──▶ make_expert
"""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from inspire_vla.action_tokenizers import ActionTokenizer, ActionVocabulary
from inspire_vla.backbones.base import Backbone
from inspire_vla.backbones.chat_template import save_chat
from inspire_vla.backbones.flow import FlowExpert
from inspire_vla.backbones.hf_decoder import cuda_graphs, special_ids
from inspire_vla.backbones.image_text import ImageText
from inspire_vla.backbones.nano import Nano
from inspire_vla.backbones.nano_flow import NanoFlow
from inspire_vla.backbones.paligemma import SKIPPED_IDS, PaliGemma
from inspire_vla.backbones.pi05 import Pi05, Pi05Expert
from inspire_vla.backbones.prismatic import Prismatic
from inspire_vla.backbones.smolvla import SmolVLA
from inspire_vla.backbones.smolvla_flow import SmolVLAExpert
from inspire_vla.backbones.text_tokenizer import FOLDER as NANO_TEXT_TOKENIZER
from inspire_vla.errors import InspireError, reason_of
from inspire_vla.grounding.pretraining import load_weights
from inspire_vla.lerobot_plugin.checkpoint_files import CONFIG, tensor_shapes
from inspire_vla.lerobot_plugin.checkpoints import SHIPPED
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.text_files import Files, load_text_tokenizer, pack, unpacked
from inspire_vla.lerobot_plugin.tokenizer import TokenizerParts


def make_expert(config: InspireVLAConfig, backbone: Backbone) -> FlowExpert:
    """The flow expert of the configured backbone, with fresh weights.

    Raises InspireError for actions of more numbers than it takes.
    """
    expert: FlowExpert
    horizon, action_dim = config.chunk_size, config.action_feature.shape[0]
    if isinstance(backbone, SmolVLA):
        expert = SmolVLAExpert(config.smolvla, horizon=horizon)
    elif isinstance(backbone, Pi05):
        expert = Pi05Expert(config.gemma_expert, config.paligemma.language, horizon=horizon)
    else:
        assert isinstance(backbone, Nano)
        expert = NanoFlow(
            config.nano_flow, decoder=backbone.decoder.config, horizon=horizon, action_dim=action_dim
        )
    if action_dim > expert.action_dim:
        raise InspireError(
            f"{config.backbone} takes actions of at most {expert.action_dim} numbers, found {action_dim}."
        )
    return expert


@contextmanager
def default_dtype(config: InspireVLAConfig) -> Iterator[None]:
    """Make weights in the configured dtype: a model of 7B parameters must never be in float32 first."""
    before = torch.get_default_dtype()
    if config.backbone != "nano":
        torch.set_default_dtype(getattr(torch, config.weights_dtype or config.dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def make_backbone(
    config: InspireVLAConfig, action_tokenizer: ActionTokenizer | None, text_files: Files | None = None
) -> tuple[Backbone, ActionVocabulary | None]:
    """The configured backbone with fresh weights, and the token ids of the action codes (None: it has none).

    Args:
        text_files: the checkpoint's own text tokenizer. Its ids stay the same when the package's vocabulary grows.

    Raises:
        InspireError: a published model's backbone without the tokenizer of its checkpoint.
    """
    if config.backbone != "nano" and text_files is None:
        raise InspireError(
            f"The backbone {config.backbone!r} starts from published weights. Convert them once with "
            f"`inspire convert --from {config.backbone} PATH --to OUT`, and train with --policy.path=OUT."
        )
    if config.backbone == "nano":
        backbone, vocabulary = _nano(config, action_tokenizer, text_files)
    else:
        with default_dtype(config):
            backbone, vocabulary = _published(config, action_tokenizer, text_files or {})
    if vocabulary is not None and vocabulary.id_range[1] > backbone.vocabulary_size:
        raise InspireError(
            f"{vocabulary.size} action codes end at token id {vocabulary.id_range[1]}, but the model has only "
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


def check_sizes(config: InspireVLAConfig) -> None:
    """Make a new policy without memory and action codes, before an action tokenizer is fitted for it.

    Raises InspireError as `make_backbone` and `make_expert` do.
    """
    with torch.device("meta"):
        backbone, _ = make_backbone(config, None)
        if not config.has_codes:
            make_expert(config, backbone)


def check_weights_fit(config: InspireVLAConfig, parts: TokenizerParts, path: Path) -> None:
    """Check the sizes of a configuration against the shapes in a file of weights, before memory is taken for them.

    Raises InspireError where a size makes no model, or another one than the weights are of.
    """
    shapes = tensor_shapes(path)
    make = _nano if config.backbone == "nano" else _published
    before = torch.get_default_dtype()
    try:
        with torch.device("meta"):
            backbone, _ = make(config, parts.action_tokenizer, parts.text_files or {})
            expert = [] if config.has_codes else list(make_expert(config, backbone).parameters())
    except InspireError:
        raise
    except Exception as error:  # whatever a model raises for sizes that do not go together
        raise InspireError(
            f"The sizes in {path.with_name(CONFIG)} make no model: {reason_of(error)}."
        ) from None
    finally:
        torch.set_default_dtype(before)
    for name, parameter in backbone.state_dict().items():
        in_file = shapes.get(f"backbone.{name}")
        if in_file is not None and in_file != tuple(parameter.shape):
            raise InspireError(
                f"{path} does not fit the configuration: backbone.{name} is {in_file} there, "
                f"{tuple(parameter.shape)} by the configuration."
            )
    expected = sum(parameter.numel() for parameter in (*backbone.parameters(), *expert))
    given = sum(math.prod(shape) for shape in shapes.values())
    if expected > 2 * given:
        raise InspireError(f"{path} holds {given:,} numbers, and the configuration asks for {expected:,}.")


def _nano(
    config: InspireVLAConfig, action_tokenizer: ActionTokenizer | None, text_files: Files | None
) -> tuple[Nano, ActionVocabulary | None]:
    """A nano with fresh weights; a new one (without text_files) begins with what it is pre-trained on."""
    if text_files is None:
        tokenizer = load_text_tokenizer(NANO_TEXT_TOKENIZER)
    else:
        with unpacked(text_files) as folder:
            tokenizer = load_text_tokenizer(folder)
    vocabulary, size = None, len(tokenizer)
    if action_tokenizer is not None:
        vocabulary = ActionVocabulary.appended(size, action_tokenizer.vocabulary_size)
        size = vocabulary.id_range[1]
    state = config.robot_state_feature
    backbone = Nano(
        config.nano,
        text_tokenizer=tokenizer,
        vocabulary_size=size,
        cameras=len(config.image_features) * config.n_obs_steps,
        image_size=config.model_image_size,
        state_dim=state.shape[0] if state else 0,
    )
    if text_files is None:  # a checkpoint brings all its weights
        if config.pretrained_init:
            load_pretrained(backbone, config.pretrained_init)
        if backbone.foreign_encoder is not None:
            backbone.foreign_encoder.load_imagenet()
    return backbone, vocabulary


def load_pretrained(backbone: Nano, pretrained: str | Path) -> None:
    """Load the weights of a grounding pre-training into a fresh nano. The state and the action codes stay fresh.

    The pre-training knows single images. With several, each begins with the same position embedding of its patches;
    those behind the first differ from it by what was drawn for them, so that the decoder can tell the images apart.

    Args:
        pretrained: a folder, or the name of one that the package ships.

    Raises InspireError where the two differ in size.
    """
    folder = Path(pretrained)
    if not folder.is_dir() and (SHIPPED / folder).is_dir():
        folder = SHIPPED / folder
    size, weights = load_weights(folder)
    state = backbone.state_dict()
    for name, value in weights.items():
        rows = value.shape[0] if name in ("decoder.embed_tokens.weight", "head.weight") else None
        target = state.get(name)
        if name == "place" and target is not None and target.shape[1:] == value.shape[1:]:
            target[:1] = value
            target[1:] += value
            continue
        if (
            target is None
            or target.shape[1:] != value.shape[1:]
            or (rows is None and target.shape != value.shape)
        ):
            raise InspireError(
                f"{pretrained} was pre-trained as {size} and does not fit: {name} is {tuple(value.shape)} there, "
                f"{None if target is None else tuple(target.shape)} here. It starts policies with images as large "
                "as it was pre-trained on; others start from nothing: `inspire train --recipe nano_own`, or "
                "--policy.pretrained_init=null --policy.freeze_vision=false."
            )
        target[:rows] = value  # words; action codes come after them
    backbone.load_state_dict(state)


def _published(
    config: InspireVLAConfig, action_tokenizer: ActionTokenizer | None, text_files: Files
) -> tuple[Any, ActionVocabulary | None]:
    """A backbone whose weights others have published, and the token ids that the action codes take."""
    num_images = len(config.image_features) * config.n_obs_steps
    codes = None if action_tokenizer is None else action_tokenizer.vocabulary_size
    with unpacked(text_files) as folder:
        tokenizer = load_text_tokenizer(folder)
        if config.backbone == "smolvla":
            return _smolvla(config, codes, tokenizer, num_images)
        if config.backbone in ("pi0fast", "pi05"):
            return _paligemma(config, codes, tokenizer, num_images)
        assert codes is not None, "a backbone without a flow expert has action codes"
        if config.backbone == "image_text":
            return _image_text(config, codes, tokenizer, num_images, folder)
    prismatic = Prismatic(config.prismatic, text_tokenizer=tokenizer, num_images=num_images)
    return prismatic, ActionVocabulary.last_ids(config.prismatic.action_ids_end, codes)


def _smolvla(
    config: InspireVLAConfig, codes: int | None, tokenizer: Any, num_images: int
) -> tuple[SmolVLA, ActionVocabulary | None]:
    """Raises InspireError for a state of more numbers than the model takes."""
    state, widest = config.robot_state_feature, config.smolvla.expert.state_dim
    if state is not None and state.shape[0] > widest:
        raise InspireError(f"smolvla takes states of at most {widest} numbers, found {state.shape[0]}.")
    smolvla = SmolVLA(config.smolvla, text_tokenizer=tokenizer, num_images=num_images)
    if codes is None:
        return smolvla, None
    taken = special_ids(tokenizer).union(*smolvla.around)
    return smolvla, ActionVocabulary.last_free_ids(len(tokenizer), codes, taken)


def _paligemma(
    config: InspireVLAConfig, codes: int | None, tokenizer: Any, num_images: int
) -> tuple[PaliGemma, ActionVocabulary | None]:
    kind = Pi05 if config.backbone == "pi05" else PaliGemma
    paligemma = kind(config.paligemma, text_tokenizer=tokenizer, num_images=num_images)
    if codes is None:
        return paligemma, None
    return paligemma, ActionVocabulary.last_ids(paligemma.vocabulary_size, codes, skip=SKIPPED_IDS)


def _image_text(
    config: InspireVLAConfig, codes: int, tokenizer: Any, num_images: int, folder: Path
) -> tuple[ImageText, ActionVocabulary]:
    """folder: of the processor and the model's configuration."""
    model = ImageText.from_folder(
        folder,
        num_images=num_images,
        vocabulary_size=len(tokenizer) + codes if config.has_own_action_tokens else None,
        state=config.robot_state_feature is not None,
    )
    if config.has_own_action_tokens:
        return model, ActionVocabulary.appended(len(tokenizer), codes)
    return model, ActionVocabulary.last_free_ids(len(tokenizer), codes, model.special_ids)


def with_chat(text_files: Files, backbone: ImageText) -> Files:
    """The files of an image-text model with its dialogue template, which depends on the number of images."""
    with tempfile.TemporaryDirectory() as folder:
        save_chat(backbone.chat, Path(folder))
        return {**text_files, **pack(folder)}
