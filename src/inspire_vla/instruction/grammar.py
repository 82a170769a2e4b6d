"""A small grammar of requests: clauses of a verb, the things it acts on, and places.

    request   = clause ("and" clause)*
    clause    = fillers verb particle? things
    things    = thing place* ("and" thing place*)*
    thing     = determiner? word+ ("of" thing)?
    place     = preposition thing            (… "between" thing "and" thing)

The one question a grammar cannot answer alone is whether a place belongs to the thing before it ("the bowl on the
plate") or is a thing of its own ("put the bowl | on the plate"). The verb's class decides; see `things.mentions_of`.
"""

from inspire_vla.instruction.lexicon import (
    ADJECTIVES,
    ADVERBS,
    DETERMINERS,
    FILLERS,
    LONGEST_PREPOSITION,
    MEASURES,
    PARTICIPLES,
    PARTICLES,
    PREPOSITIONS,
    PRONOUN_PHRASES,
    PRONOUNS,
    RELATIVES,
    SIDES,
    STOPS,
)
from inspire_vla.instruction.things import Place, Thing, mentions_of
from inspire_vla.instruction.words import BREAK, base_verb, mended_verb


class Parser:
    """Reads a row of words from left to right. `mentions()` gives what was named, in order."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.at = 0

    def mentions(self) -> list[str]:
        """Everything named, in order, repeats included."""
        found: list[str] = []
        while self.at < len(self.words):
            before = self.at
            found += self._clause()
            self.at += self.at == before  # a word no rule wants
        return found

    # --- clauses

    def _clause(self) -> list[str]:
        self._skip_fillers()
        verb = self._verb()
        found: list[str] = []
        while True:
            if self.word in ("and", BREAK):
                self._skip_joints()
                if self._verb_ahead():
                    return found
            before = self.at
            thing = self._thing_with_places(verb)
            if self.at == before:
                return found
            found += mentions_of(thing, verb)
            if self.word == "to" and self._verb_ahead(1):
                self.at += 1
                return found
            if self.word not in ("and", BREAK) and self.word not in DETERMINERS:
                return found

    def _skip_fillers(self) -> None:
        while self.word in FILLERS or self.word == BREAK:
            if self._verb_ahead() and self.word not in ("help", "go", "will", "can"):
                return
            self.at += 1

    def _skip_joints(self) -> None:
        while self.word in ("and", "then", "also", "finally", BREAK):
            self.at += 1

    def _verb(self) -> str | None:
        if self.word is None or self.word in DETERMINERS or self._preposition()[0]:
            return None
        verb = mended_verb(self.word)
        if verb is None:
            if self.word_after(1) in DETERMINERS:  # a verb nobody told us of: "defenestrate the cup"
                self.at += 1
            return None
        self.at += 1
        if self.word in PARTICLES.get(verb, ()) and not (verb == "put" and self.word == "in"):
            following = self.word_after(1)
            # "turn on the stove", "pull out the drawer"; but not "move left of the cup", "put down to the left"
            if following != "of" and not (self.word in SIDES and following == "to"):
                self.at += 1
        return verb

    def _verb_ahead(self, distance: int = 0) -> bool:
        """Whether a clause begins here: a verb, and not a noun that looks like one ("the clean plate").

        A noun may also stand here ("the bowl and plate"), so a misspelt verb counts only where its object follows.
        """
        at = self.at + distance
        while at < len(self.words) and self.words[at] in ("then", "finally", "also", "please"):
            at += 1
        if at >= len(self.words) or self.words[at] in DETERMINERS:
            return False
        if self.words[at] in ADJECTIVES or self.words[at] in SIDES:
            return base_verb(self.words[at]) is not None and self._object_follows(at)
        if base_verb(self.words[at]) is not None:
            return True
        verb = mended_verb(self.words[at])
        if verb is not None and at + 1 < len(self.words) and self.words[at + 1] in PARTICLES.get(verb, ()):
            at += 1
        return verb is not None and self._object_follows(at)

    def _object_follows(self, at: int) -> bool:
        following = self.words[at + 1] if at + 1 < len(self.words) else None
        return following in ("it", "them") or (
            following in DETERMINERS and not self._link(at + 1, peek=True)  # "the bowl and plate that are …"
        )

    # --- things

    def _thing_with_places(self, verb: str | None) -> Thing:
        thing = Thing(self._thing(needs_determiner=verb is None))
        while True:
            link = self._link()
            preposition, length = self._preposition()
            if not length or (preposition == "to" and self._verb_ahead(1)):
                return thing
            self.at += length
            place = self._place(preposition, link)
            if place is not None:
                thing.places.append(place)

    def _place(self, preposition: str, link: str) -> Place | None:
        while self.word in ADVERBS and self._preposition()[1] and self._preposition()[0] not in ("in", "on"):
            self.at += self._preposition()[1]
        start = self.at
        name = self._thing()
        if not name:
            is_side = self.at > start and any(word in SIDES for word in self.words[start : self.at])
            said = " ".join(self.words[start : self.at])
            return (
                Place(preposition, PREPOSITIONS[preposition], [said], link, is_side=True) if is_side else None
            )
        things = [name]
        if "between" in preposition and self.word == "and" and not self._verb_ahead(1):
            self.at += 1
            things.append(self._thing())
        return Place(preposition, PREPOSITIONS[preposition], [t for t in things if t], link)

    def _thing(self, needs_determiner: bool = False) -> str:
        """Read one thing with its of-phrases; "" if a pronoun, a side or nothing stands here."""
        if needs_determiner and self.word not in DETERMINERS:
            self._skip_to_thing()
            return ""
        parts: list[str] = []
        while True:
            name, nouns, may_go_on = self._part()
            parts.append(name)
            if not (self.word == "of" and may_go_on):
                break
            self.at += 1
        is_pronoun = name in PRONOUN_PHRASES or (len(nouns) == 1 and nouns[0] in PRONOUNS)
        if is_pronoun or all(word in SIDES or word in ADVERBS for word in nouns):
            return ""
        return " of ".join(parts)

    def _part(self) -> tuple[str, list[str], bool]:
        """Determiners and nouns: the words, the nouns alone, and whether an of-phrase may follow."""
        start = self.at
        if self.word == "both":
            self.at += 1
            if self.word in DETERMINERS:  # "both the soup and the sauce": two things, each with its article
                start = self.at
        while self.word in DETERMINERS and not (self.word in PRONOUNS and self._ends_thing(1)):
            self.at += 1
        head = self.at
        while not self._ends_thing():
            self.at += 2 if self.word == "and" else 1
        end = self.at
        while end > head + 1 and self.words[end - 1] in ADVERBS:
            end -= 1
        end = self._without_measure(head, end)
        return " ".join(self.words[start:end]), self.words[head:end], head < end == self.at

    def _skip_to_thing(self) -> None:
        """Pass over words that no verb introduced, up to a determiner, a preposition or a verb."""
        start = self.at
        while self.word is not None and self.word not in (BREAK, "and") and self.word not in DETERMINERS:
            if self._preposition()[1] or (self.at > start and base_verb(self.word)):
                return
            self.at += 1

    def _without_measure(self, head: int, end: int) -> int:
        """Leave "90 degrees" and "a bit" out of "the block 90 degrees"."""
        number = end - 1
        if end > head and self.words[number] in MEASURES:
            while number > head and self.words[number - 1].isdigit():
                number -= 1
        return number if number < end - 1 else end

    def _ends_thing(self, distance: int = 0) -> bool:
        at = self.at + distance
        word = self.word_after(distance)
        if word is None or word == BREAK or word == "of" or word in STOPS or word in PARTICIPLES:
            return True
        if word == "and":
            return not self._joins_adjectives(at)
        if word == "then":
            return True
        previous = self.words[at - 1] if at else None
        if word in DETERMINERS:
            return True
        if word in PRONOUNS and word not in ("one", "ones"):
            return True
        if self._link(at, peek=True) or self._preposition(at)[1]:
            return True
        # "from the drawer | grasp the block": a verb with its own object, behind a noun
        return (
            previous is not None
            and previous not in DETERMINERS
            and previous not in ADJECTIVES
            and base_verb(word) is not None
            and word not in ADJECTIVES
            and (self._has_particle(at) or (self._determiner(at + 1) and not self._link(at + 1, peek=True)))
        )

    def _determiner(self, at: int) -> bool:
        return at < len(self.words) and self.words[at] in DETERMINERS

    def _has_particle(self, at: int) -> bool:
        return (
            at + 2 < len(self.words)
            and self.words[at] in ("pick", "turn", "switch", "lift")
            and self.words[at + 1] in PARTICLES[self.words[at]]
        )

    def _joins_adjectives(self, at: int) -> bool:
        """ "yellow and white mug": the words around "and" both describe."""
        return (
            0 < at < len(self.words) - 2
            and self.words[at - 1] in ADJECTIVES
            and self.words[at + 1] in ADJECTIVES
        )

    # --- small words

    @property
    def word(self) -> str | None:
        """The word at hand."""
        return self.word_after(0)

    def word_after(self, distance: int) -> str | None:
        """The word so many places on."""
        at = self.at + distance
        return self.words[at] if at < len(self.words) else None

    def _preposition(self, at: int | None = None) -> tuple[str, int]:
        """The longest preposition beginning here and its number of words, or ("", 0)."""
        at = self.at if at is None else at
        for length in range(min(LONGEST_PREPOSITION, len(self.words) - at), 0, -1):
            phrase = " ".join(self.words[at : at + length])
            if phrase in PREPOSITIONS:
                return phrase, length
        return "", 0

    def _link(self, at: int | None = None, peek: bool = False) -> str:
        """Read "that is", "lying" and the like where a place follows."""
        start = self.at if at is None else at
        for length in (3, 2, 1):
            phrase = self.words[start : start + length]
            text = " ".join(phrase)
            is_link = text in RELATIVES or (length == 1 and text in PARTICIPLES)
            is_link |= length > 1 and " ".join(phrase[:-1]) in RELATIVES and phrase[-1] in PARTICIPLES
            if is_link and len(phrase) == length and (peek or self._preposition(start + length)[1]):
                if not peek:
                    self.at = start + length
                return text
        return ""
