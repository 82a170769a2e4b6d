"""The errors a person meets: what is wrong, what was found, what is possible."""

import difflib
import errno
import heapq
import os
from collections import Counter
from collections.abc import Callable, Iterable


class InspireError(ValueError):
    """Input that cannot be worked with. The message names what was found and what is possible."""


class MachineFault(InspireError):
    """The machine failed, not an episode: the disk is full, memory or a permission is missing, a library does not load.

    Whoever counts episodes that are damaged or failed does not count this one. The work ends, and can go on later.
    """


GO_ON = "What was finished before is kept; run the same command again to continue."
"""What to do after a fault of the machine, about work that can be resumed."""
_MACHINE = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    errno.EIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN,
}  # fmt: skip


def is_machine_fault(error: BaseException) -> bool:
    """Return whether the machine is at fault. A damaged file is an OSError with another number, or without one."""
    return isinstance(error, MachineFault | MemoryError) or getattr(error, "errno", None) in _MACHINE


class PolicyLost(InspireError):
    """The policy of a running evaluation is gone, or another one has taken its place.

    Whoever plays episodes stops: going on would count what is no failure of the policy, or another policy's episodes.
    """


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'? Possible: …" for an unknown word, to end an error message with: see `possible`."""
    choices = list(choices)
    return nearest(word, choices) + possible(choices, word)


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'?", or nothing where no choice is near. For a message of one line."""
    by_plain = {_plain(choice): choice for choice in _shortlist(word, choices)}
    near = difflib.get_close_matches(_plain(word), by_plain, n=1)
    return f" Did you mean {by_plain[near[0]]!r}?" if near else ""


def possible(choices: Iterable[str], word: str = "") -> str:
    """Return " Possible: […]." to end an error message with.

    A long list has one choice to a line, at most ten, first those that hold `word`, then those that are near to it. The
    word `list` shows all.
    """
    known = sorted(set(choices))
    line = f" Possible: {known}."
    if len(line) <= _LONGEST_LINE:
        return line
    if word == LIST or len(known) <= _SHOWN:
        return "\n  ".join([" Possible:", *known])
    shown = _shortlist(word, known)[:_SHOWN] if word else known[:_SHOWN]
    more = f"… and {len(known) - _SHOWN} more. The name {LIST!r} shows all."
    return "\n  ".join([" Possible, the nearest first:" if word else " Possible:", *shown, more])


def counted(number: int, one: str, several: str | None = None) -> str:
    """A number with its noun, such as "1 step" or "2,000 steps"."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def part_of_these(part: int, whole: int, one: str) -> str:
    """What is part of something before the reader, such as "this episode" or "3 of these 12 episodes"."""
    if whole == 1:
        return f"this {one}"
    return f"{'all' if part == whole else part} of these {counted(whole, one)}"


def some_of(reasons: Iterable[str]) -> str:
    """The three most frequent reasons, to stand within a sentence, each with how often it is given."""
    ranked = Counter(reasons).most_common()
    more = [f"and {counted(len(ranked) - 3, 'other reason')}"] if len(ranked) > 3 else []
    return "; ".join([*(f"{count} × {why}" if count > 1 else why for why, count in ranked[:3]), *more])


LIST = "list"
"""Given as a name, it is unknown like any other, and all possible names are shown."""
_LONGEST_LINE = 250
_SHOWN = 10


def _plain(text: str) -> str:
    """The name of a task and its instruction differ in this: "open_the_drawer", "Open the drawer"."""
    return text.casefold().replace("_", " ")


def _shortlist(word: str, choices: Iterable[str]) -> list[str]:
    """The fifty choices that hold `word` or are nearest to it, the best first."""
    plain_word = _plain(word)
    match = difflib.SequenceMatcher(b=plain_word)

    def rank(choice: str, ratio: Callable[[], float]) -> tuple[bool, float]:
        plain = _plain(choice)
        match.set_seq1(plain)
        return plain_word in plain, ratio()

    known = sorted(set(choices))  # ten thousand in LIBERO-Plus: `ratio` of all would take many seconds
    quick = heapq.nlargest(50, known, key=lambda choice: rank(choice, match.quick_ratio))
    return sorted(quick, key=lambda choice: rank(choice, match.ratio), reverse=True)


def reason_of(error: BaseException, *, lines: int = 1, with_file: bool = False) -> str:
    """What another library's error says, to stand within a sentence: one line, without a full stop at its end.

    Of an error of the system these are its words alone, as "No such file or directory", without its number. It is the
    error's name where the error says nothing.

    Args:
        lines: how many of its lines are taken, joined to one.
        with_file: also name the file of an error of the system; for sentences that do not name it themselves.
    """
    number: int = getattr(error, "errno", None) or 0
    text = (
        os.strerror(number) if number in errno.errorcode else str(getattr(error, "strerror", None) or error)
    )
    line = " ".join((text.strip() or type(error).__name__).splitlines()[:lines]).rstrip(" .")
    file = getattr(error, "filename", None) if with_file and isinstance(error, OSError) else None
    return line if file is None else f"{line}: {file}"
