"""Truth that a dataset carries: what a simulator did not know stays unknown."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from inspire_vla.labels import GRASPED_COLUMN, OFFSET_COLUMN, LabelInfo, ModeRule
from inspire_vla.labels.agreement import agreement
from inspire_vla.labels.lerobot_files import matrix
from inspire_vla.labels.new_dataset import NewDataset
from inspire_vla.labels.privileged import PrivilegedColumns
from inspire_vla.labels.storage import label_dataset

INSTRUCTION, MENTIONS = "put the red cube on the plate", ("the red cube", "the plate")
FRONT, GRASPED = 4, 6


def columns_of(root: Path, *names: str) -> list[np.ndarray]:
    (path,) = root.glob("data/**/*.parquet")
    table = pq.read_table(path)
    return [matrix(table[name]) for name in names]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Six frames: the cube in front, held from the third on; nobody knows where the plate is."""
    frames = 6
    offsets = np.full((frames, 2, 3), np.nan, dtype=np.float32)
    offsets[:, 0] = [0.2, 0.0, -0.1]
    grasped = np.zeros((frames, 2), dtype=bool)
    grasped[3:, 0] = True
    labels = LabelInfo("robot", {"direction": ModeRule()}, {INSTRUCTION: MENTIONS}, 3, "simulator_state")
    with NewDataset(
        tmp_path / "source", labels, name="toy", fps=10, robot_type="any", image_size=None, cameras=()
    ) as made:
        made.add(INSTRUCTION, np.zeros((frames, 8)), np.zeros((frames, 7)), offsets, grasped, {})
    return tmp_path / "source"


def test_an_unknown_place_is_marked_and_gets_no_label(dataset, tmp_path):
    offsets, grasped = columns_of(dataset, OFFSET_COLUMN, GRASPED_COLUMN)
    assert np.isfinite(offsets).all()  # LeRobot's statistics of the column stay numbers
    assert grasped.tolist() == [[0, -1, 0]] * 3 + [[1, -1, 0]] * 3
    report = label_dataset(dataset, PrivilegedColumns(), out=tmp_path / "out")
    (before,) = columns_of(dataset, "observation.answers.direction")
    (codes,) = columns_of(tmp_path / "out", "observation.answers.direction")
    assert codes.tolist() == [[FRONT, -1]] * 3 + [[GRASPED, -1]] * 3
    np.testing.assert_array_equal(codes, before[:, :2])
    assert (report.labels, report.unlabelled) == (6, 6)


def test_agreement_asks_only_where_there_is_a_truth(dataset):
    found = agreement(dataset, PrivilegedColumns())
    assert (found.asked, found.correct) == (6, 6)
    assert found.by_role == {0: (6, 6), 1: (0, 0)}
    assert found.episodes == [(6, 6)]
