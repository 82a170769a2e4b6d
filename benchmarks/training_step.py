"""Cost of reasoning in a training step: InSpire against base, with the same weights and the same batch.

    python benchmarks/training_step.py runs/nano_inspire --batch-size 16 --steps 20
    python benchmarks/training_step.py out/minivla --device cuda --batch-size 16 --steps 30

Any checkpoint of ours will do, converted ones too. Published sizes without weights, with LoRA: `gpu.py`. The batch is
noise: time does not look at values. A step is the loss, its gradient and AdamW.
The two kinds alternate, so that a slow moment of the machine hits both; the ratio is the median of the pairs' ratios.
InSpire's step is then timed again in float32 and under bfloat16 autocast in turn.
On the CPU the clock is the process's own time. The aim is at most 1.10.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from inspire_vla.labels.columns import answer_column
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.tokenizer import InspireVLATokenizer

INSTRUCTIONS = ("open the top drawer of the cabinet", "pick up the red cube and place it on the blue plate")

PARTS = ("text and loss", "images", "decoder and scores", "flow expert", "backward", "optimizer")


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("policy", help="checkpoint folder")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    policy = load_policy(options.policy, device=options.device, keep_weights_dtype=True).policy
    policy.to(options.device).train()
    batch = noise(policy, options.batch_size, options.device)
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=1e-6)
    reasoning = policy.config.reasoning
    tokenizers = {
        enabled: InspireVLATokenizer(
            policy.tokenizer.parts,
            text_tokenizer=policy.backbone.text_tokenizer,
            template=policy.backbone.template,
            action_vocabulary=policy.tokenizer.action_vocabulary,
            reasoning=replace(reasoning, enabled=enabled),
            n_obs_steps=policy.config.n_obs_steps,
        )
        for enabled in (False, True)
    }

    def clock() -> float:
        if not options.device.startswith("cuda"):
            return time.process_time()  # what other processes take is not ours
        torch.cuda.synchronize()
        return time.perf_counter()

    within = {"images": 0.0, "decoder": 0.0, "expert": 0.0}
    has_expert = policy.expert is not None
    for part, owner, name in (
        ("images", policy, "encode_observation"),
        ("decoder", policy.backbone, "forward_with_key_values" if has_expert else "forward"),
        ("expert", policy, "_flow_loss"),
    ):
        setattr(owner, name, timed(getattr(owner, name), part, within, clock))
    parts: dict[bool, list[list[float]]] = {False: [], True: []}

    def seconds(enabled: bool, bfloat16: bool = False) -> float:
        policy.tokenizer = tokenizers[enabled]
        policy.config.reasoning = tokenizers[enabled].reasoning
        start = clock()
        with torch.autocast(torch.device(options.device).type, torch.bfloat16, enabled=bfloat16):
            loss = policy.forward(batch)[0]
        forward = clock()
        loss.backward()
        backward = clock()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        end = clock()
        text = forward - start - sum(within.values())
        parts[enabled].append([text, *within.values(), backward - forward, end - backward])
        return end - start

    for _ in range(2):  # warm up
        seconds(False), seconds(True)
    parts = {False: [], True: []}
    lengths = {enabled: elements(policy, tokenizers[enabled], batch) for enabled in (False, True)}
    pairs = []
    for number in range(options.steps):
        first = bool(number % 2)
        times = {first: seconds(first)}
        times[not first] = seconds(not first)
        pairs.append((times[False], times[True]))
    base, inspire = np.array(pairs).T
    medians = {enabled: (1e3 * np.median(parts[enabled], axis=0)).round(2).tolist() for enabled in parts}
    seconds(True, bfloat16=True)  # warm up
    speed_up = [seconds(True) / seconds(True, bfloat16=True) for _ in range(options.steps)]
    result = {
        "policy": options.policy,
        "backbone": policy.config.backbone,
        "elements": {"base": lengths[False], "inspire": lengths[True]},
        "device": options.device,
        "batch_size": options.batch_size,
        "pairs": options.steps,
        "base_ms": round(1e3 * float(np.median(base)), 2),
        "inspire_ms": round(1e3 * float(np.median(inspire)), 2),
        "ratio_median": round(float(np.median(inspire / base)), 3),
        "ratio_quartiles": np.percentile(inspire / base, [25, 75]).round(3).tolist(),
        "float32_by_bfloat16_median": round(float(np.median(speed_up)), 3),
        "float32_by_bfloat16_quartiles": np.percentile(speed_up, [25, 75]).round(3).tolist(),
        "parts_ms": {
            name: dict(zip(PARTS, medians[enabled], strict=True))
            for name, enabled in (("base", False), ("inspire", True))
        },
    }
    print(json.dumps(result, indent=1))
    return result


def timed(
    function: Callable[..., Any], part: str, within: dict[str, float], clock: Callable[[], float]
) -> Any:
    """`function`, which leaves in `within` how long its last call took."""

    def call(*arguments: Any, **options: Any) -> Any:
        start = clock()
        result = function(*arguments, **options)
        within[part] = clock() - start
        return result

    return call


def elements(policy: InspireVLAPolicy, tokenizer: InspireVLATokenizer, batch: dict[str, Any]) -> int:
    """How long the batch's padded sequences are, images included."""
    lengths: list[int] = []
    # The first layer, because nano's training pass calls the layers themselves (backbones/hf_decoder.py).
    hook = policy.backbone.decoder.layers[0].register_forward_pre_hook(
        lambda module, args: lengths.append(args[0].shape[1])
    )
    policy.tokenizer, policy.config.reasoning = tokenizer, tokenizer.reasoning
    with torch.no_grad():
        policy.forward(batch)
    hook.remove()
    return lengths[-1]


def noise(policy: InspireVLAPolicy, rows: int, device: str) -> dict[str, Any]:
    """A preprocessed batch of the policy's shapes; both instructions have labels for two objects."""
    generator = torch.Generator().manual_seed(0)
    config = policy.config
    features = {**config.input_features, **config.output_features}
    batch: dict[str, Any] = {
        key: torch.rand(rows, *feature.shape, generator=generator).to(device)
        for key, feature in features.items()
        if key != "action"
    }
    shape = (rows, config.chunk_size, config.action_feature.shape[0])
    batch["action"] = (torch.rand(shape, generator=generator) * 2 - 1).to(device)
    batch["task"] = [INSTRUCTIONS[row % 2] for row in range(rows)]
    batch[answer_column(config.reasoning.mode)] = torch.tensor([[0, 3, 1]] * rows, device=device)
    return batch


if __name__ == "__main__":
    main()
