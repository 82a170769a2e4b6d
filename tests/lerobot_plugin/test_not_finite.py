"""Numbers that are NaN or infinite are found before training; a loss or weights that become so stop it."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.errors import InspireError
from inspire_vla.files import read_json, write_json
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.checkpoints import newest_checkpoint
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy


def with_number(source: Path, out: Path, column: str, row: int, value: float) -> Path:
    """A copy of a dataset with another number in one row of a column."""
    shutil.copytree(source, out)
    (path,) = (out / "data").rglob("*.parquet")
    table = pq.read_table(path)
    numbers = np.stack(table[column].to_numpy()).copy()
    numbers[row, -1] = value
    changed = pa.array(list(numbers), type=table.schema.field(column).type)
    pq.write_table(
        table.set_column(table.schema.get_field_index(column), table.schema.field(column), changed), path
    )
    return out


@pytest.mark.parametrize(
    ("column", "row", "value"),
    [("observation.state", 17, np.nan), ("observation.state", 0, np.inf), ("action", 40, -np.inf)],
)
def test_a_number_that_is_not_finite_is_found_by_episode_and_frame(
    labelled_dataset: Path, tmp_path: Path, column: str, row: int, value: float
) -> None:
    data = with_number(labelled_dataset, tmp_path / "data", column, row, value)
    with pytest.raises(
        InspireError, match=rf"{column} of episode {row // 12}, frame {row % 12} is .*in 1 frame of"
    ):
        run(data, tmp_path / "run", "--steps=2")
    assert newest_checkpoint(tmp_path / "run") is None


def test_statistics_that_are_not_finite_are_found(labelled_dataset: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(labelled_dataset, tmp_path / "data"))
    stats = read_json(data / "meta" / "stats.json", dict)
    stats["observation.state"]["std"][0] = float("nan")
    write_json(data / "meta" / "stats.json", stats)
    with pytest.raises(InspireError, match=r"\['std'\] of observation.state are NaN"):
        run(data, tmp_path / "run", "--steps=2")


def test_a_step_that_breaks_the_weights_stops_training_and_keeps_the_checkpoint_before(
    labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, steps = InspireVLAPolicy.forward, []

    def exploding(self: InspireVLAPolicy, batch: dict) -> tuple[torch.Tensor, dict[str, float]]:
        loss, log = forward(self, batch)
        steps.append(loss.item())
        return (loss * torch.inf if len(steps) == 4 else loss), log  # the gradients of step 4 are NaN

    monkeypatch.setattr(InspireVLAPolicy, "forward", exploding)
    with pytest.raises(InspireError, match="A step made weights infinite or NaN"):
        run(labelled_dataset, tmp_path / "run", "--steps=6", "--save_freq=2")
    assert len(steps) == 4
    kept = newest_checkpoint(tmp_path / "run", to_resume=True)
    assert kept is not None
    assert kept.name == "000002"
    weights = load_file(kept / "pretrained_model" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_loss_that_is_not_finite_is_an_error_in_training_only(trained: Path) -> None:
    policy = load_policy(trained, device="cpu").policy
    batch = {
        "task": ["open the top drawer of the cabinet"] * 2,
        "observation.images.image": torch.rand(2, 3, 32, 32),
        "observation.state": torch.full((2, 8), torch.nan),
        "action": torch.rand(2, 4, 7) * 2 - 1,
        "observation.answers.direction": torch.tensor([[0, -1, -1]] * 2),
    }
    policy.train()
    with pytest.raises(InspireError, match=r"The loss is nan\. Training stops"):
        policy.forward(batch)
