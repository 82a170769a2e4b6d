"""π0-FAST."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lerobot.configs import NormalizationMode

from inspire_vla.action_tokenizers import Fast
from inspire_vla.backbones import paligemma
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.backbone_choice import hosted_tokenizer
from inspire_vla.lerobot_plugin.convert.plan import Options, Plan, base_config
from inspire_vla.lerobot_plugin.convert.published import lerobot_statistics, read_published, settings_of


def pi0fast(path: Path, options: Options, scratch: Path) -> Plan:
    source = read_published(path)
    sizes = paligemma.read_config(
        source.tensors, prompt=options.prompt, head_size=options.head_size, vision_heads=options.heads
    )
    given = options.cameras, options.action_dim, options.state_dim, options.chunk_size
    settings = (
        source.settings
        if all(given)
        else settings_of(source, "cameras, action_dim, state_dim and chunk_size, unless you give all four")
    )
    if options.fast is None:
        raise InspireError("π0-FAST acts by FAST: give the folder of its processor's files (fast).")
    if not (options.tokenizer or (source.folder / "tokenizer.json").is_file()):
        raise InspireError(
            "π0-FAST's weights come without PaliGemma's tokenizer: give its folder (tokenizer)."
        )
    tokenizer = hosted_tokenizer(options.tokenizer or source.folder)
    tokenizer.save_pretrained(scratch / "text")
    statistics, modes = lerobot_statistics(source.folder)
    notes = (
        []
        if statistics
        else ["No statistics in the source: fine-tune it before it acts, or its units are wrong."]
    )

    features = settings.get("input_features") or {}
    named = tuple(
        key.removeprefix("observation.images.")
        for key, feature in features.items()
        if feature.get("type") == "VISUAL" and "empty_camera" not in key
    )
    cameras = options.cameras or named or ("image",)
    action_dim = options.action_dim or _length(settings.get("output_features"), "action") or 7
    state_dim = options.state_dim or _length(features, "observation.state") or 8
    horizon = options.chunk_size or int(settings.get("chunk_size", 50))
    actions = Fast.load_published(options.fast, horizon=horizon, action_dim=action_dim)
    config = base_config("pi0fast", options, cameras, action_dim, actions, state_dim=state_dim)
    config.paligemma = sizes
    for feature in ("STATE", "ACTION"):
        mode = modes.get(feature) or (settings.get("normalization_mapping") or {}).get(feature)
        if mode:
            config.normalization_mapping[feature] = NormalizationMode(mode)
    config.reasoning.question_position = "after"
    return Plan(config, actions, scratch / "text", paligemma.map_weights(source.tensors), statistics, notes)


def _length(features: Mapping[str, Any] | None, key: str) -> int | None:
    feature = (features or {}).get(key)
    return int(feature["shape"][0]) if feature else None
