"""A run that was broken off and resumed has the losses of an unbroken one, and its weights, to the last bit."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tests.lerobot_plugin.families import finetune, make
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.cli import main
from inspire_vla.errors import InspireError
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


WAYS = {
    "full": (),
    "lora": ("--peft.r=4",),
    "checkpointing": ("--policy.gradient_checkpointing=true",),
    "bfloat16": ("--policy.dtype=bfloat16",),
    "frozen": ("--policy.freeze_vision=true",),
}
FAMILIES = ("nano", "minivla", "pi0fast", "smolvla")
QUICK = (("nano", "full"), ("pi0fast", "full"))
CASES = [
    pytest.param(family, way, marks=() if (family, way) in QUICK else pytest.mark.e2e, id=f"{family}-{way}")
    for family in FAMILIES
    for way in WAYS
]


def begin(family: str, way: str, place: pytest.TempPathFactory, data: Path) -> Path:
    """Six steps, saved at the third too."""
    out, more = place.mktemp(family) / "run", ("--steps=6", "--save_freq=3", "--seed=0", *WAYS[way])
    if family == "nano" and way != "lora":
        return run(data, out, *more)
    if family == "nano":  # of what is trained already; it has no layers of its own choice
        base = (
            run(data, place.mktemp("base") / "run", "--steps=1") / "checkpoints" / "last" / "pretrained_model"
        )
        more = (*more, "--peft.target_modules=.*decoder.*(q_proj|v_proj|up_proj)")
    else:
        base = make(family, place)
    finetune(base, data, out, *more, "--policy.optimizer_lr=0.01", "--policy.warmup_steps=2")
    return out


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """What was learned: a model, or an adapter."""
    (file,) = (f for f in (checkpoint / "pretrained_model").glob("*model.safetensors"))
    return load_file(file)


@pytest.mark.parametrize(("family", "way"), CASES)
def test_resuming_gives_the_losses_and_weights_of_an_unbroken_run(
    family: str, way: str, tmp_path_factory: pytest.TempPathFactory, labelled_dataset: Path
) -> None:
    with losses() as whole:
        out = begin(family, way, tmp_path_factory, labelled_dataset)
    whole = whole[-6:]  # before them, the base of a LoRA on nano
    checkpoints = out / "checkpoints"
    expected, halfway = weights(checkpoints / "000006"), weights(checkpoints / "000003")
    last = checkpoints / "last"
    last.unlink()
    last.symlink_to("000003")
    shutil.rmtree(checkpoints / "000006")
    config = last / "pretrained_model" / "train_config.json"
    with losses() as resumed:
        train(
            [f"--config_path={config}", "--resume=true"], frames_in_memory=family == "nano" and way != "lora"
        )
    assert len({step["loss"] for step in whole}) == 6
    assert resumed == whole[3:]
    found = weights(checkpoints / "000006")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)
    moved = {name for name, tensor in expected.items() if not torch.equal(tensor, halfway[name])}
    assert moved
    if way == "frozen":
        assert not any(part in name for name in moved for part in (".stem.", ".tower.", ".towers."))


def test_a_training_is_not_resumed_on_a_dataset_that_has_changed(
    labelled_dataset: Path, tmp_path: Path
) -> None:
    """As after `inspire label --in-place`: the path is the same, the labels are not."""
    data = Path(shutil.copytree(labelled_dataset, tmp_path / "data"))
    out = run(data, tmp_path / "run", "--steps=2", "--save_freq=1", "--seed=0")
    shutil.rmtree(out / "checkpoints/000002")
    (out / "checkpoints/last").unlink()
    (out / "checkpoints/last").symlink_to("000001")
    resume = [f"--config_path={out / 'checkpoints/last/pretrained_model/train_config.json'}", "--resume=true"]
    column = "observation.answers.direction"
    (file,) = (data / "data").rglob("*.parquet")
    table = pq.read_table(file)
    turned = table[column].take(pa.array(range(len(table) - 1, -1, -1)))
    pq.write_table(
        table.set_column(table.column_names.index(column), table.schema.field(column), turned), file
    )
    with pytest.raises(InspireError, match="has other content"):
        train(resume)
    shutil.rmtree(data)
    shutil.copytree(labelled_dataset, data)
    train(resume)
    assert (out / "checkpoints/000002").is_dir()


def test_a_finished_training_trains_on_with_more_steps(
    labelled_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the message says that `inspire train --resume` prints."""
    out = run(labelled_dataset, tmp_path / "run", "--steps=1", "--seed=0")
    assert main(["train", f"--out={out}", "--resume"]) == 0
    assert f"`inspire train --out {out} --resume --steps 2` trains on" in capsys.readouterr().out
    assert main(["train", f"--out={out}", "--resume", "--steps", "2"]) == 0
    trained, before = (weights(out / "checkpoints" / step) for step in ("000002", "000001"))
    assert any(not torch.equal(trained[name], before[name]) for name in before)
