"""LoRA by lerobot-train's own options, with each family's default targets: trained, saved, loaded, resumed, merged."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.datasets import LeRobotDatasetMetadata
from lerobot.policies import make_policy
from safetensors.torch import load_file
from tests.lerobot_plugin.families import TASK, finetune, make

from inspire_vla import policies
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.checkpoints import tokenizer_settings
from inspire_vla.lerobot_plugin.convert import KINDS, convert
from inspire_vla.lerobot_plugin.training import train

SEEN = {
    "pixels": {"image": np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)},
    "agent_pos": np.zeros(8),
}


@pytest.fixture(scope="module", params=KINDS)
def adapted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, labelled_dataset: Path
) -> tuple[str, Path, Path]:
    """A family, its base, and a LoRA trained on it at a rate at which one sees a difference."""
    base = make(request.param, tmp_path_factory)
    out = tmp_path_factory.mktemp("lora") / "run"
    return request.param, base, finetune(
        base, labelled_dataset, out, "--peft.r=4", "--save_freq=1", "--policy.optimizer_lr=0.05",
        "--policy.warmup_steps=0",
    )  # fmt: skip


def test_adapters_stand_on_language_model_and_towers_and_nothing_else_is_saved(adapted) -> None:
    kind, _, lora = adapted
    assert not (lora / "model.safetensors").exists()
    log = (lora.parents[2] / "train.log").read_text(encoding="utf-8")
    assert re.search(r"; LoRA of rank 4 is trained beside 0\.\d million parameters on cpu\.", log)
    names = load_file(lora / "adapter_model.safetensors").keys()
    for place in {
        "minivla": ("decoder.layers.1.mlp.up_proj", "towers.dino.blocks.0.attn.qkv", "projector.fc3"),
        "openvla": ("decoder.layers.0.self_attn.q_proj", "towers.siglip.blocks.1.mlp.fc2", "projector.fc1"),
        "pi0fast": ("decoder.layers.1.self_attn.v_proj", "tower.encoder.layers.0.self_attn.out_proj"),
        "smolvla": (
            "decoder.layers.1.mlp.up_proj",
            "expert.readers.1.k_proj",
            "expert.action_time_mlp_in",
            "state_proj",
        ),
        "pi05": ("decoder.layers.1.self_attn.v_proj", "expert.layers.0.q_proj", "expert.time_mlp_in"),
        "image_text": ("text_model.layers.0.mlp.gate_proj", "vision_model.encoder.layers.0.self_attn.q_proj"),
    }[kind]:
        assert any(f"{place}.lora_A" in name for name in names), place
    whole = [name for name in names if "lora_" not in name]
    assert bool(whole) == (
        kind in ("image_text", "smolvla")
    )  # whose vocabulary has grown; what answers are read from


def test_the_merged_policy_is_the_trained_one(adapted, labelled_dataset: Path) -> None:
    kind, base, lora = adapted
    agent = load_policy(lora)
    assert agent.reasoning_enabled
    assert not agent.config.use_peft
    known = (
        kind == "image_text"
    )  # a model of no robot; published robot policies don't say what they have seen
    assert tokenizer_settings(base)["training_suites"] == ([] if known else None)
    assert agent.policy.tokenizer.parts.training_suites == ({"noise": None} if known else None)
    config = PreTrainedConfig.from_pretrained(lora)
    config.pretrained_path = lora
    meta = LeRobotDatasetMetadata("local/tiny", root=labelled_dataset)
    wrapped = make_policy(config, ds_meta=meta).eval()  # LeRobot's own way, the adapter beside the weights
    images = torch.rand(1, agent.policy.backbone.num_images, 3, 28, 28)
    ids = torch.tensor([[5, 6, 7, 8]])
    untouched = load_policy(base).policy.eval()
    scores = []
    with torch.inference_mode():
        for policy in (agent.policy.eval(), wrapped, untouched):
            model = policy.backbone
            elements = torch.cat([model.encode_observation(images, None), model.embed(ids)], 1)
            scores.append(model.logits(model.extend(elements)))
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-4, atol=1e-4)
    assert (scores[0] - scores[2]).abs().max() > 1e-2  # and it has learned something
    (decision,) = agent.act([SEEN], [TASK])
    assert len(decision.mentions) == 2
    assert np.isfinite(decision.actions).all()


def test_a_merged_checkpoint_is_one_like_any_other(adapted, tmp_path: Path) -> None:
    _, _, lora = adapted
    report = convert("lora", lora, tmp_path / "merged")
    assert report.complete
    whole = load_policy(tmp_path / "merged")
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    one, two = load_policy(lora).act([SEEN], [TASK]), whole.act([SEEN], [TASK])
    assert one[0].token_ids == two[0].token_ids
    np.testing.assert_allclose(one[0].actions, two[0].actions, atol=1e-6)


def test_a_resumed_lora_is_that_of_an_unbroken_run(adapted) -> None:
    kind, _, lora = adapted
    if kind != "pi0fast":
        pytest.skip("one family stands for all: nothing here depends on it")
    whole = load_file(lora / "adapter_model.safetensors")
    last = lora.parent.parent / "last"
    last.unlink()
    last.symlink_to("000001")
    train([f"--config_path={lora / 'train_config.json'}", "--resume=true"], frames_in_memory=False)
    first = load_file(last.parent / "000001" / "pretrained_model" / "adapter_model.safetensors")
    resumed = load_file(last.parent / "000002" / "pretrained_model" / "adapter_model.safetensors")
    assert last.resolve().name == "000002"
    assert resumed.keys() == whole.keys()
    for name, expected in whole.items():
        torch.testing.assert_close(resumed[name], expected, rtol=0, atol=0)
    assert any(not torch.equal(resumed[name], first[name]) for name in whole)


def test_another_action_tokenizer_comes_along(
    tmp_path_factory: pytest.TempPathFactory, labelled_dataset: Path
) -> None:
    """PEFT saves the adapter alone; what the LoRA has learned to speak must not be lost with it."""
    base = make("openvla", tmp_path_factory)
    lora = finetune(
        base, labelled_dataset, tmp_path_factory.mktemp("lora") / "run", "--peft.r=4", "--steps=1",
        "--policy.action_tokenizer=residual_vq", "--policy.vq.codes_per_level=8", "--policy.chunk_size=3",
        "--policy.n_action_steps=3",
    )  # fmt: skip
    (decision,) = load_policy(lora).act([SEEN], [TASK])
    assert decision.actions.shape == (3, 7)
    assert policies.describe(lora)["action_tokenizer"] == "residual_vq"  # `inspire evaluate` takes it, too


def test_a_base_that_went_elsewhere_is_named(adapted, tmp_path: Path) -> None:
    _, _, lora = adapted
    for file in lora.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    said = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(
        json.dumps(said | {"base_model_name_or_path": "/no/such/place"})
    )
    with pytest.raises(InspireError, match=r"trained on '/no/such/place'"):
        load_policy(tmp_path)
