"""Laws of custom labels: what fits no frame, object or unit is refused or noted, and never becomes a label."""

from pathlib import Path

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels.custom import FunctionLabeller, TableLabeller
from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.labeller import Episode, Tracks

END_EFFECTOR = EndEffectorColumns.parse("observation.state:0,1,2", needs_gripper=False)


@pytest.fixture
def shown(synthetic) -> Episode:
    return Episode(1, synthetic.instruction, synthetic.mentions, {"observation.state": synthetic.path()[0]})


@pytest.fixture(scope="module")
def dataset(synthetic, tmp_path_factory) -> Path:
    return synthetic.make_dataset(tmp_path_factory.mktemp("own") / "source", episodes=2)


def table(folder: Path, *rows: str) -> TableLabeller:
    path = folder / "objects.csv"
    path.write_text("\n".join(["episode,frame,object,x,y,z", *rows]) + "\n")
    return TableLabeller.read(path, END_EFFECTOR)


# --- a table


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


# --- a function


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (None, "None"),
        (np.zeros((5, 2, 3)), r"ndarray \(5, 2, 3\)"),
        ((np.zeros((5, 3)), np.zeros(5)), r"a tuple of \(ndarray \(5, 3\), ndarray \(5,\)\)"),
        ((np.zeros((5, 2, 3)), np.full((5, 2), "no")), "a tuple"),
        ((np.zeros((5, 2, 3)), np.zeros((5, 2), bool), None), "a tuple"),
        (([[[0, 0, 0]], []], []), "a tuple"),
    ],
)
def test_a_wrong_return_value_is_described(shown, returned, told):
    frames = len(shown)
    with pytest.raises(
        InspireError, match=rf"mine returned {told}.* for episode 1, expected Tracks.*\({frames}, 2, 3"
    ):
        FunctionLabeller(lambda _: returned, "mine").label(shown)


def test_a_function_that_fails_says_in_which_episode_and_line(shown):
    def careless(episode: Episode) -> Tracks:
        return episode.columns["nope"]

    with pytest.raises(
        InspireError, match=r"mine failed in episode 1: KeyError: 'nope'(?s:.*)in careless"
    ) as told:
        FunctionLabeller(careless, "mine").label(shown)
    assert isinstance(told.value.__cause__, KeyError)


def test_a_functions_millimetres_are_noted(shown):
    held = np.zeros((len(shown), 2), int)
    near, far = (
        FunctionLabeller(lambda _, d=d: (np.full((*held.shape, 3), d), held)).label(shown) for d in (1, 300)
    )
    assert near.notes == ()
    assert "are the offsets in metres?" in far.notes[0]
