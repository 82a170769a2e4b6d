"""A selection of episodes is read as it is written; episodes are held out task by task."""

from pathlib import Path

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels.episode_selection import format_episodes, hold_out, parse_episodes
from inspire_vla.labels.lerobot_files import Segment


def test_episodes_are_parsed():
    assert parse_episodes("3:5", 10) == (3, 4)
    assert parse_episodes("8:", 10) == (8, 9)
    assert parse_episodes(":2,7, 9", 10) == (0, 1, 7, 9)
    for text in ("10", "5:3", "a", "8:11", "-1", "", "1,,2"):
        with pytest.raises(InspireError, match=r"[Ee]pisodes"):
            parse_episodes(text, 10)
    with pytest.raises(InspireError, match="Write 7:8 for episode 7, or 0:7 for the first 7"):
        parse_episodes("7", 10)


@pytest.mark.parametrize(("episodes", "text"), [((3, 4), "3:5"), ((7,), "7:8"), ((0, 1, 7, 9), "0:2,7,9")])
def test_a_selection_is_written_as_it_is_read(episodes, text):
    assert format_episodes(episodes) == text
    assert parse_episodes(text, 10) == episodes


def test_episodes_are_held_out_task_by_task():
    tasks = ("open the drawer", "close the drawer") * 2
    segments = [Segment(i, 0, task, Path("data"), slice(i, i + 1), 0) for i, task in enumerate(tasks)]
    assert hold_out(segments, 1) == (2,)
    assert hold_out(segments, 2) == (2, 3)
    assert hold_out(segments, 3) == (0, 2, 3)
    for count in (0, 4, -1):
        with pytest.raises(InspireError, match="can be held out"):
            hold_out(segments, count)
