"""What a training that answers may log, on one GPU or on many."""

from collections.abc import Iterable, Mapping

import torch.distributed


class AnswerLog:
    """Names of the log, and what was last known of each.

    A batch tells only of the words that are in it, and one without labels of no loss. LeRobot averages over processes
    by position, so that with several of them every process must log the same names, at every step: those it has nothing
    new of keep their last value, NaN before the first.
    """

    def __init__(self, words: Iterable[str], max_objects: int) -> None:
        told = [*(f"object_{number}" for number in range(max_objects)), *words]
        names = ["action_loss", "action_accuracy", "unlabelled_rows", "answer_loss", "answer_accuracy"]
        self._last = dict.fromkeys([*names, *(f"answer_accuracy/{name}" for name in told)], float("nan"))

    def __call__(self, found: Mapping[str, float]) -> dict[str, float]:
        """What to log where a batch tells `found`."""
        if not several_processes():
            return dict(found)
        self._last |= found
        return dict(self._last)


def several_processes() -> bool:
    """Whether this is one process of several that train together."""
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )
