"""Several GPUs: accelerate finds each family's blocks, the processes' logs agree, a sharded run is a plain one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import FullyShardedDataParallelPlugin
from safetensors.torch import load_file
from tests.lerobot_plugin import tiny_policies
from tests.lerobot_plugin.families import finetune, load, make
from tests.lerobot_plugin.test_memory_options import batch
from tests.lerobot_plugin.tiny_policies import LABELS

from inspire_vla.lerobot_plugin import losses
from inspire_vla.lerobot_plugin.convert import KINDS
from inspire_vla.lerobot_plugin.losses import LossLog
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.option_groups import FlowConfig, VQConfig
from inspire_vla.recipes import FSDP

BLOCKS = {
    "minivla": {"Qwen2DecoderLayer", "Block", "Projector"},
    "openvla": {"LlamaDecoderLayer", "Block", "Projector"},
    "pi0fast": {"GemmaDecoderLayer", "SiglipEncoderLayer"},
    "image_text": {"LlamaDecoderLayer", "Idefics3VisionAttention"},
    "smolvla": {"LlamaDecoderLayer", "SmolVLMEncoderLayer", "SmolVLAExpertLayer"},
    "pi05": {"GemmaDecoderLayer", "SiglipEncoderLayer", "Pi05ExpertLayer"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_accelerate_finds_the_blocks_of_each_family(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    policy = load(make(kind, tmp_path_factory))
    plugin = FullyShardedDataParallelPlugin(auto_wrap_policy="transformer_based_wrap")
    plugin.set_auto_wrap_policy(policy)  # raises where a class is not in the model
    found = plugin.auto_wrap_policy.keywords["transformer_layer_cls"]
    assert {block.__name__ for block in found} == BLOCKS[kind]
    inside = {id(p) for m in policy.modules() if type(m) in found for p in m.parameters()}
    layers = [m for m in policy.modules() if type(m).__name__.endswith("DecoderLayer")]
    assert len(layers) == 2
    assert all(id(p) in inside for layer in layers for p in layer.parameters())


def test_the_shipped_configuration_is_one_that_accelerate_and_lerobot_take() -> None:
    config = load_config_from_file(str(FSDP))
    assert config.distributed_type == "FSDP"
    assert config.fsdp_config["fsdp_version"] == 1  # LeRobot 0.6.1 gathers its checkpoints by version 1
    assert config.fsdp_config["fsdp_use_orig_params"] is True  # else no frozen vision
    assert "fsdp_transformer_layer_cls_to_wrap" not in config.fsdp_config  # the policy is asked


def test_every_process_logs_the_same_names() -> None:
    """LeRobot adds up the processes' logs by position: a word that one batch lacks would shift all that follow."""
    named = "answer_accuracy/{}".format
    alone = LossLog("direction", ["left", "right"], 2)
    assert alone.complete({named("left"): 1.0}) == {named("left"): 1.0}
    with patch.object(losses, "several_processes", lambda: True):
        one, other = LossLog("direction", ["left", "right"], 2), LossLog("direction", ["left", "right"], 2)
        first = one.complete({"action_loss": 2.0, named("object_0"): 0.5, named("left"): 0.5})
        second = other.complete({"unlabelled_rows": 4.0})  # a batch without a label tells of nothing else
        assert list(first) == list(second)
        assert list(first)[-4:] == [named(name) for name in ("object_0", "object_1", "left", "right")]
        assert first[named("right")] != first[named("right")]  # NaN: not asked yet
        later = one.complete({named("right"): 1.0})
        assert (later["action_loss"], later[named("left")], later[named("right")]) == (2.0, 0.5, 1.0)


@pytest.mark.parametrize("flow", [FlowConfig(), FlowConfig(insulate=True)], ids=["shared", "insulated"])
@pytest.mark.parametrize("kind", [
    "nano", pytest.param("smolvla", marks=pytest.mark.e2e), pytest.param("pi05", marks=pytest.mark.e2e),
])  # fmt: skip
@pytest.mark.parametrize("unanswered", ["unlabelled", "dropped"])
def test_a_batch_without_an_answer_has_gradients_of_the_same_parameters(
    kind: str,
    flow: FlowConfig,
    unanswered: str,
    labelled_dataset: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """FSDP shards each block's gradient over all processes, and hangs where one has none."""
    if kind == "nano":
        policy = tiny_policies.make(labelled_dataset, {"action_head": "flow", "flow": flow, "vq": VQConfig()})
        given = tiny_policies.labelled(2)
    else:
        policy = load(make(kind, tmp_path_factory), flow=flow)
        given = batch(policy)
    with_answers = reached(policy, given).keys()
    if unanswered == "dropped":
        policy.config.reasoning.dropout = 1.0
    else:
        given = given | {LABELS: torch.full_like(given[LABELS], -1)}
    found = reached(policy, given)
    assert found.keys() == with_answers
    if unanswered == "unlabelled":
        assert not any(gradient.any() for gradient in found.values())


def reached(policy: InspireVLAPolicy, given: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The gradients of a training step, by parameter."""
    policy.train().zero_grad()
    policy.forward(given)[0].backward()
    return {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.e2e
@pytest.mark.parametrize(("kind", "reasoning"), [("openvla", False), ("pi0fast", True), ("smolvla", True)])
def test_two_processes_that_share_a_model_train_it_as_one_does(
    kind: str, reasoning: bool, tmp_path_factory: pytest.TempPathFactory, labelled_dataset: Path
) -> None:
    """Twice two rows are the four rows of one process, in the same order; gloo on CPUs stands for GPUs."""
    base, out = make(kind, tmp_path_factory), tmp_path_factory.mktemp("runs")
    options = (
        "--seed=0", "--save_freq=2", "--policy.optimizer_lr=0.001", "--policy.warmup_steps=0",
        f"--policy.reasoning.enabled={str(reasoning).lower()}",
    )  # fmt: skip
    worker = Path(__file__).with_name("fsdp_worker.py")
    launch = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(FSDP), "--num_processes", "2",
        "--main_process_port", "0", str(worker), f"--dataset.root={labelled_dataset}", "--dataset.repo_id=local/tiny",
        f"--output_dir={out / 'sharded'}", "--num_workers=0", f"--policy.path={base}", "--policy.push_to_hub=false",
        "--policy.device=cpu", "--batch_size=2", "--steps=2", "--wandb.enable=false", *options,
    ]  # fmt: skip
    done = subprocess.run(launch, capture_output=True, text=True, timeout=900, env=dict(os.environ))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    sharded = load_file(out / "sharded" / "checkpoints" / "last" / "pretrained_model" / "model.safetensors")
    before = load_file(base / "model.safetensors")
    assert sharded.keys() == before.keys()
    assert any(not torch.equal(sharded[name], before[name]) for name in before)
    if reasoning:  # rows say more or less, so that the mean of two means is another one
        return
    one = finetune(base, labelled_dataset, out / "one", *options, "--batch_size=4")
    for name, expected in load_file(one / "model.safetensors").items():
        torch.testing.assert_close(sharded[name], expected, rtol=1e-3, atol=1e-4)
