"""Before anything is imported: no network, software rendering without a screen, few threads, a cache that is removed.

Fixtures of many rooms.
"""

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The `datasets` library keeps a copy of each dataset that is opened.
if "HF_DATASETS_CACHE" not in os.environ:
    os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="inspire_vla_tests_")
    atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A training's output folder, with the shipped nano_inspire as its last checkpoint."""
    from inspire_vla.lerobot_plugin.checkpoints import SHIPPED

    folder = tmp_path / "mine" / "checkpoints" / "last" / "pretrained_model"
    shutil.copytree(SHIPPED / "nano_inspire", folder)
    return tmp_path / "mine"


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """The output folder of a training that was saved whole at step 3; its policy is the shipped nano_inspire."""
    from safetensors.numpy import save_file

    from inspire_vla.lerobot_plugin.checkpoints import SHIPPED

    (tmp_path / "d").mkdir()  # its dataset
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
