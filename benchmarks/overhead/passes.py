"""One pass through nano's decoder: the modules of transformers against `backbones/lean.py`."""

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache

from inspire_vla.backbones import lean

SHAPES = {"first pass, 54 columns": (0, 54), "one token behind 60": (60, 1), "20 tokens behind 60": (60, 20)}


def measure_passes(checkpoint: str, repeats: int) -> dict[str, Any]:
    """The best of `repeats` passes in milliseconds, in turn, and what observing an image takes."""
    from inspire_vla.lerobot_plugin.loading import load_policy

    policy = load_policy(checkpoint, device="cpu").policy
    nano, decoder = policy.backbone, policy.backbone.decoder
    found: dict[str, dict[str, float]] = {}
    with torch.inference_mode():
        for name, (past, new) in SHAPES.items():
            before, elements = torch.randn(1, past, nano.hidden_size), torch.randn(1, new, nano.hidden_size)
            positions = torch.arange(past, past + new)[None]
            mask = torch.ones(1, new, past + new, dtype=torch.bool).tril(past)
            attention_mask = None if new == 1 or past == 0 else mask
            theirs, ours = DynamicCache(config=decoder.config), lean.LeanCache()

            def transformers(
                elements=elements,
                positions=positions,
                attention_mask=attention_mask,
                theirs=theirs,
                past=past,
            ) -> None:
                given = {"full_attention": None if attention_mask is None else attention_mask[:, None]}
                options = {"position_ids": positions, "attention_mask": given, "past_key_values": theirs}
                decoder(inputs_embeds=elements, use_cache=True, **options)
                theirs.crop(past)

            def bare(
                elements=elements, positions=positions, attention_mask=attention_mask, ours=ours, past=past
            ) -> None:
                lean.extend(decoder, elements, ours, positions=positions, attention_mask=attention_mask)
                ours.crop(past)

            if past:
                decoder(inputs_embeds=before, past_key_values=theirs, use_cache=True)
                lean.extend(decoder, before, ours)
            found[name] = _best({"transformers": transformers, "lean": bare}, repeats)
        camera = next(iter(policy.config.image_features.values())).shape
        image = torch.rand(1, len(policy.config.image_features), *camera)
        state = torch.randn(1, nano.state.in_features) if nano.state is not None else None
        found["images"] = _best({"observe": lambda: nano.encode_observation(image, state)}, repeats)
    return {"title": "nano's passes", "best_of": repeats, "clock": "processor time", "best_ms": found}


def _best(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: round(1000 * min(found), 2) for name, found in times.items()}
