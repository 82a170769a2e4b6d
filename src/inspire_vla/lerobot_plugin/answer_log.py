"""Answer accuracies as a training may log them, on one GPU or on many."""

from collections.abc import Iterable, Mapping

import torch.distributed


class AnswerLog:
    """Names of the log, and what was last known of each.

    A batch tells only of the words that are in it. LeRobot averages over processes by position, so that with several
    of them every process must log the same names, at every step: those it has nothing new of keep their last value,
    NaN before the first.
    """

    def __init__(self, words: Iterable[str], max_objects: int) -> None:
        names = [*(f"object_{number}" for number in range(max_objects)), *words]
        self._last = dict.fromkeys(names, float("nan"))

    def __call__(self, accuracy_of: Mapping[str, float]) -> dict[str, float]:
        """What to log where a batch tells `accuracy_of`."""
        if not several_processes():
            found = dict(accuracy_of)
        else:
            self._last |= accuracy_of
            found = self._last
        return {f"answer_accuracy/{name}": value for name, value in found.items()}


def several_processes() -> bool:
    """Whether this is one process of several that train together."""
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )
