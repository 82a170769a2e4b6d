"""Confusion counts: how often each answer was given where each answer was true."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Confusion = dict[str, dict[str, int]]
"""{true answer: {given answer: count}}"""


def add(confusion: Confusion, truth: str, answer: str, count: int = 1) -> None:
    """Count answers, in place."""
    row = confusion.setdefault(truth, {})
    row[answer] = row.get(answer, 0) + count


def merge(confusions: Iterable[Confusion]) -> Confusion:
    """Return the sum of confusions."""
    total: Confusion = {}
    for confusion in confusions:
        for truth, row in confusion.items():
            for answer, count in row.items():
                add(total, truth, answer, count)
    return total


def scored(confusion: Confusion) -> int:
    """Return the number of answers."""
    return sum(sum(row.values()) for row in confusion.values())


def correct(confusion: Confusion) -> int:
    """Return the number of correct answers."""
    return sum(row.get(truth, 0) for truth, row in confusion.items())


def majority(confusion: Confusion) -> tuple[str | None, int]:
    """Return the most frequent true answer and its count: what a constant answer would score at best."""
    totals = {truth: sum(row.values()) for truth, row in confusion.items()}
    if not totals:
        return None, 0
    return max(sorted(totals.items()), key=lambda item: item[1])


@dataclass(frozen=True)
class Accuracy:
    """Scored answers about one object, and what the best constant answers would score on them.

    Attributes:
        n, correct: scored answers, and how many are right.
        majority_answer, majority: the most frequent true answer, and how often it is true; None without answers.
        per_task_majority: how many would be right with the most frequent true answer of each task.
    """

    n: int
    correct: int
    majority_answer: str | None
    majority: int
    per_task_majority: int

    @classmethod
    def of_tasks(cls, confusions: Sequence[Confusion]) -> "Accuracy":
        """Count the answers of several tasks, a confusion for each."""
        total = merge(confusions)
        per_task = sum(majority(confusion)[1] for confusion in confusions)
        return cls(scored(total), correct(total), *majority(total), per_task)
