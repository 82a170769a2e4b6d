"""The errors a person meets: what is wrong, what was found, what is possible."""

import difflib
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


def first_line(error: BaseException) -> str:
    """The first line of another library's message; the error's name where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
