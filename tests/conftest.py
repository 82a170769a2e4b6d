"""Before anything is imported: no network, software rendering without a screen, few threads. Fixtures of many rooms."""

import json
import os
import shutil
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


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """The output folder of a training that was saved whole at step 3; its policy is the shipped nano_inspire."""
    from safetensors.numpy import save_file

    from inspire_vla.lerobot_plugin.checkpoints import SHIPPED

    step = tmp_path / "training" / "checkpoints" / "000003"
    shutil.copytree(SHIPPED / "nano_inspire", step / "pretrained_model")
    config = {"dataset": {"root": str(tmp_path / "d")}, "policy": {"type": "inspire_vla"}}
    (step / "pretrained_model" / "train_config.json").write_text(json.dumps(config), encoding="utf-8")
    state = step / "training_state"
    state.mkdir()
    for name, data in (
        ("training_step", {"step": 3}),
        ("optimizer_param_groups", []),
        ("scheduler_state", {}),
    ):
        (state / f"{name}.json").write_text(json.dumps(data), encoding="utf-8")
    for name in ("optimizer_state", "rng_state"):
        save_file({}, state / f"{name}.safetensors")
    (step.parent / "last").symlink_to(step.name)
    return tmp_path / "training"
