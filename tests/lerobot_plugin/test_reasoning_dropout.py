"""Reasoning dropout: a sample is InSpire's or the base model's, and nothing between."""

from pathlib import Path

import pytest
import torch
from lerobot.utils.constants import ACTION
from tests.lerobot_plugin.tiny_policies import example, labelled, make
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.option_groups import ReasoningConfig
from inspire_vla.lerobot_plugin.tokenizer import ASKED_MENTIONS
from inspire_vla.lerobot_plugin.training import train

NEARLY_ALL = 1 - 1e-7


def loss(policy, rows: int = 4) -> float:
    return policy.train().forward(labelled(rows))[0].item()


def test_without_dropout_the_loss_is_inspires(labelled_dataset: Path) -> None:
    assert loss(make(labelled_dataset, dropout=0.0)) == loss(make(labelled_dataset))


def test_when_all_is_dropped_the_loss_is_the_base_models(labelled_dataset: Path) -> None:
    assert loss(make(labelled_dataset, dropout=NEARLY_ALL)) == loss(make(labelled_dataset, enabled=False))


def test_a_sample_is_inspires_or_the_base_models(labelled_dataset: Path) -> None:
    kinds = {"inspire": {}, "base": {"enabled": False}, "dropout": {"dropout": 0.5}}
    batch = labelled(64)
    rows = {}
    for name, reasoning in kinds.items():
        tokenizer = make(labelled_dataset, **reasoning).train().tokenizer
        found = tokenizer(batch)
        rows[name] = [
            (ids[: int(mask.nonzero()[-1]) + 1].tolist(), mask.nonzero().tolist())
            for ids, mask in zip(found["token_ids"], found["loss_mask"], strict=True)
        ]
    asked = [row == rows["inspire"][i] for i, row in enumerate(rows["dropout"])]
    assert all(row == rows["base"][i] for i, row in enumerate(rows["dropout"]) if not asked[i])
    assert 16 < sum(asked) < 48


def test_the_draw_follows_the_batch(labelled_dataset: Path) -> None:
    tokenizer = make(labelled_dataset, dropout=0.5).train().tokenizer
    batch = labelled(16)
    first, again = (tokenizer(batch)["loss_mask"] for _ in range(2))
    assert torch.equal(first, again)
    other = tokenizer(batch | {ACTION: batch[ACTION].flip(0)})["loss_mask"]
    assert not torch.equal(first, other.flip(0))


def test_nothing_is_dropped_outside_training(labelled_dataset: Path) -> None:
    inspire, dropout = make(labelled_dataset), make(labelled_dataset, dropout=NEARLY_ALL)
    with torch.no_grad():
        assert dropout.forward(labelled(4))[0] == inspire.forward(labelled(4))[0]


def test_unasked_it_acts_as_the_base_model_of_the_same_weights(labelled_dataset: Path) -> None:
    batch = {key: value for key, value in example(2).items() if key != ACTION}
    base, policy = make(labelled_dataset, enabled=False), make(labelled_dataset, dropout=0.5)
    for one, two in zip(
        base.act(batch), policy.act(batch | {"info": {ASKED_MENTIONS: [[], []]}}), strict=True
    ):
        assert (one.actions == two.actions).all()
        assert two.answers == ()
    assert all(len(decision.answers) == 2 for decision in policy.act(batch))


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_an_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(InspireError, match="from 0 to below 1"):
        ReasoningConfig(dropout=share)


def test_a_resumed_training_drops_the_same(labelled_dataset: Path, tmp_path: Path) -> None:
    out = run(
        labelled_dataset, tmp_path / "run", "--policy.reasoning.dropout=0.5", "--steps=4", "--save_freq=2"
    )
    last = out / "checkpoints" / "last" / "pretrained_model"
    before = load_policy(last)
    assert before.config.reasoning.dropout == 0.5
    config = out / "checkpoints" / "000002" / "pretrained_model" / "train_config.json"
    train([f"--config_path={config}", "--resume=true", f"--output_dir={out}"])
    after = load_policy(last).policy.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.policy.state_dict().items())
