"""Noun phrases with the prepositional phrases after them, and which of these name objects of their own."""

from dataclasses import dataclass, field

from inspire_vla.instruction.lexicon import TOOL_VERBS, VERBS


@dataclass
class PrepositionalPhrase:
    """A preposition and the noun phrases after it.

    kind: of the preposition, see `lexicon.PREPOSITIONS`. link: words such as "that is" before it. is_side: after the
    preposition stands a side ("at the front"), not an object.
    """

    preposition: str
    kind: str
    nouns: list[str]
    link: str = ""
    is_side: bool = False

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
            return [f"{article}top of {noun}" for noun in self.nouns]
        return self.nouns


@dataclass
class NounPhrase:
    """An object that a verb acts on; `name` is empty for a pronoun, or if the verb has no object."""

    name: str
    prepositional: list[PrepositionalPhrase] = field(default_factory=list)


def mentions_of(noun: NounPhrase, verb: str | None) -> list[str]:
    """Decide which prepositional phrases describe the noun, and which name objects of their own.

    - Phrases of kind "toward" ("into", "away from") always name another object. What follows them describes it.
    - Placing verbs need a goal: the last phrase with "on" or "in", else the last phrase. Phrases before it describe
      what is moved; phrases after it describe the goal.
    - After taking verbs, a phrase with "from" names another object.
    - After other verbs, every phrase describes what is acted on.
    - A phrase with "with" names a tool after verbs that use one; else it describes.
    """
    kind = VERBS.get(verb or "", "holding")
    goal = _goal(noun, kind)
    current = noun.name
    found: list[str] = []
    for i, phrase in enumerate(noun.prepositional):
        goes_on = any(later.kind in ("toward", "side") for later in noun.prepositional[i + 1 :])
        is_own = not phrase.link and (
            i == goal
            or phrase.kind == "toward"
            or (phrase.kind == "source" and (kind == "taking" or goes_on))
            or (phrase.kind == "instrument" and verb in TOOL_VERBS)
        )
        if is_own:
            found += [current] if current else []
        elif current:
            current = f"{current} {phrase.text}"
            continue
        if is_own or not phrase.is_side:
            *others, current = phrase.mentions or [""]
            found += others
    return found + ([current] if current else [])


def _goal(noun: NounPhrase, kind: str) -> int | None:
    """Index of the phrase that names where the object is brought to or taken from, if the verb has one."""
    phrases = noun.prepositional
    if kind == "holding" or any(phrase.kind == "toward" for phrase in phrases):
        return None
    possible = [i for i, phrase in enumerate(phrases) if not phrase.link and phrase.kind != "instrument"]
    objects = [i for i in possible if not phrases[i].is_side and phrases[i].kind != "source"]
    surfaces = [i for i in objects if phrases[i].kind in ("surface", "top")]
    if surfaces or objects:
        return (surfaces or objects)[-1]
    return possible[-1] if possible and kind == "placing" and phrases[possible[-1]].is_side else None
