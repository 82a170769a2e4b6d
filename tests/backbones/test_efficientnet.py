"""EfficientNet-Lite0 for nano: the weights that the package ships, in the network that they were trained for."""

from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch

from inspire_vla.backbones import efficientnet
from inspire_vla.backbones.efficientnet import CHANNELS, FILE, PACKAGE, STAGES, EfficientNetLite0
from inspire_vla.errors import InspireError
from inspire_vla.files import file_sha256

PUBLISHED = {0: -0.459171, 1: -0.127023, 283: 0.740770, 999: 0.003322}
"""Logits of `IMAGE` by the package efficientnet-lite-pytorch 0.1.0, for which the weights were published."""
IMAGE = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite0:
    made = EfficientNetLite0()
    made.load_imagenet()
    return made


def test_timms_network_with_these_weights_is_the_published_one(encoder: EfficientNetLite0) -> None:
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    stored = torch.load(Path(spec.submodule_search_locations[0], FILE), weights_only=True)
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    whole.load_state_dict(dict(zip(whole.state_dict(), stored.values(), strict=True)))
    with torch.no_grad():
        logits = whole(IMAGE)[0]
        features = whole.blocks[:STAGES](whole.bn1(whole.conv_stem(IMAGE)))
        assert torch.equal(encoder(IMAGE), features)
    assert {index: round(logits[index].item(), 5) for index in PUBLISHED} == pytest.approx(
        PUBLISHED, abs=1e-4
    )
    assert features.shape == (1, CHANNELS, 4, 4)


def test_training_changes_weights_and_no_statistics(encoder: EfficientNetLite0) -> None:
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder(torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_a_missing_package_and_another_file_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    encoder = EfficientNetLite0()
    monkeypatch.setattr(efficientnet, "find_spec", lambda _: None)
    with pytest.raises(InspireError, match="not installed"):
        encoder.load_imagenet()
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes(b"something else")
    assert file_sha256(tmp_path / FILE) != efficientnet.SHA256
    spec = ModuleSpec(PACKAGE, None)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(efficientnet, "find_spec", lambda _: spec)
    with pytest.raises(InspireError, match="not the file of weights"):
        encoder.load_imagenet()
