"""Finds the objects that an instruction names, by parsing it. There is no table of names: any noun may come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from inspire_vla.errors import InspireError
from inspire_vla.instruction.grammar import Parser
from inspire_vla.instruction.language import foreign_language
from inspire_vla.instruction.lexicon import DETERMINERS
from inspire_vla.instruction.roles import Act, MentionRole, acts_of_named, acts_of_roles, roles_of_acts
from inspire_vla.instruction.words import split_words

_OVERRIDE = (
    "name its objects yourself: `inspire mentions … --write FILE`, edit FILE, then pass --mentions FILE"
)


def check_text(text: str) -> None:
    """Raise InspireError for a text with half a character, such as "\\ud800": no tokenizer and no file takes it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start : error.end]
        raise InspireError(
            f"{text!r} holds {half!r}, which is no character but a part of one (a surrogate). Remove it."
        ) from None


class NoObjectFound(InspireError):
    """An instruction names no object, so there is nothing to ask about."""


class UnclearInstruction(NoObjectFound):
    """An instruction cannot be read with certainty: another language, or several readings."""


@dataclass(frozen=True)
class Reading:
    """What the parser reads in an instruction.

    mentions: the objects in order, each once. acts: what is done with them. doubts: what a person should check.
    """

    mentions: tuple[str, ...]
    acts: tuple[Act, ...]
    doubts: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[MentionRole, ...]:
        """The role of each mention in each act, in order."""
        return roles_of_acts(self.acts, self.mentions)


@lru_cache(maxsize=1 << 14)
def read_instruction(instruction: str) -> Reading:
    """Read the objects of an instruction, their roles and what is doubtful.

    Raises:
        NoObjectFound: the instruction names no object.
        UnclearInstruction: it is not English, or it may mean several things.
        InspireError: it is not a string, or holds half a character.
    """
    if not isinstance(instruction, str):
        raise InspireError(f"An instruction must be a string; found {type(instruction).__name__}.")
    check_text(instruction)
    language = foreign_language(instruction)
    if language is not None:
        raise UnclearInstruction(
            f"{instruction!r} is not English ({language}), and no other language is read. Possible: translate it, or "
            f"{_OVERRIDE}."
        )
    parser = Parser(split_words(instruction)).parse()
    if parser.unclear:
        raise UnclearInstruction(
            f"{instruction!r} cannot be read with certainty: {parser.unclear}. Possible: {_OVERRIDE}."
        )
    mentions = tuple(dict.fromkeys(item.mention for item in parser.named if item.mention))
    if not mentions:
        raise NoObjectFound(
            f"No object is named in {instruction!r}. Expected a request such as 'put the red cube on the plate'; or "
            f"{_OVERRIDE}."
        )
    acts = acts_of_named(parser.named, mentions)
    twice = {mentions[i] for act in acts if (i := act.target) is not None and i in act.places}
    doubts = (f"{mention!r} may be two objects of one name: it is asked about once" for mention in twice)
    return Reading(mentions, acts, (*parser.doubts(), *doubts))


def find_mentions(
    instruction: str, overrides: Mapping[str, Sequence[MentionRole]] | None = None
) -> tuple[str, ...]:
    """Return the mentions of an instruction in order, in lower case, with the article as written, each once.

    A place that tells objects apart belongs to the mention. A place that something is moved to is a mention of its own.
    "it", "everything" and what is not to be touched are no mentions. The top of an object is named "top of …", as in
    the paper's released data.

    >>> find_mentions("Pick up the black bowl between the plate and the ramekin and place it on the plate.")
    ('the black bowl between the plate and the ramekin', 'the plate')

    Args:
        overrides: instruction → mentions that a person gives, see `overrides.py`. They may be none.

    Raises:
        NoObjectFound, UnclearInstruction, InspireError: as `read_instruction`.
    """
    if overrides is not None and instruction in overrides:
        return tuple(dict.fromkeys(item.mention for item in overrides[instruction]))
    return read_instruction(instruction).mentions


def acts_of(
    instruction: str, mentions: Sequence[str], roles: Sequence[MentionRole] | None = None
) -> tuple[Act, ...]:
    """Return what is done with `mentions`, in order.

    Args:
        mentions: those of `find_mentions`, or others. Others have a role only if they are named in the instruction.
        roles: overrule what the instruction says, if one of them has a role; each is of one of `mentions`.
    """
    roles = roles if any(item.role for item in roles or ()) else None
    try:
        reading = read_instruction(instruction)
    except NoObjectFound:
        return acts_of_roles(roles or (), mentions, instruction)
    if roles and tuple(roles) != reading.roles:
        return acts_of_roles(roles, mentions, instruction)
    if tuple(mentions) == reading.mentions:
        return reading.acts
    bare = [_bare(mention) for mention in mentions]
    known = [role for role in reading.roles if _bare(role.mention) in bare]
    named = [MentionRole(mentions[bare.index(_bare(role.mention))], role.role) for role in known]
    return acts_of_roles(named, mentions, instruction)


def _bare(mention: str) -> str:
    words = mention.lower().split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in DETERMINERS else words)
