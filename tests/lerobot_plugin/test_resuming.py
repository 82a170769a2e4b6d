"""A run that was broken off and resumed has the losses of an unbroken one, and its weights, to the last bit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from families import finetune, make
from safetensors.torch import load_file
from tiny_runs import run

from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.training import train


@contextmanager
def losses() -> Iterator[list[dict[str, float]]]:
    """Within, what every training step logs, but for its speed."""
    found: list[dict[str, float]] = []
    forward = InspireVLAPolicy.forward

    def listening(self: InspireVLAPolicy, batch: dict) -> tuple[torch.Tensor, dict[str, float]]:
        loss, log = forward(self, batch)
        found.append({"loss": loss.item(), **log})
        found[-1].pop("tokens_per_second", None)
        return loss, log

    with patch.object(InspireVLAPolicy, "forward", listening):
        yield found


def nano(place: pytest.TempPathFactory, data: Path) -> Path:
    return run(data, place.mktemp("nano") / "run", "--steps=6", "--save_freq=3", "--seed=0")


def pi0fast(place: pytest.TempPathFactory, data: Path) -> Path:
    out = place.mktemp("pi0fast") / "run"
    finetune(
        make("pi0fast", place), data, out, "--steps=6", "--save_freq=3", "--seed=0", "--policy.optimizer_lr=0.01",
        "--policy.warmup_steps=2",
    )  # fmt: skip
    return out


@pytest.mark.parametrize("begin", [nano, pi0fast])
def test_resuming_gives_the_losses_and_weights_of_an_unbroken_run(
    begin: Callable[[pytest.TempPathFactory, Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
    labelled_dataset: Path,
) -> None:
    with losses() as whole:
        out = begin(tmp_path_factory, labelled_dataset)
    last = out / "checkpoints" / "last"
    expected = load_file(last / "pretrained_model" / "model.safetensors")
    last.unlink()
    last.symlink_to("000003")
    config = last / "pretrained_model" / "train_config.json"
    with losses() as resumed:
        train([f"--config_path={config}", "--resume=true"], frames_in_memory=begin is nano)
    assert len(whole) == 6
    assert len({step["loss"] for step in whole}) == 6
    assert resumed == whole[3:]
    found = load_file(out / "checkpoints" / "000006" / "pretrained_model" / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)
