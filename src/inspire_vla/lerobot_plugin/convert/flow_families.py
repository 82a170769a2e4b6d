"""How LeRobot's flow-matching policies become ours: one function a family, from a folder to a `Plan`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inspire_vla.backbones import pi05 as pi05_weights
from inspire_vla.backbones import smolvla as smolvla_weights
from inspire_vla.backbones.flow import FlowExpert
from inspire_vla.errors import InspireError, reason_of
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.convert.plan import Options, Plan, Robot, base_config, normalization
from inspire_vla.lerobot_plugin.convert.published import (
    TOKENIZER_FILES,
    Published,
    locate,
    optional_json,
    read_published,
    settings_of,
)
from inspire_vla.lerobot_plugin.text_files import load_text_tokenizer

FIXED: dict[str, Any] = {
    "adapt_to_pi_aloha": False,
    "use_delta_joint_actions_aloha": False,
    "use_relative_actions": False,
    "min_period": 4e-3,
    "max_period": 4.0,
    "time_sampling_beta_alpha": 1.5,
    "time_sampling_beta_beta": 1.0,
    "time_sampling_scale": 0.999,
    "time_sampling_offset": 0.001,
}
"""Settings of LeRobot's policies that are known with this value only."""


def smolvla(path: Path, options: Options, scratch: Path) -> Plan:
    """Plan a policy from the folder `path` of LeRobot's SmolVLA. Its text tokenizer is saved under `scratch`.

    Raises InspireError for settings that are not known here, an image size that is not the encoder's, weights of
    another model, or a vision-language model that is not a SmolVLM2.
    """
    source = read_published(path)
    settings = _settings(source, "which vision-language model it has and how its expert attends")
    vlm = _vision_language_model(options.tokenizer or settings.get("vlm_model_name"))
    sizes = smolvla_weights.read_config(
        source.tensors,
        vlm,
        joint_every=_joint_every(settings),
        image_tokens=bool(settings.get("add_image_special_tokens")),
    )
    side = sizes.vision.image_size
    if tuple(settings.get("resize_imgs_with_padding") or ()) != (side, side):
        raise InspireError(
            f"The policy resizes images to {settings.get('resize_imgs_with_padding')}; known is only the size of its "
            f"image encoder, {[side, side]}."
        )
    config = _config("smolvla", settings, options)
    config.smolvla = sizes
    config.freeze_vision = bool(settings.get("freeze_vision_encoder", True))
    config.optimizer_lr, config.warmup_steps = 1e-4, 1000
    mapped = smolvla_weights.map_weights(source.tensors, sizes.expert.joint_every)
    statistics, notes = normalization(source, settings, config)
    load_text_tokenizer(vlm.name_or_path).save_pretrained(scratch / "text")
    return Plan(config, None, scratch / "text", mapped, statistics, notes)


def pi05(path: Path, options: Options, scratch: Path) -> Plan:
    """Plan a policy from the folder `path` of LeRobot's π0.5. Its text tokenizer is saved under `scratch`.

    Raises InspireError for settings that are not known here, an image size that is not the encoder's, weights of
    another model, or a folder that names no tokenizer.
    """
    source = read_published(path)
    settings = _settings(source, "its cameras, action, state and chunk")
    language, expert = pi05_weights.read_config(
        source.tensors, head_size=options.head_size, vision_heads=options.vision_heads
    )
    if tuple(settings.get("image_resolution") or ()) != (language.image_size,) * 2:
        raise InspireError(
            f"The policy resizes images to {settings.get('image_resolution')}; its image encoder takes "
            f"{[language.image_size] * 2}."
        )
    config = _config("pi05", settings, options)
    config.paligemma, config.gemma_expert = language, expert
    config.freeze_vision = bool(settings.get("freeze_vision_encoder"))
    config.optimizer_lr, config.optimizer_weight_decay, config.warmup_steps = 2.5e-5, 0.01, 1000
    statistics, notes = normalization(source, settings, config)
    text = options.tokenizer or _tokenizer_name(source.folder)
    load_text_tokenizer(locate(text, TOKENIZER_FILES)).save_pretrained(scratch / "text")
    return Plan(config, None, scratch / "text", pi05_weights.map_weights(source.tensors), statistics, notes)


def _settings(source: Published, why: str) -> dict[str, Any]:
    """The policy's config.json. Raises InspireError where a setting is one that is not known here."""
    settings = settings_of(source, why)
    for name, known in FIXED.items():
        if settings.get(name, known) != known:
            raise InspireError(f"The policy has {name} {settings[name]!r}; only {known!r} is known here.")
    return settings


def _config(kind: str, settings: Mapping[str, Any], options: Options) -> InspireVLAConfig:
    robot = Robot.of(settings, options)
    config = base_config(kind, options, robot, None)
    config.n_action_steps = min(int(settings.get("n_action_steps", robot.chunk_size)), robot.chunk_size)
    steps = int(
        settings.get("num_steps") or settings.get("num_inference_steps") or FlowExpert.denoising_steps
    )
    config.flow.denoising_steps = None if steps == FlowExpert.denoising_steps else steps
    return config


def _joint_every(settings: Mapping[str, Any]) -> int:
    """Which layers of SmolVLA's expert attend to the actions as well."""
    mode = settings.get("attention_mode", "cross_attn")
    every = int(settings.get("self_attn_every_n_layers", 2))
    if mode == "self_attn":
        return 1
    if mode != "cross_attn" or every < 1:
        raise InspireError(
            f"The policy has attention_mode {mode!r} and self_attn_every_n_layers {every}; known are 'self_attn', and "
            "'cross_attn' with a number from 1."
        )
    return every


def _vision_language_model(name: str | None) -> Any:
    """The configuration of SmolVLA's vision-language model, as transformers reads it; `name_or_path` is its folder."""
    from transformers import AutoConfig

    if not name:
        raise InspireError(
            "config.json names no vision-language model (vlm_model_name): give it, --tokenizer SMOLVLM2."
        )
    folder = locate(name, TOKENIZER_FILES)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InspireError(f"{folder} holds no configuration of a model: {reason_of(error)}.") from None
    if config.model_type not in ("smolvlm", "idefics3"):
        raise InspireError(
            f"{folder} is a {config.model_type!r}; SmolVLA's vision-language model is a SmolVLM2."
        )
    return config


def _tokenizer_name(folder: Path) -> str:
    """Where a LeRobot policy takes its tokenizer from: its own folder, or what its preprocessor names."""
    if (folder / "tokenizer.json").is_file():
        return str(folder)
    for step in optional_json(folder / "policy_preprocessor.json").get("steps", []):
        if step.get("registry_name") == "tokenizer_processor":
            return str(step.get("config", {}).get("tokenizer_name"))
    raise InspireError(f"{folder} names no tokenizer: give that of PaliGemma, --tokenizer FOLDER.")
