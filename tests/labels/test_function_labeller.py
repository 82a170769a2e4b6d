"""Laws of labels from a function: what it returns is checked, and where it fails is said."""

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels.function_labeller import FunctionLabeller
from inspire_vla.labels.labeller import Episode, Tracks


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
