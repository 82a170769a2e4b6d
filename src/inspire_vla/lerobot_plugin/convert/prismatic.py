"""OpenVLA and MiniVLA."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from inspire_vla.action_tokenizers import GRIPPER_CONVENTIONS, ActionTokenizer, UniformBins
from inspire_vla.backbones import prismatic
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.backbone_choice import hosted_tokenizer
from inspire_vla.lerobot_plugin.convert.plan import Options, Plan, base_config
from inspire_vla.lerobot_plugin.convert.published import (
    prismatic_statistics,
    read_learned_vq,
    read_published,
    settings_of,
)

EXTRA_TOKENS = 256  # MiniVLA's `<|extra_i|>`, which Qwen's own tokenizer lacks


def openvla(path: Path, options: Options, scratch: Path) -> Plan:
    return _prismatic("openvla", path, options, scratch)


def minivla(path: Path, options: Options, scratch: Path) -> Plan:
    return _prismatic("minivla", path, options, scratch)


def _prismatic(kind: str, path: Path, options: Options, scratch: Path) -> Plan:
    source = read_published(path)
    settings = settings_of(source, "how the model acts and how many images it looks at")
    text_config = (settings.get("text_config") or {}) if source.layout == "huggingface" else None
    sizes = prismatic.read_config(source.tensors, tower_heads=options.heads, text_config=text_config)
    family = {"openvla": "llama", "minivla": "qwen2"}[kind]
    if sizes.language.family != family:
        other = {"llama": "openvla", "qwen2": "minivla"}[sizes.language.family]
        raise InspireError(
            f"{path} holds a {sizes.language.family} model: convert it as {other!r}, not {kind!r}."
        )
    run = settings.get("vla") or {}
    acts_by = str(run.get("action_tokenizer", "action_tokenizer"))
    notes = []

    tokenizer = hosted_tokenizer(options.tokenizer or source.folder)
    if kind == "minivla":
        tokenizer, extra = _with_extra_tokens(tokenizer, f"{run.get('base_vlm', '')} {acts_by}")
        end = len(tokenizer) if extra and "extra" in acts_by else tokenizer.vocab_size
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
    elif "vq" in acts_by:
        raise InspireError(f"The model acts by {acts_by!r}: give the folder of its VQ weights as well (vq).")
    else:
        actions = UniformBins(horizon=options.chunk_size or 1, action_dim=action_dim, gripper=gripper)
    if actions.action_dim != action_dim:
        raise InspireError(
            f"The action tokenizer speaks of {actions.action_dim} numbers, the statistics of {action_dim}."
        )

    wrist, images = bool(run.get("use_wrist_image")), int(run.get("image_sequence_len", 1))
    cameras = options.cameras or (("image", "image2") if wrist else ("image",))
    if images % len(cameras):
        raise InspireError(
            f"The model looks at {images} image(s), which {len(cameras)} cameras {list(cameras)} cannot share; "
            f"possible numbers of cameras: {[n for n in range(1, images + 1) if images % n == 0]}."
        )
    notes.append(
        f"Gripper {'as trained (0 closed, 1 open)' if options.gripper == 'as_trained' else '-1 open, +1 closed'}."
    )
    config = base_config(kind, options, cameras, action_dim, actions, state_dim=0)
    config.prismatic = replace(sizes, action_ids_end=int(end))
    config.n_obs_steps = images // len(cameras)
    mapped = prismatic.map_weights(source.tensors, config.prismatic)
    return Plan(config, actions, scratch / "text", mapped, statistics, notes)


def _with_extra_tokens(tokenizer: Any, told: str) -> tuple[Any, bool]:
    """Qwen's tokenizer with MiniVLA's extra tokens, where the run's settings speak of them."""
    if "extra" not in told:
        return tokenizer, False
    tokenizer.add_tokens([f"<|extra_{i}|>" for i in range(EXTRA_TOKENS)])
    return tokenizer, True
