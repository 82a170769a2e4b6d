"""Action codes that the language model learns beside a flow expert (`flow.action_codes_weight`)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.lerobot_plugin import tiny_policies
from tests.lerobot_plugin.families import finetune, make
from tests.lerobot_plugin.test_flow import SEEN, TASK, run
from tests.lerobot_plugin.test_resuming import losses

from inspire_vla import policies
from inspire_vla.action_tokenizers import Fast
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.option_groups import FlowConfig, ReasoningConfig, VQConfig
from inspire_vla.lerobot_plugin.training import train

NOISE, TIME = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0)), torch.tensor([0.2, 0.8])
BASE = ReasoningConfig(enabled=False)
SMALL = {"vq": VQConfig(codes_per_level=8), "action_tokenizer": "residual_vq"}


def flow_policy(
    dataset: Path, weight: float, *, insulate: bool = False, **reasoning: Any
) -> InspireVLAPolicy:
    """A tiny nano with a flow expert. One with codes has the weights of the one without, and rows for the codes."""
    codes = SMALL if weight else {"vq": VQConfig()}
    flow = FlowConfig(action_codes_weight=weight, insulate=insulate)
    policy = tiny_policies.make(dataset, {"action_head": "flow", "flow": flow, **codes}, **reasoning)
    if weight:
        plain = flow_policy(dataset, 0.0, **reasoning).state_dict()
        for name, own in policy.state_dict().items():
            if own.ndim:  # not the count of steps
                own[: len(plain[name])] = plain[name]
    return policy


def training_batch(policy: InspireVLAPolicy) -> dict[str, Any]:
    batch = tiny_policies.labelled(2)
    batch["task"] = [TASK, "open the top drawer of the cabinet"]  # rows of other lengths: padding
    batch[tiny_policies.LABELS][1, 1] = -1
    return batch | policy.tokenizer(batch)


def test_the_flow_loss_is_that_without_codes(labelled_dataset: Path) -> None:
    logs = []
    for weight in (0.0, 0.5):
        policy = flow_policy(labelled_dataset, weight)
        loss, log = policy.forward(training_batch(policy), noise=NOISE, time=TIME)
        extra = weight * log.get("action_codes_loss", 0.0)
        assert loss.item() == pytest.approx(log["flow_loss"] + log["answer_loss"] + extra, rel=1e-5)
        logs.append(log)
    assert logs[1].keys() - logs[0].keys() == {"action_codes_loss", "action_codes_accuracy"}
    assert logs[1]["flow_loss"] == pytest.approx(logs[0]["flow_loss"], rel=1e-5)


def test_the_loss_of_the_codes_is_that_of_the_head_tokens(labelled_dataset: Path) -> None:
    coded, tokens = flow_policy(labelled_dataset, 1.0), tiny_policies.make(labelled_dataset)
    tokens.backbone.load_state_dict(coded.backbone.state_dict())
    batch = training_batch(coded)
    assert torch.equal(batch["token_ids"], training_batch(tokens)["token_ids"])
    found = coded.forward(batch, noise=NOISE, time=TIME)[1]
    expected = tokens.forward(training_batch(tokens))[1]
    assert found["action_codes_loss"] == pytest.approx(expected["action_loss"], rel=1e-5)
    assert found["action_codes_accuracy"] == expected["action_accuracy"]
    assert found["answer_loss"] == pytest.approx(expected["answer_loss"], rel=1e-5)


def test_a_decision_is_that_without_codes_to_the_bit(labelled_dataset: Path) -> None:
    decisions = []
    for weight in (0.0, 1.0):
        policy = flow_policy(labelled_dataset, weight)
        batch = {k: v for k, v in tiny_policies.example(2).items() if k != "action"}
        decisions.append(policy.act(batch | policy.tokenizer(batch)))
    for plain, coded in zip(*decisions, strict=True):
        np.testing.assert_array_equal(plain.actions, coded.actions)
        for name in ("answers", "confidences", "token_ids", "forward_passes"):
            assert getattr(plain, name) == getattr(coded, name)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_an_insulated_base_learns_from_codes_alone(labelled_dataset: Path, weight: float) -> None:
    policy = flow_policy(labelled_dataset, weight, insulate=True, enabled=False)
    loss, log = policy.forward(training_batch(policy), noise=NOISE, time=TIME)
    loss.backward()
    of_backbone = [p.grad for p in policy.backbone.parameters() if p.grad is not None]
    assert bool(of_backbone) == bool(weight)
    assert all(p.grad is not None for p in policy.expert.parameters())
    assert ("action_codes_loss" in log) == bool(weight)


@pytest.fixture(scope="module")
def coded_run(labelled_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    with losses() as logged:
        out = run(
            labelled_dataset, tmp_path_factory.mktemp("codes") / "run", "--policy.flow.action_codes_weight=0.5",
            "--policy.flow.insulate=true",
        )  # fmt: skip
    return out, logged


def test_a_training_is_resumed_saved_and_loaded(coded_run: tuple[Path, list[dict]], tmp_path: Path) -> None:
    out, unbroken = coded_run
    assert all(log["action_codes_loss"] > 0 for log in unbroken)
    saved = out / "checkpoints" / "000003" / "pretrained_model" / "train_config.json"
    with losses() as resumed:
        train([f"--config_path={saved}", "--resume=true", f"--output_dir={out}"])
    assert resumed == unbroken[3:]
    agent = load_policy(out)
    agent.save_pretrained(tmp_path)
    again = load_policy(tmp_path)
    np.testing.assert_array_equal(again.act([SEEN], TASK)[0].actions, agent.act([SEEN], TASK)[0].actions)
    assert again.config.action_tokenizer == "fast"
    ours, theirs = (a.policy.tokenizer.action_tokenizer for a in (agent, again))
    chunk = np.random.default_rng(0).uniform(-1, 1, (4, 7))
    assert isinstance(theirs, Fast)
    np.testing.assert_array_equal(ours.encode(chunk), theirs.encode(chunk))
    assert policies.describe(tmp_path)["action_tokenizer"] is None  # of what it acts by
    config = again.config
    config.action_tokenizer, config.flow.action_codes_weight = None, 0.0
    with pytest.raises(
        InspireError, match=r"weight 0.5, the configuration 0.0: both must be 0, or both above"
    ):
        InspireVLAPolicy.from_pretrained(tmp_path, config=config)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("smolvla", ("--peft.r=4", "--policy.reasoning.enabled=false")),
        ("pi05", ("--policy.action_tokenizer=residual_vq", "--policy.vq.codes_per_level=8")),
    ],
)
def test_a_converted_checkpoint_learns_codes(
    kind: str, more: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory, labelled_dataset: Path
) -> None:
    base = make(kind, tmp_path_factory)
    with losses() as logged:
        checkpoint = finetune(
            base, labelled_dataset, tmp_path_factory.mktemp("codes") / "run", "--policy.optimizer_lr=0.01",
            "--policy.warmup_steps=0", "--policy.flow.action_codes_weight=1", "--policy.flow.insulate=true", *more,
        )  # fmt: skip
    assert all(log["action_codes_loss"] > 0 for log in logged)
    before, after = load_policy(base).policy, load_policy(checkpoint).policy
    vocabulary, text = after.tokenizer.action_vocabulary, after.backbone.text_tokenizer
    assert after.tokenizer.action_tokenizer.name == ("fast" if kind == "smolvla" else "residual_vq")
    if kind == "pi05":  # as π0-FAST
        assert vocabulary.first_id == after.backbone.vocabulary_size - 1 - 128
    else:
        vocabulary.check_disjoint(text.all_special_ids)
        # A base policy whose expert is insulated has nothing but the codes to learn its head from.
        assert not torch.equal(before.backbone.head.weight, after.backbone.head.weight)
    assert not torch.equal(
        before.backbone.decoder.layers[-1].mlp.down_proj.weight,
        after.backbone.decoder.layers[-1].mlp.down_proj.weight,
    )
    (decision,) = load_policy(checkpoint).act([SEEN], [TASK])
    assert np.isfinite(decision.actions).all()
    assert len(decision.mentions) == len(decision.answers) == (2 if kind == "pi05" else 0)


def test_what_makes_no_sense_is_refused() -> None:
    with_codes = FlowConfig(action_codes_weight=1.0)
    assert InspireVLAConfig(action_head="flow", flow=with_codes).action_tokenizer == "fast"
    assert InspireVLAConfig(action_head="flow", flow=with_codes, **SMALL).action_tokenizer == "residual_vq"
    for options, found in (
        ({"flow": with_codes}, "are those of --policy.action_head=flow"),
        (
            {"flow": with_codes, "backbone": "smolvla", "train_expert_only": True, "reasoning": BASE},
            "no action codes",
        ),
        ({"flow": with_codes, "backbone": "pi05", "action_tokenizer": "fasts"}, "Did you mean 'fast'"),
        ({"backbone": "pi05", "action_tokenizer": "fast"}, "flow.action_codes_weight=1"),
    ):
        with pytest.raises(InspireError, match=found):
            InspireVLAConfig(**options)
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InspireError, match=r"flow\.action_codes_weight"):
            FlowConfig(action_codes_weight=weight)
