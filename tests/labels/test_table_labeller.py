"""Laws of labels from a table: what fits no frame, object or unit is refused or noted, and never becomes a label."""

from pathlib import Path

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.table_labeller import TableLabeller

END_EFFECTOR = EndEffectorColumns.parse("observation.state:0,1,2", needs_gripper=False)


@pytest.fixture(scope="module")
def dataset(synthetic, tmp_path_factory) -> Path:
    return synthetic.make_dataset(tmp_path_factory.mktemp("own") / "source", episodes=2)


def table(folder: Path, *rows: str) -> TableLabeller:
    path = folder / "objects.csv"
    path.write_text("\n".join(["episode,frame,object,x,y,z", *rows]) + "\n")
    return TableLabeller.read(path, END_EFFECTOR)


def test_rows_that_match_nothing_are_named(tmp_path, shown):
    tracks = table(tmp_path, "1,0,The Red Cube,0.5,0.2,0", "1,0,the plaet,0.5,0,0").label(shown)
    assert np.isfinite(tracks.gripper_to_object_m[:, 0]).all()
    assert np.isnan(tracks.gripper_to_object_m[:, 1]).all()
    unmatched, lacking = tracks.notes
    assert unmatched.startswith("the table's 'the plaet' is no object of the task. Did you mean 'the plate'?")
    assert lacking == "the table has no rows of 'the plate'"


def test_one_object_has_one_name(tmp_path, shown):
    twice = table(tmp_path, "1,0,the red cube,0.5,0.2,0", "1,3,0,0.5,0.2,0")
    with pytest.raises(InspireError, match="calls 'the red cube' both 'the red cube' and '0' in episode 1"):
        twice.label(shown)


def test_a_table_in_millimetres_is_refused(tmp_path, shown):
    with pytest.raises(InspireError, match=r"more than 3 m apart, .* must be in metres"):
        table(tmp_path, "1,0,the red cube,500,200,20").label(shown)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("2,0,the red cube,0,0,0", r"1 episode that the dataset lacks, \[2\]: .* numbered 0 to 1"),
        ("1,400,the red cube,0,0,0", r"in frame 400 of episode 1, .*counted from 0 in each episode"),
    ],
)
def test_rows_of_no_frame_of_the_dataset_are_refused(tmp_path, dataset, row, says):
    fits = "1,0,the red cube,0.5,0.2,0"
    assert table(tmp_path, fits).with_dataset(dataset).instructions.keys() == {0, 1}
    with pytest.raises(InspireError, match=says):
        table(tmp_path, fits, row).with_dataset(dataset)
