"""Published weights → a checkpoint of ours, which `--policy.path` trains on and `load_policy` loads.

Every tensor is accounted for: matched, left out on purpose (parts that are never run), missing or unexpected. The last
two are an error unless they are allowed.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inspire_vla.backbones.flow import FlowExpert
from inspire_vla.errors import InspireError, counted, did_you_mean
from inspire_vla.files import write_json, write_text
from inspire_vla.lerobot_plugin.agent import Agent, load_policy
from inspire_vla.lerobot_plugin.checkpoints import find, is_adapter
from inspire_vla.lerobot_plugin.convert.families import image_text, pi0fast, prismatic_vla
from inspire_vla.lerobot_plugin.convert.flow_families import pi05, smolvla
from inspire_vla.lerobot_plugin.convert.plan import Options, Plan, Report
from inspire_vla.lerobot_plugin.convert.published import TOKENIZER_FILES, check_kind, locate
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.processor_inspire_vla import make_inspire_vla_pre_post_processors
from inspire_vla.lerobot_plugin.text_files import pack
from inspire_vla.lerobot_plugin.tokenizer import TokenizerParts
from inspire_vla.lerobot_plugin.tokenizer_files import without_code_names

__all__ = ["KINDS", "LORA", "USED_BY", "Options", "Report", "convert"]

_KINDS: dict[str, Callable[[Path, Options, Path], Plan]] = {
    "openvla": partial(prismatic_vla, "openvla"),
    "minivla": partial(prismatic_vla, "minivla"),
    "pi0fast": pi0fast,
    "image_text": image_text,
    "smolvla": smolvla,
    "pi05": pi05,
}
KINDS = tuple(_KINDS)
EXPERT = "expert."
"""Begins the names of the flow expert's weights, in a plan and in a checkpoint."""
LORA = "lora"
"""Not published weights, but a LoRA of a training of ours, to be merged into its base."""
DEVICE = "cuda"
"""In the config.json of what is converted, whichever machine converts it, as in LeRobot's published ones. Where there
is no such device, LeRobot takes another and says so."""
_EVERY = {"allow_partial", "tokenizer", "cameras", "action_dim", "chunk_size", "dtype"}
_PRISMATIC = {*_EVERY, "statistics", "gripper", "vq", "heads", "vision_heads"}
USED_BY: dict[str, set[str]] = {
    "openvla": _PRISMATIC,
    "minivla": _PRISMATIC,
    "pi0fast": {*_EVERY, "state_dim", "fast", "prompt", "head_size", "vision_heads"},
    "image_text": {*_EVERY, "state_dim", "action_tokens", "action_tokenizer"},
    "smolvla": {*_EVERY, "state_dim"},
    "pi05": {*_EVERY, "state_dim", "head_size", "vision_heads"},
    LORA: set(),
}
"""Kind → the options that it uses, `allow_partial` among them. The others would have no effect."""


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
        kind: one of `KINDS`, or "lora" for a checkpoint that LoRA wrote.
        path: folder or file of the published weights, or user/name on the hub.
        allow_partial: write it although tensors are missing or unexpected; what is missing is random.

    Raises:
        InspireError: an unknown kind, weights of another one, missing statistics or tokenizer, unmatched tensors, or
            an `out` that exists.
    """
    if kind not in (*_KINDS, LORA):
        raise InspireError(f"Unknown kind of checkpoint {kind!r}.{did_you_mean(kind, (*_KINDS, LORA))}")
    out = Path(out)
    if out.is_file() or (out.exists() and any(out.iterdir())):
        raise InspireError(f"{out} exists and is {'a file' if out.is_file() else 'not empty'}.")
    if kind == LORA:
        return _merge(Path(path), out)
    source, options = locate(path), _located(options or Options())
    check_kind(source, kind)
    with tempfile.TemporaryDirectory() as scratch:
        plan = _KINDS[kind](source, options, Path(scratch))
        plan.notes.append(_passes(plan))
        parts = TokenizerParts(
            plan.action_tokenizer,
            without_code_names(pack(plan.text_folder)),
            training_suites=plan.training_suites,
        )
        policy = InspireVLAPolicy(plan.config, parts=parts)
        report = _fill(policy, kind, out, plan, allow_partial)
        _write(policy, out, plan, report, str(Path(path).name))
    return report


def _located(options: Options) -> Options:
    """The options with folders in place of names of the hub."""
    located: dict[str, Any] = {}
    for name, patterns in (("tokenizer", TOKENIZER_FILES), ("vq", None), ("fast", TOKENIZER_FILES)):
        given = getattr(options, name)
        if given is not None:
            located[name] = str(locate(given, patterns))
    return replace(options, **located)


def _passes(plan: Plan) -> str:
    """What a chunk costs when the policy acts."""
    tokenizer, config = plan.action_tokenizer, plan.config
    if tokenizer is None:
        steps = config.flow.denoising_steps or FlowExpert.denoising_steps
        return (
            f"A chunk of {config.chunk_size} × {counted(config.action_feature.shape[0], 'number')} takes one "
            "forward pass of the "
            f"language model and {steps} of the expert."
        )
    passes = tokenizer.max_codes
    varies = "at most " if tokenizer.name == "fast" else ""
    return (
        f"A chunk of {tokenizer.horizon} × {counted(tokenizer.action_dim, 'number')} takes {varies}{passes} forward "
        f"pass{'es' if passes > 1 else ''} of the model ({tokenizer.name})."
    )


def _merge(path: Path, out: Path) -> Report:
    """Write `out` from a checkpoint that LoRA wrote. Raises InspireError where it is none."""
    folder = find(path)
    if not is_adapter(folder):
        raise InspireError(f"{path} holds no LoRA: there is no adapter_config.json.")
    agent = load_policy(folder, keep_weights_dtype=True)
    _save(agent, out)
    return Report(
        "lora", str(out), len(agent.policy.state_dict()), (), (), (), ("Weights of base and LoRA, merged.",)
    )


def _fill(policy: InspireVLAPolicy, kind: str, out: Path, plan: Plan, allow_partial: bool) -> Report:
    """Load the mapped weights into a policy. Raises InspireError where they do not fit."""
    expected = policy.backbone.state_dict()
    if policy.expert is not None:
        expected |= {f"{EXPERT}{name}": tensor for name, tensor in policy.expert.state_dict().items()}
    weights = dict(plan.mapped.state)
    misfits = [
        name for name, tensor in weights.items() if name in expected and tensor.shape != expected[name].shape
    ]
    for name in misfits:
        del weights[name]
    shapes = [f"{name} {tuple(plan.mapped.state[name].shape)}" for name in misfits]
    unexpected = [*plan.mapped.unknown, *(name for name in weights if name not in expected), *shapes]
    report = Report(
        kind=kind,
        out=str(out),
        matched=sum(name in expected for name in weights),
        dropped=plan.mapped.dropped,
        missing=tuple(_missing(expected, weights)),
        unexpected=tuple(unexpected),
        notes=tuple(plan.notes),
    )
    if not report.complete and not allow_partial:
        raise InspireError(f"The weights do not fit.\n{report}\n(--allow-partial writes them all the same.)")
    of_expert = {name.removeprefix(EXPERT): t for name, t in weights.items() if name.startswith(EXPERT)}
    policy.backbone.load_state_dict(
        {n: t for n, t in weights.items() if not n.startswith(EXPERT)}, strict=False
    )
    if policy.expert is not None:
        policy.expert.load_state_dict(of_expert, strict=False)
    return report


def _missing(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Names that got nothing; of tensors that share their memory one is enough."""
    filled = {expected[name].data_ptr() for name in found if name in expected}
    return [
        name for name, tensor in expected.items() if name not in found and tensor.data_ptr() not in filled
    ]


