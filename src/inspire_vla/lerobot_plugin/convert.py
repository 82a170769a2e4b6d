"""Published weights → a checkpoint of ours, which `--policy.path` trains on and `load_policy` loads.

Every tensor is accounted for: matched, left out on purpose (parts that are never run), missing or unexpected. The last
two are an error unless they are allowed.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature
from torch import Tensor

from inspire_vla.action_tokenizers import ActionTokenizer, Fast, UniformBins
from inspire_vla.backbones import paligemma, prismatic
from inspire_vla.backbones.weight_map import Mapped
from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.lerobot_plugin.backbone_choice import hosted_tokenizer
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig, ReasoningConfig
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.processor_inspire_vla import make_inspire_vla_pre_post_processors
from inspire_vla.lerobot_plugin.published import (
    Statistics,
    lerobot_statistics,
    prismatic_statistics,
    read_learned_vq,
    read_published,
)

EXTRA_TOKENS = 256  # MiniVLA's `<|extra_i|>`, which Qwen's own tokenizer lacks
PICTURE = 256  # pixels a side that the configuration names; pictures of any size are resized


@dataclass(frozen=True)
class Options:
    """What a checkpoint does not say itself.

    Attributes:
        tokenizer: folder of the language model's tokenizer, where the weights come without it.
        vq: folder of MiniVLA's pretrain_vq, for models that act by it.
        fast: folder of the FAST processor's files, for π0-FAST.
        statistics: the dataset whose units are wanted, where there are several ("unnorm_key").
        gripper: see `prismatic_statistics`.
        cameras: names of the pictures, `observation.images.<name>`; None: those of the checkpoint, or "image".
        action_dim, chunk_size, state_dim: None: the checkpoint's.
        prompt: for π0-FAST, "openpi" or "lerobot"; see `PaliGemmaConfig`.
        dtype: of the written weights.
        heads: attention heads of the towers (and their head size in `head_size`), for models of unusual size.
        action_tokens: for image-text models, "added" or "reserved".
    """

    tokenizer: str | None = None
    vq: str | None = None
    fast: str | None = None
    statistics: str | None = None
    gripper: str = "as_trained"
    cameras: tuple[str, ...] | None = None
    action_dim: int | None = None
    chunk_size: int | None = None
    state_dim: int | None = None
    prompt: str = "openpi"
    dtype: str = "float32"
    heads: int = 16
    head_size: int = 256
    action_tokens: str = "added"


@dataclass(frozen=True)
class Report:
    """What became of every tensor. `matched` counts, the others name."""

    kind: str
    out: str
    matched: int
    dropped: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.missing and not self.unexpected

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.matched} tensors matched, {len(self.dropped)} left out (never run)."]
        for what in ("missing", "unexpected"):
            names = getattr(self, what)
            if names:
                lines.append(f"{what}: {len(names)}, e.g. {', '.join(names[:5])}")
        return "\n".join([*lines, *self.notes])


@dataclass
class _Plan:
    """What a kind makes of its source, before there is a policy."""

    config: InspireVLAConfig
    action_tokenizer: ActionTokenizer
    text_folder: Path
    mapped: Mapped
    statistics: Statistics
    notes: list[str]


def convert(
    kind: str,
    path: str | Path,
    out: str | Path,
    *,
    allow_partial: bool = False,
    options: Options | None = None,
) -> Report:
    """Write the checkpoint `out` from published weights.

    Args:
        kind: "openvla", "minivla", "pi0fast" or "image_text".
        path: folder or file of the published weights.
        allow_partial: write it although tensors are missing or unexpected; what is missing is random.

    Raises:
        InspireError: an unknown kind, weights of another one, missing statistics or tokenizer, unmatched tensors, or
            an `out` that exists.
    """
    if kind not in _KINDS:
        raise InspireError(f"Unknown kind of checkpoint {kind!r}.{did_you_mean(kind, _KINDS)}")
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise InspireError(f"{out} exists and is not empty.")
    with tempfile.TemporaryDirectory() as scratch:
        plan = _KINDS[kind](Path(path), options or Options(), Path(scratch))
        policy = InspireVLAPolicy(
            plan.config, action_tokenizer=plan.action_tokenizer, text_tokenizer_folder=plan.text_folder
        )
        report = _fill(policy, kind, out, plan, allow_partial)
        _write(policy, out, plan, report, str(Path(path).name))
    return report


def _fill(policy: InspireVLAPolicy, kind: str, out: Path, plan: _Plan, allow_partial: bool) -> Report:
    wanted = policy.backbone.state_dict()
    found = dict(plan.mapped.state)
    misfits = [
        name for name, tensor in found.items() if name in wanted and tensor.shape != wanted[name].shape
    ]
    for name in misfits:
        del found[name]
    shapes = [f"{name} {tuple(plan.mapped.state[name].shape)}" for name in misfits]
    unexpected = [*plan.mapped.unknown, *(name for name in found if name not in wanted), *shapes]
    report = Report(
        kind=kind,
        out=str(out),
        matched=sum(name in wanted for name in found),
        dropped=plan.mapped.dropped,
        missing=tuple(_missing(wanted, found)),
        unexpected=tuple(unexpected),
        notes=tuple(plan.notes),
    )
    if not report.complete and not allow_partial:
        raise InspireError(f"The weights do not fit.\n{report}\n(allow_partial writes them all the same.)")
    policy.backbone.load_state_dict(found, strict=False)
    return report


def _missing(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Names that got nothing; of tensors that share their memory one is enough."""
    filled = {wanted[name].data_ptr() for name in found if name in wanted}
    return [name for name, tensor in wanted.items() if name not in found and tensor.data_ptr() not in filled]


