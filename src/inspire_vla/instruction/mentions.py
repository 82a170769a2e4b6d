"""Finds the objects that an instruction names, by parsing it. There is no table of names: any noun may come."""

from functools import lru_cache

from inspire_vla.errors import InspireError
from inspire_vla.instruction.grammar import Parser
from inspire_vla.instruction.words import split_words


class NoObjectFound(InspireError):
    """An instruction names no object, so there is nothing to ask about."""


@lru_cache(maxsize=1 << 14)
def find_mentions(instruction: str) -> tuple[str, ...]:
    """Return the mentions of an instruction in order, in lower case, with the article as written, each once.

    A place that tells objects apart belongs to the mention. A place that something is moved to is a mention of its own.
    "it" and "them" are no mentions. The top of an object is named "top of …", as in the paper's released data.

    >>> find_mentions("Pick up the black bowl between the plate and the ramekin and place it on the plate.")
    ('the black bowl between the plate and the ramekin', 'the plate')

    Raises:
        NoObjectFound: the instruction names no object.
        InspireError: it is not a string.
    """
    if not isinstance(instruction, str):
        raise InspireError(f"An instruction must be a string; found {type(instruction).__name__}.")
    mentions = tuple(dict.fromkeys(Parser(split_words(instruction)).mentions()))
    if not mentions:
        raise NoObjectFound(
            f"No object is named in {instruction!r}. Expected a request such as 'put the red cube on the plate'; "
            "or pass the mentions yourself."
        )
    return mentions