def _write(policy: InspireVLAPolicy, out: Path, plan: Plan, report: Report, source: str) -> None:
    preprocessor, postprocessor = make_inspire_vla_pre_post_processors(
        plan.config,
        {k: {s: torch.from_numpy(v) for s, v in stats.items()} for k, stats in plan.statistics.items()},
    )
    _save(Agent(policy, preprocessor, postprocessor), out)
    write_json(out / "conversion.json", asdict(report) | {"source": source})
    write_text(out / "README.md", _card(plan, report, source))


def _save(agent: Agent, out: Path) -> None:
    agent.policy.config.device = DEVICE
    agent.save_pretrained(out)


def _card(plan: Plan, report: Report, source: str) -> str:
    config = plan.config
    return f"""---
library_name: lerobot
pipeline_tag: robotics
tags: [robotics, lerobot, inspire_vla]
---

# inspire_vla checkpoint, converted from `{source}` ({report.kind})

Backbone `{config.backbone}`, actions by `{config.action_tokenizer or "flow matching"}` ({config.chunk_size} ×
{config.action_feature.shape[0]}), images {", ".join(config.image_features)}, robot state
{"read" if config.use_state else "not read"}. {report.matched} tensors of the source, unchanged but for their dtype
({config.dtype}). Its licence is that of the source.

Base model. `lerobot-train --policy.path=… --policy.reasoning.enabled=true` on a labelled dataset makes it say where
things are before it acts.
"""
