"""The things of a clause with the places said after them, and which of those places are things of their own."""

from dataclasses import dataclass, field

from inspire_vla.instruction.lexicon import TOOL_USING, VERBS


@dataclass
class Place:
    """A preposition with what stands behind it. `link` is "that is" and the like, kept for the wording."""

    preposition: str
    kind: str
    things: list[str]
    link: str = ""
    is_side: bool = False
    """Behind the preposition stands a side ("at the front"), not a thing."""

    @property
    def words(self) -> str:
        """The place as it was said."""
        return " ".join(filter(None, (self.link, self.preposition, " and ".join(self.things))))

    @property
    def own_mentions(self) -> list[str]:
        """What to ask about if the place is a thing of its own."""
        if self.is_side:
            return []
        if self.kind == "top":
            article = "the " if self.preposition.endswith("the top of") else ""
            return [f"{article}top of {thing}" for thing in self.things]
        return self.things


@dataclass
class Thing:
    """A thing acted on and the places said after it; `name` is empty for "it" and for no thing at all."""

    name: str
    places: list[Place] = field(default_factory=list)


def mentions_of(thing: Thing, verb: str | None) -> list[str]:
    """Decide which places belong to a thing and which are things of their own.

    - "toward" places ("into", "away from") are always their own; what follows one describes it.
    - placing verbs need a goal: the last place on or in a thing, else the last place of all; places before it describe
      what is moved, places after it the goal.
    - taking verbs: the source is a thing of its own.
    - other verbs: every place describes what is acted on.
    - "with" names a tool for verbs that use one, else it describes.
    """
    kind = VERBS.get(verb or "", "holding")
    goal = _goal(thing, kind)
    current = thing.name
    found: list[str] = []
    for i, place in enumerate(thing.places):
        own = (
            i == goal
            or place.kind == "toward"
            or (place.kind == "source" and kind == "taking")
            or (place.kind == "source" and any(p.kind in ("toward", "side") for p in thing.places[i + 1 :]))
            or (place.kind == "instrument" and verb in TOOL_USING)
        ) and not place.link
        if own:
            found += [current] if current else []
            mentions = place.own_mentions
            found += mentions[:-1]
            current = mentions[-1] if mentions else ""
        elif current:
            current = f"{current} {place.words}"
        elif not place.is_side:
            found += place.own_mentions[:-1]
            current = place.own_mentions[-1] if place.own_mentions else ""
    return found + ([current] if current else [])


def _goal(thing: Thing, kind: str) -> int | None:
    """Index of the place a thing is brought to or taken from, if the verb has such."""
    if kind == "holding" or any(place.kind == "toward" for place in thing.places):
        return None
    places = [i for i, place in enumerate(thing.places) if not place.link and place.kind != "instrument"]
    real = [i for i in places if not thing.places[i].is_side and thing.places[i].kind != "source"]
    strong = [i for i in real if thing.places[i].kind in ("surface", "top")]
    if strong or real:
        return (strong or real)[-1]
    return places[-1] if places and kind == "placing" and thing.places[places[-1]].is_side else None
