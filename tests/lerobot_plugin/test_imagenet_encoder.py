"""nano on an encoder that others trained, frozen or trained: the same for base and InSpire."""

from pathlib import Path

import pytest
import torch
from tests.lerobot_plugin.tiny_policies import example, labelled, make
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.backbones import efficientnet
from inspire_vla.backbones.efficientnet import EfficientNetLite0
from inspire_vla.backbones.nano import NanoConfig
from inspire_vla.errors import InspireError
from inspire_vla.grounding.pretraining import PretrainingConfig
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig

ENCODER = "--policy.nano.vision=efficientnet_lite0"
NANO = NanoConfig(hidden_size=32, layers=2, heads=2, mlp_size=48, vision="efficientnet_lite0")


@pytest.fixture(scope="module")
def shipped() -> dict[str, torch.Tensor]:
    encoder = EfficientNetLite0()
    encoder.load_imagenet()
    return encoder.state_dict()


def stem_of(folder: Path) -> dict[str, torch.Tensor]:
    encoder = load_policy(
        folder / "checkpoints" / "last" / "pretrained_model"
    ).policy.backbone.foreign_encoder
    return encoder.state_dict()


def test_frozen_only_the_encoder_is(labelled_dataset: Path) -> None:
    policy = make(labelled_dataset, {"nano": NANO, "freeze_vision": True})
    frozen = {name for name, p in policy.backbone.named_parameters() if not p.requires_grad}
    assert frozen == {f"stem.0.{name}" for name, _ in EfficientNetLite0().named_parameters()}


def test_base_and_inspire_start_from_the_same_weights(labelled_dataset: Path) -> None:
    base, inspire = (make(labelled_dataset, {"nano": NANO}, enabled=asked) for asked in (False, True))
    for (name, one), (_, two) in zip(base.state_dict().items(), inspire.state_dict().items(), strict=True):
        assert torch.equal(one, two), name
    assert torch.isfinite(inspire.forward(labelled(2))[0])
    assert inspire.act({k: v for k, v in example(2).items() if k != "action"})[0].actions is not None


def test_a_frozen_encoder_stays_as_it_was_shipped_and_a_checkpoint_needs_no_package(
    labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: dict[str, torch.Tensor]
) -> None:
    out = run(labelled_dataset, tmp_path / "run", ENCODER, "--policy.freeze_vision=true", "--steps=2")
    monkeypatch.setattr(efficientnet, "find_spec", lambda _: None)
    found = stem_of(out)
    assert all(torch.equal(found[name], value) for name, value in shipped.items())


def test_a_trained_encoder_has_its_own_learning_rate(
    labelled_dataset: Path, tmp_path: Path, shipped: dict[str, torch.Tensor]
) -> None:
    policy = make(labelled_dataset, {"nano": NANO, "vision_lr": 1e-5})
    groups = policy.get_optim_params()
    assert [group.get("lr") for group in groups] == [None, None, 1e-5, 1e-5]
    parameters = [id(p) for group in groups for p in group["params"]]
    assert sorted(parameters) == sorted(id(p) for p in policy.parameters())
    options = ("--policy.vision_lr=1e-5", "--policy.warmup_steps=0", "--steps=2")
    found = stem_of(run(labelled_dataset, tmp_path / "run", ENCODER, *options))
    moved = [(found[name] - value).abs().max().item() for name, value in shipped.items() if value.ndim == 4]
    assert 0 < max(moved) < 1e-4


def test_what_does_not_go_together_is_refused(labelled_dataset: Path) -> None:
    with pytest.raises(InspireError, match="pretrained_init=null"):
        InspireVLAConfig(nano=NANO, pretrained_init="nano_grounding")
    with pytest.raises(InspireError, match="Did you mean 'efficientnet_lite0'"):
        make(labelled_dataset, {"nano": NanoConfig(hidden_size=32, heads=2, vision="efficientnet_lite")})
    with pytest.raises(InspireError, match="vision_lr"):
        InspireVLAConfig(vision_lr=1e-4, freeze_vision=True)
    with pytest.raises(InspireError, match="trained by others"):
        PretrainingConfig(nano=NANO)
