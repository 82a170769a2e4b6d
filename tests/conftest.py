"""Before anything is imported: no network, software rendering without a screen, few threads. Fixtures of many rooms."""

import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder as training writes it, with a configuration and without usable weights."""
    folder = tmp_path / "mine" / "checkpoints" / "last" / "pretrained_model"
    folder.mkdir(parents=True)
    config = {
        "type": "inspire_vla",
        "backbone": "nano",
        "reasoning": {"enabled": True, "mode": "direction"},
        "input_features": {
            "observation.images.image": {"type": "VISUAL", "shape": [3, 96, 96]},
            "observation.state": {"type": "STATE", "shape": [8]},
        },
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    step = {"registry_name": "inspire_vla_tokenizer", "config": {"training_suites": None}}
    (folder / "policy_preprocessor.json").write_text(json.dumps({"steps": [step]}), encoding="utf-8")
    return tmp_path / "mine"
