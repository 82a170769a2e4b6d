"""Laws of privileged columns: each is about the object that the dataset names; unknown positions stay unknown."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from benchmarks.label_agreement import agreement

from inspire_vla.errors import InspireError
from inspire_vla.labels import GRASPED_COLUMN, LABELS_FILE, OFFSET_COLUMN, LabelInfo, ModeRule, read_labels
from inspire_vla.labels.dataset_writer import LabelledDatasetWriter
from inspire_vla.labels.labeller import Episode
from inspire_vla.labels.parquet import matrix
from inspire_vla.labels.simulator_state import PRIVILEGED_MENTIONS, PrivilegedLabeller
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
    with LabelledDatasetWriter(
        tmp_path / "source", labels, name="toy", fps=10, robot_type="any", image_size=None, cameras=()
    ) as made:
        made.add(INSTRUCTION, np.zeros((frames, 8)), np.zeros((frames, 7)), offsets, grasped, {})
    return tmp_path / "source"


def test_an_unknown_place_is_marked_and_gets_no_label(dataset, tmp_path):
    offsets, grasped = columns_of(dataset, OFFSET_COLUMN, GRASPED_COLUMN)
    assert np.isfinite(offsets).all()  # LeRobot's statistics of the column stay numbers
    assert grasped.tolist() == [[0, -1, 0]] * 3 + [[1, -1, 0]] * 3
    report = label_dataset(dataset, PrivilegedLabeller(), out=tmp_path / "out")
    (before,) = columns_of(dataset, "observation.answers.direction")
    (codes,) = columns_of(tmp_path / "out", "observation.answers.direction")
    assert codes.tolist() == [[FRONT, -1]] * 3 + [[GRASPED, -1]] * 3
    np.testing.assert_array_equal(codes, before[:, :2])
    assert (report.labels, report.unlabelled) == (6, 6)


def test_agreement_counts_only_known_positions(dataset):
    found = agreement(dataset, PrivilegedLabeller())
    assert (found.total, found.correct) == (6, 6)
    assert found.by_role == {0: (6, 6), 1: (0, 0)}
    assert found.episodes == [(6, 6)]


@pytest.fixture
def own_words(dataset):
    """The same dataset, whose mentions no parser would find today."""
    path = dataset / LABELS_FILE
    path.write_text(path.read_text().replace('"the red cube"', '"cube number one"'))
    return dataset


def test_labels_are_about_the_objects_that_the_dataset_says(own_words, tmp_path):
    label_dataset(own_words, PrivilegedLabeller(), out=tmp_path / "out")
    assert read_labels(tmp_path / "out").tasks == {INSTRUCTION: ("cube number one", "the plate")}


def test_mentions_in_another_order_select_their_columns(dataset, tmp_path):
    turned = {INSTRUCTION: MENTIONS[::-1]}
    label_dataset(dataset, PrivilegedLabeller(), out=tmp_path / "out", mentions=turned)
    (codes,) = columns_of(tmp_path / "out", "observation.answers.direction")
    assert codes.tolist() == [[-1, FRONT]] * 3 + [[-1, GRASPED]] * 3
    # the columns themselves stay as they were, and the new folder says of what they are
    assert read_labels(tmp_path / "out").extra[PRIVILEGED_MENTIONS] == {INSTRUCTION: list(MENTIONS)}
    label_dataset(
        tmp_path / "out", PrivilegedLabeller(), out=tmp_path / "once_more", mentions={INSTRUCTION: MENTIONS}
    )
    (codes,) = columns_of(tmp_path / "once_more", "observation.answers.direction")
    assert codes.tolist() == [[FRONT, -1]] * 3 + [[GRASPED, -1]] * 3
    assert PRIVILEGED_MENTIONS not in read_labels(tmp_path / "once_more").extra


def test_mentions_that_no_column_is_of_are_refused(dataset, tmp_path):
    with pytest.raises(
        InspireError, match=r"nothing of \['the cup'\].*They are of \['the red cube', 'the plate'\]"
    ):
        label_dataset(
            dataset,
            PrivilegedLabeller(),
            out=tmp_path / "out",
            mentions={INSTRUCTION: ["the plate", "the cup"]},
        )
    with pytest.raises(InspireError, match=r"call with_dataset\(\) first"):
        PrivilegedLabeller().label(Episode(0, INSTRUCTION, MENTIONS, {OFFSET_COLUMN: np.zeros((1, 9))}))
    (dataset / LABELS_FILE).unlink()
    with pytest.raises(InspireError, match="says what its privileged columns are of"):
        label_dataset(dataset, PrivilegedLabeller(), out=tmp_path / "other")
