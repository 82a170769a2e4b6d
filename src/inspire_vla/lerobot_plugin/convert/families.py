"""How each family's published weights become a policy of ours: one function a family, from a folder to a `Plan`."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError

from inspire_vla.action_tokenizers import GRIPPER_CONVENTIONS, ActionTokenizer, Fast, ResidualVQ, UniformBins
from inspire_vla.backbones import paligemma, prismatic_weights
from inspire_vla.backbones.image_text import ImageTextConfig
from inspire_vla.backbones.published_weights import RenamedWeights
from inspire_vla.errors import InspireError, counted, reason_of
from inspire_vla.lerobot_plugin.convert.plan import Options, Plan, Robot, base_config, normalization
from inspire_vla.lerobot_plugin.convert.published import (
    prismatic_statistics,
    read_learned_vq,
    read_published,
    settings_of,
)
from inspire_vla.lerobot_plugin.option_groups import VQConfig
from inspire_vla.lerobot_plugin.text_files import load_text_tokenizer

IMAGE_TEXT_CHUNK = 8
"""Actions that an image-text model decodes at once, unless told otherwise."""
IMAGE_TEXT_VQ = VQConfig(levels=2, codes_per_level=256)
"""Two codes for a chunk, so two forward passes; bins would take one for each number of it."""
EXTRA_TOKENS = 256  # MiniVLA's `<|extra_i|>`, which Qwen's own tokenizer lacks


def prismatic_vla(kind: str, path: Path, options: Options, scratch: Path) -> Plan:
    """Plan a policy from the folder `path` of OpenVLA or MiniVLA. Its text tokenizer is saved under `scratch`.

    Args:
        kind: "openvla" or "minivla".

    Raises:
        InspireError: a robot state is asked for, the weights are of another model, or options contradict them.
    """
    if options.state_dim:
        raise InspireError(f"{kind} takes no robot state; leave out --state-dim {options.state_dim}.")
    source = read_published(path)
    settings = settings_of(source, "how the model acts and how many images it looks at")
    text_config = (settings.get("text_config") or {}) if source.layout == "huggingface" else None
    sizes = prismatic_weights.read_config(
        source.tensors, tower_heads=options.vision_heads, text_heads=options.heads, text_config=text_config
    )
    family = {"openvla": "llama", "minivla": "qwen2"}[kind]
    if sizes.language.family != family:
        other = {"llama": "openvla", "qwen2": "minivla"}[sizes.language.family]
        raise InspireError(
            f"{path} holds a {sizes.language.family} model: convert it as {other!r}, not {kind!r}."
        )
    run = settings.get("vla") or {}
    acts_by = str(run.get("action_tokenizer", "action_tokenizer"))

    tokenizer = load_text_tokenizer(options.tokenizer or source.folder)
    if kind == "minivla":
        if "extra" in f"{run.get('base_vlm', '')} {acts_by}":
            tokenizer.add_tokens([f"<|extra_{i}|>" for i in range(EXTRA_TOKENS)])
        end = len(tokenizer) if "extra" in acts_by else tokenizer.vocab_size
    elif source.layout == "huggingface":
        end = sizes.language.vocabulary_size - int(settings.get("pad_to_multiple_of", 64))
    else:
        end = tokenizer.vocab_size
    tokenizer.save_pretrained(scratch / "text")

    statistics = prismatic_statistics(source, options.statistics)
    action_dim = options.action_dim or len(statistics["action"]["q01"])
    actions: ActionTokenizer
    gripper = GRIPPER_CONVENTIONS[options.gripper]
    if options.vq is not None:
        actions = read_learned_vq(options.vq, gripper)
        if options.chunk_size not in (None, actions.horizon):
            raise InspireError(
                f"The VQ weights decode {counted(actions.horizon, 'action')} at once; leave out --chunk-size "
                f"{options.chunk_size}."
            )
    elif "vq" in acts_by:
        raise InspireError(
            f"The model acts by {acts_by!r}: give the folder of its VQ weights as well (--vq)."
        )
    else:
        actions = UniformBins(horizon=options.chunk_size or 1, action_dim=action_dim, gripper=gripper)
    if actions.action_dim != action_dim:
        raise InspireError(
            f"The action tokenizer speaks of {counted(actions.action_dim, 'number')}, the statistics of {action_dim}."
        )

    wrist, images = bool(run.get("use_wrist_image")), int(run.get("image_sequence_len", 1))
    cameras = options.cameras or (("image", "image2") if wrist else ("image",))
    if images % len(cameras):
        raise InspireError(
            f"The model looks at {counted(images, 'image')}, which {counted(len(cameras), 'camera')} "
            f"{list(cameras)} cannot share; "
            f"possible numbers of cameras: {[n for n in range(1, images + 1) if images % n == 0]}."
        )
    meant = "as trained (0 closed, 1 open)" if options.gripper == "as_trained" else "-1 open, +1 closed"
    config = base_config(kind, options, Robot(cameras, action_dim, 0, actions.horizon), actions)
    config.prismatic = replace(sizes, action_ids_end=int(end))
    config.n_obs_steps = images // len(cameras)
    mapped = prismatic_weights.map_weights(source.tensors, config.prismatic)
    return Plan(config, actions, scratch / "text", mapped, statistics, [f"Gripper {meant}."])


def pi0fast(path: Path, options: Options, scratch: Path) -> Plan:
    """Plan a policy from the folder `path` of LeRobot's π0-FAST. Its text tokenizer is saved under `scratch`.

    Raises InspireError without FAST's files (`options.fast`) or PaliGemma's tokenizer, and for weights of another
    model.
    """
    source = read_published(path)
    sizes = paligemma.read_config(
        source.tensors, prompt=options.prompt, head_size=options.head_size, vision_heads=options.vision_heads
    )
    given = options.cameras, options.action_dim, options.state_dim, options.chunk_size
    settings = (
        source.settings
        if all(given)
        else settings_of(source, "cameras, action_dim, state_dim and chunk_size, unless you give all four")
    )
    if options.fast is None:
        raise InspireError("π0-FAST acts by FAST: give the folder of its processor's files (--fast).")
    if not (options.tokenizer or (source.folder / "tokenizer.json").is_file()):
        raise InspireError(
            "π0-FAST's weights come without PaliGemma's tokenizer: give its folder (--tokenizer)."
        )
    tokenizer = load_text_tokenizer(options.tokenizer or source.folder)
    tokenizer.save_pretrained(scratch / "text")
    robot = Robot.of(settings, options)
    actions = Fast.load_published(options.fast, horizon=robot.chunk_size, action_dim=robot.action_dim)
    config = base_config("pi0fast", options, robot, actions)
    config.paligemma = sizes
    statistics, notes = normalization(source, settings, config)
    config.reasoning.question_position = "after"
    return Plan(config, actions, scratch / "text", paligemma.map_weights(source.tensors), statistics, notes)


def image_text(path: Path, options: Options, scratch: Path) -> Plan:
    """Plan a policy on an image-text-to-text model of transformers, from the folder `path`. It has learned no action.

    The model's processor and configuration are saved under `scratch`. Raises InspireError if `path` holds no such
    model.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    horizon, action_dim = options.chunk_size or IMAGE_TEXT_CHUNK, options.action_dim or 7
    actions: ActionTokenizer
    if options.action_tokenizer == "residual_vq":
        actions = ResidualVQ.unfitted(
            horizon=horizon,
            action_dim=action_dim,
            levels=IMAGE_TEXT_VQ.levels,
            codes_per_level=IMAGE_TEXT_VQ.codes_per_level,
        )
    else:
        actions = UniformBins(horizon=horizon, action_dim=action_dim)
    try:
        processor = AutoProcessor.from_pretrained(options.tokenizer or path, trust_remote_code=False)
        model = AutoModelForImageTextToText.from_pretrained(
            path, use_safetensors=True, dtype=getattr(torch, options.dtype), trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        found = (
            f"found {sorted(child.name for child in path.iterdir())[:10]}" if path.is_dir() else "no folder"
        )
        raise InspireError(f"{path} is no image-text-to-text model: {reason_of(error)} ({found}).") from None
    if options.action_tokens == "added":
        model.resize_token_embeddings(len(processor.tokenizer) + actions.vocabulary_size)
    folder = scratch / "text"
    processor.save_pretrained(folder)
    model.config.save_pretrained(folder)
    robot = Robot(options.cameras or ("image",), action_dim, options.state_dim or 0, horizon)
    config = base_config("image_text", options, robot, actions)
    config.vq = IMAGE_TEXT_VQ
    config.image_text = ImageTextConfig(options.action_tokens)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    notes = [
        "No action was ever learned: fine-tune it.",
        f"The prompt holds the robot's state, {counted(options.state_dim, 'number')}."
        if options.state_dim
        else "The robot's state is not used; --state-dim N writes its N numbers into the prompt.",
    ]
    return Plan(config, actions, folder, RenamedWeights(state, (), ()), {}, notes, training_suites={})