def _write(policy: InspireVLAPolicy, out: Path, plan: _Plan, report: Report, source: str) -> None:
    policy.save_pretrained(out)
    before, after = make_inspire_vla_pre_post_processors(
        plan.config,
        {k: {s: torch.from_numpy(v) for s, v in stats.items()} for k, stats in plan.statistics.items()},
    )
    before.save_pretrained(out)
    after.save_pretrained(out)
    (out / "conversion.json").write_text(
        json.dumps(asdict(report) | {"source": source}, indent=1) + "\n", encoding="utf-8"
    )
    (out / "README.md").write_text(_card(plan, report, source), encoding="utf-8")


def _card(plan: _Plan, report: Report, source: str) -> str:
    config = plan.config
    return f"""---
library_name: lerobot
pipeline_tag: robotics
tags: [robotics, lerobot, inspire_vla]
---

# inspire_vla checkpoint, converted from `{source}` ({report.kind})

Backbone `{config.backbone}`, actions by `{plan.action_tokenizer.name}` ({plan.action_tokenizer.horizon} ×
{plan.action_tokenizer.action_dim}), pictures {", ".join(config.image_features)}, robot state
{"read" if config.use_state else "not read"}. {report.matched} tensors of the source, unchanged but for their dtype
({config.dtype}). Its licence is that of the source.

Base model. `lerobot-train --policy.path=… --policy.reasoning.enabled=true` on a labelled dataset makes it say where
things are before it acts.
"""


def _openvla(path: Path, options: Options, scratch: Path) -> _Plan:
    return _prismatic("openvla", path, options, scratch)


def _minivla(path: Path, options: Options, scratch: Path) -> _Plan:
    return _prismatic("minivla", path, options, scratch)


def _prismatic(kind: str, path: Path, options: Options, scratch: Path) -> _Plan:
    source = read_published(path)
    text_config = source.settings.get("text_config", {}) if source.layout == "huggingface" else None
    sizes = prismatic.read_config(source.tensors, tower_heads=options.heads, text_config=text_config)
    family = {"openvla": "llama", "minivla": "qwen2"}[kind]
    if sizes.language.family != family:
        other = {"llama": "openvla", "qwen2": "minivla"}[sizes.language.family]
        raise InspireError(
            f"{path} holds a {sizes.language.family} model: convert it as {other!r}, not {kind!r}."
        )
    run = source.settings.get("vla", {})
    acts_by = str(run.get("action_tokenizer", "action_tokenizer"))
    notes = []

    tokenizer = hosted_tokenizer(options.tokenizer or source.folder)
    if kind == "minivla":
        tokenizer, extra = _with_extra_tokens(tokenizer, f"{run.get('base_vlm', '')} {acts_by}")
        end = len(tokenizer) if extra and "extra" in acts_by else tokenizer.vocab_size
    elif source.layout == "huggingface":
        end = sizes.language.vocabulary_size - int(source.settings.get("pad_to_multiple_of", 64))
    else:
        end = tokenizer.vocab_size
    tokenizer.save_pretrained(scratch / "text")

    statistics = prismatic_statistics(source, options.statistics, gripper=options.gripper)
    action_dim = options.action_dim or len(statistics["action"]["q01"])
    actions: ActionTokenizer
    if options.vq is not None:
        actions = read_learned_vq(options.vq)
    elif "vq" in acts_by:
        raise InspireError(f"The model acts by {acts_by!r}: give the folder of its VQ weights as well (vq).")
    else:
        actions = UniformBins(horizon=options.chunk_size or 1, action_dim=action_dim)
    if actions.action_dim != action_dim:
        raise InspireError(
            f"The action tokenizer speaks of {actions.action_dim} numbers, the statistics of {action_dim}."
        )

    wrist, pictures = bool(run.get("use_wrist_image")), int(run.get("image_sequence_len", 1))
    cameras = options.cameras or (("image", "image2") if wrist else ("image",))
    if pictures % len(cameras):
        raise InspireError(
            f"The model looks at {pictures} picture(s), which {len(cameras)} cameras cannot share."
        )
    notes.append(
        f"Gripper {'as trained (0 closed, 1 open)' if options.gripper == 'as_trained' else '-1 open, +1 closed'}."
    )
    config = _config(kind, options, cameras, action_dim, actions, state_dim=0)
    config.prismatic = replace(sizes, action_ids_end=int(end))
    config.image_history = pictures // len(cameras)
    mapped = prismatic.map_weights(source.tensors, config.prismatic)
    return _Plan(config, actions, scratch / "text", mapped, statistics, notes)


