"""Published checkpoints in small, written to disk as their authors lay them out."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tests.action_tokenizers.test_learned_vq import DIM, HORIZON, checkpoint, original
from tests.backbones import lerobot_flow
from tests.backbones.originals import Original
from tests.backbones.test_paligemma import original as paligemma
from tests.backbones.test_paligemma import state as lerobot_names
from tests.backbones.texts import gemma_text, llama_text, qwen_text
from tests.backbones.vlms import idefics3, randomised

from inspire_vla.action_tokenizers import Fast
from inspire_vla.lerobot_plugin.convert import Options

STATISTICS = {
    "action": {
        "q01": [-0.5] * 6 + [0.0], "q99": [0.5] * 6 + [1.0], "mean": [0.0] * 7, "std": [1.0] * 7,
        "min": [-1.0] * 7, "max": [1.0] * 7, "mask": [True] * 6 + [False],
    }
}  # fmt: skip


def openvla(folder: Path) -> Options:
    """As `openvla/openvla-7b`: two shards of safetensors, config.json with norm_stats, the tokenizer."""
    text = llama_text()
    source = Original.random("llama", len(text) + 8)
    llama_text().save_pretrained(folder)
    state = source.huggingface()
    names = sorted(state)
    for number, part in enumerate((names[::2], names[1::2])):
        save_file(
            {n: state[n].contiguous() for n in part}, folder / f"model-{number + 1:05}-of-00002.safetensors"
        )
    config = {
        "model_type": "openvla", "norm_stats": {"bridge_orig": STATISTICS, "libero": STATISTICS},
        "pad_to_multiple_of": 8, "text_config": {"num_attention_heads": 4, "rms_norm_eps": 1e-6},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return Options(vision_heads=4, statistics="libero")


def minivla(folder: Path, *, vq: bool = True, images: int = 2, wrist: bool = False) -> Options:
    """As an openvla-mini run: config.json, dataset_statistics.json, checkpoints/*.pt; VQ and tokenizer elsewhere."""
    run, text, quantiser = folder / "run", folder / "text", folder / "vq"
    for place in (run / "checkpoints", text, quantiser / "checkpoints"):
        place.mkdir(parents=True)
    qwen_text().save_pretrained(text)
    # 14 heads of 64 are what shapes stand for at Qwen2.5-0.5B's width; here one of 32.
    source = Original.random("qwen2", len(qwen_text()) + 3, tied=True, heads=1)
    torch.save(source.checkpoint(), run / "checkpoints" / "step-000001.pt")
    settings = {
        "base_vlm": "prism-qwen25-extra-dinosiglip-224px+0_5b",
        "image_sequence_len": images, "use_wrist_image": wrist,
        "action_tokenizer": "libero_vq_extra_action_tokenizer" if vq else "extra_action_tokenizer",
    }  # fmt: skip
    (run / "config.json").write_text(json.dumps({"vla": settings}))
    (run / "dataset_statistics.json").write_text(json.dumps({"libero_90": STATISTICS}))
    weights = checkpoint(*original())
    torch.save(
        {p: {k: torch.from_numpy(np.array(v)) for k, v in d.items()} for p, d in weights.items()},
        quantiser / "checkpoints" / "model.pt",
    )
    (quantiser / "config.json").write_text(json.dumps({"input_dim_h": HORIZON, "input_dim_w": DIM}))
    return Options(heads=1, vision_heads=4, tokenizer=str(text), vq=str(quantiser) if vq else None)


def pi0fast(folder: Path) -> Options:
    """As a LeRobot pi0_fast checkpoint with its normaliser; FAST and PaliGemma's tokenizer elsewhere."""
    run, text, fast = folder / "run", folder / "text", folder / "fast"
    for place in (run, text, fast):
        place.mkdir(parents=True)
    gemma_text().save_pretrained(text)
    save_file({k: v.contiguous() for k, v in lerobot_names(paligemma()).items()}, run / "model.safetensors")
    config = {
        "type": "pi0_fast", "chunk_size": 4, "n_action_steps": 2,
        "input_features": {
            "observation.images.image": {"type": "VISUAL", "shape": [3, 28, 28]},
            "observation.state": {"type": "STATE", "shape": [8]},
        },
        "output_features": {"action": {"type": "ACTION", "shape": [7]}},
        "normalization_mapping": {"STATE": "MEAN_STD", "ACTION": "MEAN_STD"},
    }  # fmt: skip
    (run / "config.json").write_text(json.dumps(config))
    step = {
        "registry_name": "normalizer_processor", "state_file": "policy_preprocessor_step_5_normalizer.safetensors",
        "config": {"norm_map": {"STATE": "MEAN_STD", "ACTION": "MEAN_STD"}},
    }  # fmt: skip
    (run / "policy_preprocessor.json").write_text(json.dumps({"steps": [step]}))
    save_file(
        {
            "action.mean": torch.full((7,), 0.5), "action.std": torch.full((7,), 2.0),
            "observation.state.mean": torch.zeros(8), "observation.state.std": torch.ones(8),
        },
        run / step["state_file"],
    )  # fmt: skip
    chunks = np.random.default_rng(0).uniform(-1, 1, (32, 4, 7))
    fitted = Fast.fit(chunks, vocabulary_size=256)
    (fast / "tokenizer.json").write_text(fitted._bpe.to_str())
    settings = {
        "scale": fitted.scale,
        "min_token": fitted.min_token,
        "time_horizon": None,
        "action_dim": None,
    }
    (fast / "processor_config.json").write_text(json.dumps(settings))
    return Options(vision_heads=2, head_size=16, tokenizer=str(text), fast=str(fast))


def image_text(folder: Path) -> Options:
    """Any model that save_pretrained has written."""
    model = randomised(idefics3(), 0)
    model.model.save_pretrained(folder)
    model.processor.save_pretrained(folder)
    return Options(chunk_size=2, action_tokenizer="uniform_bins")


ROBOT = lerobot_flow.features(("image",), state=8, action=7) | {"chunk_size": 4, "n_action_steps": 4}


def smolvla(folder: Path) -> Options:
    """As LeRobot saves one; SmolVLM2's configuration and tokenizer elsewhere, where config.json says."""
    vlm = lerobot_flow.write_smolvlm(folder / "text")
    lerobot_flow.save(lerobot_flow.smolvla(vlm, **ROBOT), folder / "run")
    return Options()


def pi05(folder: Path) -> Options:
    """As LeRobot saves one; PaliGemma's tokenizer elsewhere."""
    lerobot_flow.bos_text().save_pretrained(folder / "text")
    lerobot_flow.save(lerobot_flow.pi05(**ROBOT), folder / "run")
    return Options(tokenizer=str(folder / "text"), head_size=8, vision_heads=2)
