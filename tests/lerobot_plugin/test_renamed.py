"""`--rename_map`: a column under another name is the policy's input all the same, normalised by its statistics."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.lerobot_plugin.test_odd_datasets import TASK, camera, numbers, record, run

from inspire_vla.errors import InspireError
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.checkpoint_statistics import statistics_of
from inspire_vla.lerobot_plugin.checkpoints import find

STATE = '--rename_map={"observation.joints": "observation.state"}'
SWAPPED = (
    '--rename_map={"observation.images.front": "observation.images.wrist", '
    '"observation.images.wrist": "observation.images.front"}'
)


def recorded(root: Path, **options: Any) -> Path:
    return record(root, observation__images__wrist=camera(), **options)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy of two cameras and a state, from a dataset with the policy's names."""
    folder = tmp_path_factory.mktemp("start")
    run(recorded(folder / "data"), folder / "out", "--steps=1")
    return find(folder / "out")


@pytest.mark.parametrize(
    ("cached", "dtype", "chosen"), [(True, "float32", (0,)), (True, "int64", (0, 1)), (False, "int64", (0,))]
)
def test_a_renamed_state_is_normalised_in_training_and_in_deployment(
    start: Path, tmp_path: Path, cached: bool, dtype: str, chosen: tuple[int, ...]
) -> None:
    dataset = recorded(
        tmp_path / "data", drop=("observation.state",), scale=900, observation__joints=numbers(dtype=dtype)
    )
    agent = run(
        dataset, tmp_path / "out", STATE, f"--policy.pretrained_path={start}", "--steps=1",
        f"--dataset.episodes={[*chosen]}", cached=cached,
    )  # fmt: skip
    values, episodes = LeRobotFiles.open(dataset).column("observation.joints")
    values = values[np.isin(episodes, chosen)]
    kept = statistics_of(find(tmp_path / "out"))["observation.state"]
    for name, expected in (
        ("mean", values.mean(0)),
        ("std", values.std(0)),
        ("q99", np.quantile(values, 0.99, 0)),
    ):
        np.testing.assert_allclose(kept[name], expected, rtol=1e-3, atol=0.5)
    images = {name: np.zeros((32, 32, 3), np.uint8) for name in ("front", "wrist")}
    for state in values[:3].astype(np.float64):
        batch = agent.preprocessor(agent.batch([{"pixels": images, "agent_pos": state}], TASK))
        np.testing.assert_allclose(
            batch["observation.state"][0].numpy(), (state - kept["mean"]) / kept["std"], atol=1e-3
        )


def test_on_data_of_its_training_under_another_name_its_statistics_are_kept(
    start: Path, tmp_path: Path
) -> None:
    dataset = recorded(tmp_path / "data")
    info = dataset / "meta/info.json"
    for file in (info, *dataset.rglob("stats.json")):
        file.write_text(
            file.read_text(encoding="utf-8").replace("observation.state", "observation.joints"), "utf-8"
        )
    for file in (dataset / "data").rglob("*.parquet"):
        table = pq.read_table(file)
        names = [name.replace("observation.state", "observation.joints") for name in table.column_names]
        pq.write_table(table.rename_columns(names), file)
    run(dataset, tmp_path / "out", STATE, f"--policy.path={start}", "--steps=1")
    assert "its statistics are kept" in (tmp_path / "out/train.log").read_text(encoding="utf-8")
    assert "observation.state" in statistics_of(find(tmp_path / "out"))


def test_cameras_that_were_exchanged_in_training_have_the_policys_names_in_deployment(
    start: Path, tmp_path: Path
) -> None:
    agent = run(recorded(tmp_path / "data"), tmp_path / "out", SWAPPED, f"--policy.path={start}", "--steps=1")
    images = {"front": np.zeros((32, 32, 3), np.uint8), "wrist": np.full((32, 32, 3), 255, np.uint8)}
    batch = agent.preprocessor(agent.batch([{"pixels": images, "agent_pos": np.zeros(6)}], TASK))
    assert batch["observation.images.front"].max() == 0
    assert batch["observation.images.wrist"].min() == 1


def test_two_columns_of_one_name_are_refused(start: Path, tmp_path: Path) -> None:
    dataset = recorded(tmp_path / "data", observation__joints=numbers())
    both = "observation.state and observation.joints are both 'observation.state' to the policy"
    with pytest.raises(InspireError, match=both):
        run(dataset, tmp_path / "out", STATE, f"--policy.path={start}")


def test_a_state_that_the_dataset_lacks_is_refused(start: Path, tmp_path: Path) -> None:
    dataset = recorded(tmp_path / "data", drop=("observation.state",), observation__joints=numbers())
    with pytest.raises(
        InspireError, match=r"no 'observation.state'; it has \['observation.joints'\].*--rename_map"
    ):
        run(dataset, tmp_path / "out", f"--policy.path={start}")
