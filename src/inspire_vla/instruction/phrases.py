"""Noun phrases with the prepositional phrases after them, and which of these name objects of their own."""

from dataclasses import dataclass, field
from typing import Literal

from inspire_vla.instruction.lexicon import (
    AWAY,
    CLEARING,
    COLLECTIVES,
    FLUIDS,
    GRIP_PARTS,
    TOOL_VERBS,
    TOOLS,
    VERBS,
)

Use = Literal["object", "collective", "body", "goal", "beside", "source", "tool"]


@dataclass(frozen=True)
class Named:
    """One object in the place where the sentence names it.

    mention: its words; "" for a pronoun, a collective ("everything") and the robot itself. use: "object" is what the
    verb acts on, "beside" what it is brought next to. verb: base form, None if unknown. pronoun: its word.
    """

    mention: str
    use: Use
    verb: str | None
    pronoun: str = ""


@dataclass
class PrepositionalPhrase:
    """A preposition and the noun phrases after it.

    kind: of the preposition, see `lexicon.PREPOSITIONS`. link: words such as "that is" before it. is_side: after the
    preposition stands a side ("at the front") or the robot, not an object. is_pronoun: "it" or the like stands there.
    """

    preposition: str
    kind: str
    nouns: list[str]
    link: str = ""
    is_side: bool = False
    is_pronoun: bool = False

    @property
    def text(self) -> str:
        """The phrase as it was written."""
        return " ".join(filter(None, (self.link, self.preposition, " and ".join(self.nouns))))

    @property
    def mentions(self) -> list[str]:
        """The objects to ask about, if the phrase names objects of its own."""
        if self.is_side:
            return []
        if self.kind == "top":
            article = "the " if self.preposition.endswith("the top of") else ""
            return [
                noun if noun.split()[-1] in ("one", "ones") else f"{article}top of {noun}"
                for noun in self.nouns
            ]
        return self.nouns

    @property
    def use(self) -> Use:
        """What the phrase says about its object, if it is one of its own."""
        if self.preposition in AWAY:
            return "source"
        if self.kind in ("beside", "side", "describing"):
            return "beside"
        return "tool" if self.kind == "instrument" else "goal"


@dataclass
class NounPhrase:
    """An object that a verb acts on. `name` is empty if the verb has no object, or if `stand_in` stands for one.

    stand_in: a pronoun, a collective ("everything") or a part of the robot ("the gripper").
    """

    name: str
    prepositional: list[PrepositionalPhrase] = field(default_factory=list)
    stand_in: str = ""
    is_body: bool = False

    @property
    def is_collective(self) -> bool:
        """Whether it stands for objects that have not been named before."""
        return self.stand_in in COLLECTIVES


def name_objects(noun: NounPhrase, verb: str | None) -> list[Named]:
    """Decide which prepositional phrases describe the noun, and which name objects of their own.

    - Phrases of kind "toward" ("into", "away from") always name another object. What follows them describes it.
    - Placing verbs need a goal: the last phrase with "on" or "in", else the last phrase. Phrases before it describe
      what is moved; phrases after it describe the goal, except one with "from", which names a source.
    - After taking verbs, a phrase with "from" names another object, and those before it describe what is taken.
    - After other verbs, every phrase describes what is acted on.
    - A phrase with "with" names a tool after verbs that use one, or if it is one by its name; else it describes.
    - A phrase of kind "describing" ("closest to") always describes.
    """
    kind = VERBS.get(verb or "", "holding")
    phrases = [p for p in noun.prepositional if not _is_adjunct(p)]
    goal = _goal(phrases, kind, verb, noun)
    named: list[Named] = []
    if noun.stand_in:
        use: Use = "body" if noun.is_body else "collective" if noun.is_collective else "object"
        named.append(Named("", use, verb, noun.stand_in))
    elif verb in CLEARING and noun.name and not any(p.kind in ("toward", "source") for p in phrases):
        return [Named("", "collective", verb), Named(_described(noun), "source", verb)]
    current, use = noun.name, "object"
    for i, phrase in enumerate(phrases):
        goes_on = any(later.kind in ("toward", "side") for later in phrases[i + 1 :])
        is_own = not phrase.link and (
            i == goal
            or phrase.kind == "toward"
            or (phrase.kind == "source" and goes_on)
            or (
                phrase.kind == "source"
                and not phrase.is_side
                and (kind == "taking" or (goal is not None and goal < i))
            )
            or (phrase.kind == "instrument" and (verb in TOOL_VERBS or _is_tool(phrase)))
        )
        if phrase.is_pronoun:
            named += [Named(current, use, verb)] if current else []
            named.append(Named("", phrase.use, verb))
            current = ""
            continue
        if is_own:
            named += [Named(current, use, verb)] if current else []
        elif current:
            current = f"{current} {phrase.text}"
            continue
        if is_own or not phrase.is_side:
            use = phrase.use
            if noun.is_collective and not is_own:  # "everything on the table"
                use = "source"
            *others, current = phrase.mentions or [""]
            named += [Named(other, use, verb) for other in others]
    return named + ([Named(current, use, verb)] if current else [])


def _described(noun: NounPhrase) -> str:
    return " ".join([noun.name, *(phrase.text for phrase in noun.prepositional if not phrase.is_pronoun)])


def _is_adjunct(phrase: PrepositionalPhrase) -> bool:
    """Whether a phrase says with what or by which part something is done: "with water", "by its handles"."""
    if phrase.kind == "instrument":
        return bool(phrase.nouns) and set(phrase.nouns) <= FLUIDS
    return phrase.preposition == "by" and all(noun.split()[-1] in GRIP_PARTS for noun in phrase.nouns)


def _is_tool(phrase: PrepositionalPhrase) -> bool:
    return all(noun.split()[-1] in TOOLS for noun in phrase.nouns)


def _goal(phrases: list[PrepositionalPhrase], kind: str, verb: str | None, noun: NounPhrase) -> int | None:
    """Index of the phrase that names where the noun's object is brought to, if the verb has one."""
    if kind == "holding" or any(phrase.kind == "toward" for phrase in phrases):
        return None
    if kind == "taking" and verb != "pull":
        return None
    possible = [
        i
        for i, phrase in enumerate(phrases)
        if not phrase.link and not phrase.is_pronoun and phrase.kind not in ("instrument", "describing")
    ]
    objects = [i for i in possible if not phrases[i].is_side and phrases[i].kind != "source"]
    surfaces = [i for i in objects if phrases[i].kind in ("surface", "top")]
    if objects and noun.stand_in and not noun.is_collective:
        return objects[0]  # "it" is not described
    if surfaces or objects:
        return (surfaces or objects)[-1]
    return possible[-1] if possible and kind == "placing" and phrases[possible[-1]].is_side else None
