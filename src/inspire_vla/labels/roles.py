"""Roles of an instruction's objects: which one is acted on, and which one is the goal.

put the red cube on the plate                carry(red cube → plate)
open the top drawer and put the bowl in it   touch(drawer), carry(bowl → drawer)
put the mug in the microwave and close it    carry(mug → microwave), touch(microwave)
"""

from dataclasses import dataclass, replace

from inspire_vla.instruction.lexicon import PARTICLES, PREPOSITIONS
from inspire_vla.instruction.words import base_verb, split_words

_TOUCHING = frozenset(
    "open close shut turn switch toggle press push hit tap touch pull slide twist rotate flip unlock lock start stop "
    "activate deactivate light dim wipe poke".split()
)
"""Verbs that need no grasp."""
_PUSHING = frozenset("close shut push slide".split())
"""Of these, verbs that move the object in front of the end effector."""
_BESIDE = ("beside", "side")
_AWAY = ("from", "off", "out of", "off of", "away from")
_PRONOUNS = ("it", "them")
_LONGEST_PHRASE = 6


@dataclass(frozen=True)
class Act:
    """One action that the instruction asks for. Objects are indices into the mentions.

    target: what is acted on. goal: where it is brought to. aside: next to the goal, not onto it. touch: needs no
    grasp. push: the target moves in front of the end effector. source: where it is taken from.
    """

    target: int
    goal: int | None = None
    aside: bool = False
    touch: bool = False
    push: bool = False
    source: int | None = None


def acts_of(instruction: str, mentions: tuple[str, ...]) -> tuple[Act, ...]:
    """Read the acts that an instruction asks for, in order. `mentions` are those of `find_mentions`."""
    words = split_words(instruction)
    acts: list[Act] = []
    position, last = 0, -1
    for mention, (start, end) in _spans(words, mentions):
        before = words[position:start]
        _read_pronouns(before, acts, last)
        preposition, verb = _last_preposition(before), _last_verb(before)
        if preposition in _AWAY and acts and acts[-1].source is None:
            acts[-1] = replace(acts[-1], source=mention)
        elif preposition and acts and PREPOSITIONS[preposition] not in ("source", "instrument"):
            _set_goal(acts, mention, aside=PREPOSITIONS[preposition] in _BESIDE)
        elif verb is None and acts:  # "… the soup and the sauce": the same verb
            acts.append(Act(mention, touch=acts[-1].touch, push=acts[-1].push))
        else:
            acts.append(Act(mention, touch=verb in _TOUCHING, push=verb in _PUSHING))
        position, last = end, mention
    _read_pronouns(words[position:], acts, last)
    return tuple(acts)


def _set_goal(acts: list[Act], goal: int, aside: bool) -> None:
    """Set the goal of the last act, and of the acts joined to it that have none yet."""
    for i in range(len(acts) - 1, -1, -1):
        if acts[i].goal is not None:
            if i == len(acts) - 1:  # "stack A on B and place them in C": B is moved, with A on it
                acts.append(Act(acts[i].goal, goal, aside))  # type: ignore[arg-type]
            return
        if i < len(acts) - 1 and acts[i].touch != acts[-1].touch:
            return
        acts[i] = replace(acts[i], goal=goal, aside=aside)


def _read_pronouns(words: list[str], acts: list[Act], last: int) -> None:
    """ "… on it" gives the last act a goal; "… and close it" is another act."""
    for i, word in enumerate(words):
        if word not in _PRONOUNS or not acts:
            continue
        verb = _last_verb(words[:i])
        if _last_preposition(words[:i]) and acts[-1].goal is None and len(acts) > 1:
            acts[-1] = replace(acts[-1], goal=acts[-2].target)
        elif verb in _TOUCHING and last >= 0:
            act = Act(last, touch=True, push=verb in _PUSHING)
            if acts[-1] != act:
                acts.append(act)


def _spans(words: list[str], mentions: tuple[str, ...]) -> list[tuple[int, tuple[int, int]]]:
    """(mention, (start, end)) for every place where a mention stands, in the order of the words."""
    found: list[tuple[int, tuple[int, int]]] = []
    longest_first = sorted(
        ((mention.split(), i) for i, mention in enumerate(mentions)), key=lambda pair: -len(pair[0])
    )
    position = 0
    while position < len(words):
        for mention, index in longest_first:
            if words[position : position + len(mention)] == mention:
                found.append((index, (position, position + len(mention))))
                position += len(mention) - 1
                break
        position += 1
    return found


def _last_preposition(words: list[str]) -> str:
    """The longest preposition at the end of the words, "" if there is none or it is a verb's particle ("turn on")."""
    for start in range(max(0, len(words) - _LONGEST_PHRASE), len(words)):
        phrase = " ".join(words[start:])
        if phrase in PREPOSITIONS:
            verb = base_verb(words[start - 1]) if start else None
            is_particle = len(words) - start == 1 and phrase in PARTICLES.get(verb or "", ())
            return "" if is_particle and not (verb == "put" and phrase == "in") else phrase
    return ""


def _last_verb(words: list[str]) -> str | None:
    verbs = (base_verb(word) for word in reversed(words) if word not in ("left", "right"))
    return next((verb for verb in verbs if verb is not None), None)
