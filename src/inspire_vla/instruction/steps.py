"""Splits an instruction that asks for several things into one instruction for each."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from inspire_vla.errors import InspireError
from inspire_vla.instruction.grammar import Parser
from inspire_vla.instruction.lexicon import FILLERS, PRONOUNS, SWAPPING
from inspire_vla.instruction.mentions import Reading, read_instruction
from inspire_vla.instruction.roles import Act, acts_of_named
from inspire_vla.instruction.words import BREAK, base_verb, split_words

_BETWEEN = ("and", "then", "also", "finally", BREAK)


def split_steps(instruction: str) -> tuple[str, ...]:
    """The steps of an instruction, in order, each as an instruction of its own. One that has one step stays as it is.

    >>> split_steps("Open the top drawer, and put the bowl in it.")
    ('open the top drawer', 'put the bowl in the top drawer')
    >>> split_steps("put both the cup and the pen in the box")
    ('put the cup in the box', 'put the pen in the box')

    Every step is read again: it must name the same objects in the same roles as the whole sentence.

    Raises:
        InspireError: a step cannot be said in words of its own; or as `read_instruction`.
    """
    reading = read_instruction(instruction)
    if len(reading.acts) < 2:
        return (instruction,)
    parts = _parts(split_words(instruction), reading)
    if len(parts) == 1 and not parts[0].shared:
        return (instruction,)
    steps = []
    for part in parts:
        texts = _of_each(part, reading) if part.shared else [(part.words, part.acts)]
        for words, acts in texts:
            step = next(
                (text for text in _spelled_out(words, acts, reading) if _asks_for(text, acts, reading)), ""
            )
            if not step:
                raise InspireError(
                    f"{instruction!r} asks for {len(reading.acts)} things, and {' '.join(words)!r} does not say one of "
                    "them in words of its own. Give the steps yourself, as instructions one after the other."
                )
            steps.append(step)
    return tuple(steps)


class _Part(NamedTuple):
    """Words that belong together, one clause or several, and what they ask for. shared: several acts have one verb."""

    words: list[str]
    acts: tuple[Act, ...]
    shared: bool


def _parts(words: list[str], reading: Reading) -> list[_Part]:
    """The parts of a sentence.

    Together are "pick up the cup and place it there", "take the cup and turn it", and "pull the handle to open the
    drawer".
    """
    parser = Parser(words).parse()
    parts: list[_Part] = []
    start = done = 0  # of the part that is being read
    first = 0  # acts until the end of its first clause
    ends = [len(acts_of_named(parser.named[:named], reading.mentions)) for _, _, named in parser.clauses]
    for i, (_, end, _) in enumerate(parser.clauses):
        first = first or ends[i]
        if i + 1 < len(ends):
            adds_no_act = ends[i] == done or ends[i + 1] <= ends[i]
            if adds_no_act or words[end - 1] == "to" or _goes_on(reading.acts[ends[i] - 1 : ends[i + 1]]):
                continue
        acts = reading.acts[done : ends[i]]
        parts.append(_Part(_trimmed(words[start:end]), acts, len(acts) > 1 and first == ends[i]))
        start, done, first = end, ends[i], 0
    return parts


def _goes_on(acts: Sequence[Act]) -> bool:
    """Whether the second act goes on with what the first one holds: "take the cup and turn it"."""
    first, *others = acts
    same = len(others) == 1 and others[0].target == first.target
    return same and not first.places and not (first.touch and others[0].touch)


def _trimmed(words: Sequence[str]) -> list[str]:
    """Without what joins it to the parts before and after, and without "first", "could you" and "please"."""
    kept = list(words)
    while kept and (kept[0] in _BETWEEN or (kept[0] in FILLERS and base_verb(kept[0]) is None)):
        del kept[0]
    while kept and (kept[-1] in _BETWEEN or kept[-1] in FILLERS):
        del kept[-1]
    return kept


def _of_each(part: _Part, reading: Reading) -> list[tuple[list[str], tuple[Act, ...]]]:
    """The words of each act. All have the verb, and what follows the last object if they have no place of their own."""
    words, acts, _ = part
    spans, after = [], 0
    for act in acts:
        mention = [] if act.target is None else reading.mentions[act.target].split()
        starts = (i for i in range(after, len(words)) if words[i : i + len(mention)] == mention)
        start = next(starts, None) if mention else None
        if start is None:
            return [(words, acts[:1])]  # which they do not say alone
        after = start + len(mention)
        spans.append((start, after))
    verb = [word for word in words[: spans[0][0]] if word != "both"]
    tails = [
        _trimmed(words[after:end])
        for (_, after), (end, _) in zip(spans, [*spans[1:], (len(words), 0)], strict=True)
    ]
    rest = ["it" if word == "them" else word for word in words[after:]]
    return [
        ([*verb, *words[start:after], *(tail or rest)], (act,))
        for (start, after), tail, act in zip(spans, [*tails[:-1], rest], acts, strict=True)
    ]


def _spelled_out(words: list[str], acts: Sequence[Act], reading: Reading) -> Iterator[str]:
    """The words, and with a pronoun replaced by each object that it may stand for."""
    yield " ".join(words)
    indices = dict.fromkeys(i for act in acts for i in (act.target, *act.places, act.tool) if i is not None)
    for at, word in enumerate(words):
        if word in PRONOUNS:
            yield from (" ".join([*words[:at], reading.mentions[i], *words[at + 1 :]]) for i in indices)


def _asks_for(text: str, acts: Sequence[Act], reading: Reading) -> bool:
    """Whether a text asks for these acts and no other, as the whole sentence does."""
    if not SWAPPING.isdisjoint(text.split()) or " is " in text or " are " in text:
        return False
    try:
        alone = read_instruction(text)
    except InspireError:
        return False
    return [_in_words(act, alone) for act in alone.acts] == [_in_words(act, reading) for act in acts]


def _in_words(act: Act, reading: Reading) -> tuple[object, ...]:
    """An act with its objects by name. What stands on top of an object stands on the object."""
    places = (act.target, act.goal, act.source, act.tool, *act.beside)
    named = ("" if i is None else reading.mentions[i] for i in places)
    return act.touch, act.push, *(name.removeprefix("top of ") for name in named)
