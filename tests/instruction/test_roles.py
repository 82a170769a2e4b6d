"""What an instruction asks to be done with its objects."""

import pytest

from inspire_vla.instruction import acts_of, find_mentions


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("put the red cube on the plate", ["0>1"]),
        ("put both the soup and the sauce in the basket", ["0>2", "1>2"]),
        ("turn on the stove and put the moka pot on it", ["~0", "1>0"]),
        ("put the mug in the microwave and close it", ["0>1", "~1"]),
        ("put the pudding to the right of the plate", ["0>1 beside"]),
        ("remove the lid from the pot", ["0 from 1"]),
        ("stack the left bowl on the right bowl and place them in the tray", ["0>1", "1>2"]),
    ],
)
def test_roles(instruction, expected):
    texts = []
    for act in acts_of(instruction, find_mentions(instruction)):
        goal = (act.goal,) if act.goal is not None else act.beside
        text = "~" * act.touch + str(act.target) + "".join(f">{index}" for index in goal)
        texts.append(
            text + " beside" * bool(act.beside) + (f" from {act.source}" if act.source is not None else "")
        )
    assert texts == expected


@pytest.mark.parametrize(
    ("instruction", "pushes"),
    [
        ("close the top drawer of the cabinet", [True]),
        ("open the top drawer of the cabinet", [False]),
        ("put the bowl in the drawer and close it", [False, True]),
        ("push the plate to the front of the stove", [True]),
        ("turn on the stove", [False]),
    ],
)
def test_which_acts_push(instruction, pushes):
    assert [act.push for act in acts_of(instruction, find_mentions(instruction))] == pushes
