"""A plan → a checkpoint folder. Every tensor is accounted for."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.convert.plan import Plan, Report
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.processor_inspire_vla import make_inspire_vla_pre_post_processors


def fill(policy: InspireVLAPolicy, kind: str, out: Path, plan: Plan, allow_partial: bool) -> Report:
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


def write(policy: InspireVLAPolicy, out: Path, plan: Plan, report: Report, source: str) -> None:
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


def _card(plan: Plan, report: Report, source: str) -> str:
    config = plan.config
    return f"""---
library_name: lerobot
pipeline_tag: robotics
tags: [robotics, lerobot, inspire_vla]
---

# inspire_vla checkpoint, converted from `{source}` ({report.kind})

Backbone `{config.backbone}`, actions by `{plan.action_tokenizer.name}` ({plan.action_tokenizer.horizon} ×
{plan.action_tokenizer.action_dim}), images {", ".join(config.image_features)}, robot state
{"read" if config.use_state else "not read"}. {report.matched} tensors of the source, unchanged but for their dtype
({config.dtype}). Its licence is that of the source.

Base model. `lerobot-train --policy.path=… --policy.reasoning.enabled=true` on a labelled dataset makes it say where
things are before it acts.
"""
