"""Which episodes of a dataset: a selection such as "40:50,3", written and read, and episodes held out of a training."""

import re
from collections.abc import Sequence

from inspire_vla.errors import InspireError, counted
from inspire_vla.labels.lerobot_files import Segment

_RANGE = re.compile(r"(\d*):(\d*)|(\d+)")


def check_selection(text: str) -> None:
    """Check the form of a selection of episodes, before a dataset is read.

    Raises:
        InspireError: another text, or a number alone, which stands for a number of episodes elsewhere.
    """
    parts = text.replace(" ", "").split(",")
    if not all(map(_RANGE.fullmatch, parts)):
        raise InspireError(f"Episodes are written as 40:50 (40 to 49), 40: or 3,7; found {text!r}.")
    if len(parts) == 1 and text.strip().isdecimal():
        number = int(text)
        first = f", or 0:{number} for the first {number}" if number else ""
        raise InspireError(f"Which episodes? Write {number}:{number + 1} for episode {number}{first}.")


def parse_episodes(text: str, total: int) -> tuple[int, ...]:
    """Return the episodes that a selection such as "40:50", "40:", "3,7" or "0:5,12" names, in order.

    Args:
        total: number of episodes in the dataset; their numbers begin at 0, and a range excludes its end.

    Raises:
        InspireError: another text, a number alone, an episode that does not exist, or none at all.
    """
    check_selection(text)
    chosen: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, end, single = _RANGE.fullmatch(part).groups()  # type: ignore[union-attr]  # checked
        numbers = range(int(single or first or 0), int(single) + 1 if single else int(end or total))
        if not numbers or numbers[-1] >= total:
            raise InspireError(f"There are no episodes {part!r}; the dataset has 0 to {total - 1}.")
        chosen.update(numbers)
    return tuple(sorted(chosen))


def format_episodes(episodes: Sequence[int]) -> str:
    """Return ascending episodes as a selection that `parse_episodes` reads, with ranges: "3,40:50"."""
    ranges: list[list[int]] = []
    for episode in episodes:
        if ranges and episode == ranges[-1][1]:
            ranges[-1][1] += 1
        else:
            ranges.append([episode, episode + 1])
    return ",".join(f"{a}:{b}" if b - a > 1 or len(ranges) == 1 else str(a) for a, b in ranges)


def hold_out(segments: Sequence[Segment], count: int) -> tuple[int, ...]:
    """Return `count` episodes to keep out of a training: the last one of each task, then the one before it, and so on.

    Raises InspireError where no episode would be left.
    """
    by_task: dict[str, list[int]] = {}
    for segment in segments:
        if not segment.part:
            by_task.setdefault(segment.instruction, []).append(segment.episode)
    total = sum(map(len, by_task.values()))
    if not 0 < count < total:
        possible = f"1 to {total - 1}" if total > 2 else str(max(total - 1, 0))
        raise InspireError(f"{possible} of {counted(total, 'episode')} can be held out, found {count}.")
    chosen: list[int] = []
    while len(chosen) < count:
        for episodes in by_task.values():
            if episodes and len(chosen) < count:
                chosen.append(episodes.pop())
    return tuple(sorted(chosen))