def _with_extra_tokens(tokenizer: Any, told: str) -> tuple[Any, bool]:
    """Qwen's tokenizer with MiniVLA's extra tokens, where the run's settings speak of them."""
    if "extra" not in told:
        return tokenizer, False
    tokenizer.add_tokens([f"<|extra_{i}|>" for i in range(EXTRA_TOKENS)])
    return tokenizer, True


def _pi0fast(path: Path, options: Options, scratch: Path) -> _Plan:
    source = read_published(path)
    sizes = paligemma.read_config(
        source.tensors, prompt=options.prompt, head_size=options.head_size, vision_heads=options.heads
    )
    settings = source.settings
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
    config = _config("pi0fast", options, cameras, action_dim, actions, state_dim=state_dim)
    config.paligemma = sizes
    for feature in ("STATE", "ACTION"):
        mode = modes.get(feature) or (settings.get("normalization_mapping") or {}).get(feature)
        if mode:
            config.normalization_mapping[feature] = NormalizationMode(mode)
    config.reasoning.asked = "after"
    return _Plan(config, actions, scratch / "text", paligemma.map_weights(source.tensors), statistics, notes)


def _length(features: Mapping[str, Any] | None, key: str) -> int | None:
    feature = (features or {}).get(key)
    return int(feature["shape"][0]) if feature else None


def _image_text(path: Path, options: Options, scratch: Path) -> _Plan:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    actions = UniformBins(horizon=options.chunk_size or 1, action_dim=options.action_dim or 7)
    try:
        processor = AutoProcessor.from_pretrained(options.tokenizer or path)
        model = AutoModelForImageTextToText.from_pretrained(
            path, use_safetensors=True, dtype=getattr(torch, options.dtype)
        )
    except (OSError, ValueError, KeyError) as error:
        raise InspireError(f"{path} is no image-text-to-text model: {str(error).splitlines()[0]}") from None
    if options.action_tokens == "added":
        model.resize_token_embeddings(len(processor.tokenizer) + actions.vocabulary_size)
    folder = scratch / "text"
    processor.save_pretrained(folder)
    model.config.save_pretrained(folder)
    config = _config(
        "image_text", options, options.cameras or ("image",), actions.action_dim, actions, state_dim=0
    )
    config.image_text.action_tokens = options.action_tokens
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    note = "No action was ever learned: fine-tune it."
    return _Plan(config, actions, folder, Mapped(state, (), ()), {}, [note])


def _config(
    kind: str,
    options: Options,
    cameras: Sequence[str],
    action_dim: int,
    actions: ActionTokenizer,
    *,
    state_dim: int,
) -> InspireVLAConfig:
    inputs = {
        f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, PICTURE, PICTURE))
        for name in cameras
    }
    if state_dim:
        inputs["observation.state"] = PolicyFeature(FeatureType.STATE, (state_dim,))
    return InspireVLAConfig(
        backbone=kind,
        action_tokenizer=actions.name,
        reasoning=ReasoningConfig(enabled=False),
        chunk_size=actions.horizon,
        n_action_steps=actions.horizon,
        use_state=state_dim > 0,
        dtype=options.dtype,
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (action_dim,))},
        normalization_mapping={
            "VISUAL": NormalizationMode.IDENTITY,
            "STATE": NormalizationMode.QUANTILES,
            "ACTION": NormalizationMode.QUANTILES,
        },
        optimizer_lr=2e-5,
        optimizer_weight_decay=0.0,
    )


_KINDS: dict[str, Callable[[Path, Options, Path], _Plan]] = {
    "openvla": _openvla,
    "minivla": _minivla,
    "pi0fast": _pi0fast,
    "image_text": _image_text,
}
KINDS = tuple(_KINDS)
