"""Which of an instruction's objects is acted on, and which is where it goes.

put the red cube on the plate            carry(red cube → plate)
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
"""Acts that may be done without holding anything."""
_PUSHING = frozenset("close shut push slide".split())
"""Of these, acts that move the thing on ahead of the hand."""
_SHIFTED = frozenset(("beside", "side"))
_AWAY = frozenset(("from", "off", "out of", "off of", "away from"))
_PRONOUNS = ("it", "them")


@dataclass(frozen=True)
class Act:
    """Something done to mention `target`. `goal`: mention it is brought to; `aside`: next to it, not onto it.
    `source`: mention it is taken from. `touch`: may be done without holding anything; `push`: the thing then
    moves on ahead of the hand.
    """

    target: int
    goal: int | None = None
    aside: bool = False
    touch: bool = False
    push: bool = False
    source: int | None = None


def acts_of(instruction: str, mentions: tuple[str, ...]) -> tuple[Act, ...]:
    """The acts an instruction asks for, in order; `mentions` as `find_mentions` gives them."""
    words = split_words(instruction)
    spans = _spans(words, mentions)
    acts: list[Act] = []
    at, last = 0, -1
    for mention, (start, end) in spans:
        _read_pronouns(words[at:start], acts, last)
        before = words[at:start]
        preposition = _ending(before)
        verb = _last_verb(before)
        if preposition in _AWAY and acts and acts[-1].source is None:
            acts[-1] = replace(acts[-1], source=mention)
        elif preposition and acts and PREPOSITIONS[preposition] not in ("source", "instrument"):
            _bring(acts, mention, aside=PREPOSITIONS[preposition] in _SHIFTED)
        else:
            joined = verb is None and bool(acts)
            if joined:
                acts.append(Act(mention, touch=acts[-1].touch, push=acts[-1].push))
            else:
                acts.append(Act(mention, touch=verb in _TOUCHING, push=verb in _PUSHING))
        at, last = end, mention
    _read_pronouns(words[at:], acts, last)
    return tuple(acts)


def _bring(acts: list[Act], goal: int, aside: bool) -> None:
    """Every act still without a goal that was asked for just now goes there."""
    for i in range(len(acts) - 1, -1, -1):
        if acts[i].goal is not None and i < len(acts) - 1:
            return
        if acts[i].goal is not None:  # "stack A on B and place them in C": B, with A on it, is what moves
            acts.append(Act(acts[i].goal, goal, aside))  # type: ignore[arg-type]
            return
        if i < len(acts) - 1 and acts[i].touch != acts[-1].touch:
            return
        acts[i] = replace(acts[i], goal=goal, aside=aside)


def _read_pronouns(words: list[str], acts: list[Act], last: int) -> None:
    """ "… on it" gives the last act a goal; "… and close it" is an act of its own."""
    for i, word in enumerate(words):
        if word not in _PRONOUNS or not acts:
            continue
        earlier = words[:i]
        if _ending(earlier) and acts[-1].goal is None and len(acts) > 1:
            acts[-1] = replace(acts[-1], goal=acts[-2].target)
        elif (verb := _last_verb(earlier)) in _TOUCHING and last >= 0:
            act = Act(last, touch=True, push=verb in _PUSHING)
            if acts[-1] != act:
                acts.append(act)


def _spans(words: list[str], mentions: tuple[str, ...]) -> list[tuple[int, tuple[int, int]]]:
    """Where each mention stands, in the order of the words; again where it is named again."""
    found: list[tuple[int, tuple[int, int]]] = []
    cut = sorted(((m.split(), i) for i, m in enumerate(mentions)), key=lambda pair: -len(pair[0]))
    at = 0
    while at < len(words):
        for mention, index in cut:
            if words[at : at + len(mention)] == mention:
                found.append((index, (at, at + len(mention))))
                at += len(mention) - 1
                break
        at += 1
    return found


def _ending(words: list[str]) -> str:
    """The longest preposition that ends here, unless it is a verb's particle ("turn on")."""
    for start in range(max(0, len(words) - 6), len(words)):
        phrase = " ".join(words[start:])
        if phrase in PREPOSITIONS:
            verb = base_verb(words[start - 1]) if start else None
            is_particle = len(words) - start == 1 and phrase in PARTICLES.get(verb or "", ())
            return "" if is_particle and not (verb == "put" and phrase == "in") else phrase
    return ""


def _last_verb(words: list[str]) -> str | None:
    for word in reversed(words):
        if word not in ("left", "right", "close") or word == "close":
            verb = base_verb(word)
            if verb is not None:
                return verb
    return None
