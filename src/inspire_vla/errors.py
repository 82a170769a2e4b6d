"""The errors a person meets: what is wrong, what was found, what is possible."""

import difflib
import errno
import os
from collections.abc import Iterable


class InspireError(ValueError):
    """Input that cannot be worked with. The message names what was found and what is possible."""


class PolicyLost(InspireError):
    """The policy of a running evaluation is gone, or another one has taken its place.

    Whoever plays episodes stops: going on would count what is no failure of the policy, or another policy's episodes.
    """


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'? Possible: [...]" for an unknown word, to end an error message with."""
    possible = sorted(set(choices))
    near = difflib.get_close_matches(word, possible, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} Possible: {possible}."


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
