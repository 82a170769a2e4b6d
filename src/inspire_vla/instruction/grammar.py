"""A small grammar of requests:

    request      = clause ("and" clause)*
    clause       = filler* verb particle? objects
    objects      = noun phrase ("and" noun phrase)*, each with its prepositional phrases
    noun         = determiner? word+ ("of" noun)?
    prepositional phrase = preposition noun            (… "between" noun "and" noun)

A grammar cannot decide alone whether a prepositional phrase describes the noun before it ("the bowl on the plate") or
names another object ("put the bowl | on the plate"). The class of the verb decides; see `phrases.mentions_of`.
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
from inspire_vla.instruction.phrases import NounPhrase, PrepositionalPhrase, mentions_of
from inspire_vla.instruction.words import BREAK, base_verb, corrected_verb


class Parser:
    """Reads words from left to right; `position` is the index of the next word."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.position = 0

    def mentions(self) -> list[str]:
        """Every object that is named, in order, repeats included."""
        found: list[str] = []
        while self.position < len(self.words):
            before = self.position
            found += self._clause()
            self.position += self.position == before  # skip a word that fits no rule
        return found

    # --- clauses

    def _clause(self) -> list[str]:
        self._skip_fillers()
        verb = self._verb()
        found: list[str] = []
        while True:
            if self.word in ("and", BREAK):
                while self.word in ("and", "then", "also", "finally", BREAK):
                    self.position += 1
                if self._verb_follows():
                    return found
            before = self.position
            noun = self._noun_phrase(verb)
            if self.position == before:
                return found
            found += mentions_of(noun, verb)
            if self.word == "to" and self._verb_follows(1):
                self.position += 1
                return found
            if self.word not in ("and", BREAK) and self.word not in DETERMINERS:
                return found

    def _skip_fillers(self) -> None:
        while self.word in FILLERS or self.word == BREAK:
            if self._verb_follows() and self.word not in ("help", "go", "will", "can"):
                return
            self.position += 1

    def _verb(self) -> str | None:
        if self.word is None or self.word in DETERMINERS or self._preposition()[0]:
            return None
        verb = corrected_verb(self.word)
        if verb is None:
            if self.word_after(1) in DETERMINERS:  # an unknown verb: "defenestrate the cup"
                self.position += 1
            return None
        self.position += 1
        if self.word in PARTICLES.get(verb, ()) and not (verb == "put" and self.word == "in"):
            following = self.word_after(1)
            # "turn on the stove", "pull out the drawer"; but not "move left of the cup", "put down to the left"
            if following != "of" and not (self.word in SIDES and following == "to"):
                self.position += 1
        return verb

    def _verb_follows(self, distance: int = 0) -> bool:
        """Whether a clause begins here: with a verb, not with a noun that looks like one ("the clean plate").

        A noun may stand here too ("the bowl and plate"), so a misspelt verb counts only if its object follows.
        """
        at = self.position + distance
        while at < len(self.words) and self.words[at] in ("then", "finally", "also", "please"):
            at += 1
        if at >= len(self.words) or self.words[at] in DETERMINERS:
            return False
        is_verb = base_verb(self.words[at]) is not None
        if self.words[at] in ADJECTIVES or self.words[at] in SIDES:
            return is_verb and self._object_follows(at)
        if is_verb:
            return True
        verb = corrected_verb(self.words[at])
        if verb is not None and at + 1 < len(self.words) and self.words[at + 1] in PARTICLES.get(verb, ()):
            at += 1
        return verb is not None and self._object_follows(at)

    def _object_follows(self, at: int) -> bool:
        following = self.words[at + 1] if at + 1 < len(self.words) else None
        return following in ("it", "them") or (
            following in DETERMINERS and not self._link_at(at + 1)  # "the bowl and plate that are …"
        )

    # --- nouns

    def _noun_phrase(self, verb: str | None) -> NounPhrase:
        noun = NounPhrase(self._noun(needs_determiner=verb is None))
        while True:
            link = self._link()
            preposition, length = self._preposition()
            if not length or (preposition == "to" and self._verb_follows(1)):
                return noun
            self.position += length
            phrase = self._prepositional_phrase(preposition, link)
            if phrase is not None:
                noun.prepositional.append(phrase)

    def _prepositional_phrase(self, preposition: str, link: str) -> PrepositionalPhrase | None:
        """Read what follows a preposition; None if it is neither an object nor a side."""
        while self.word in ADVERBS and self._preposition()[0] not in ("", "in", "on"):
            self.position += self._preposition()[1]
        kind, start = PREPOSITIONS[preposition], self.position
        name = self._noun()
        if not name:
            words = self.words[start : self.position]
            if not any(word in SIDES for word in words):
                return None
            return PrepositionalPhrase(preposition, kind, [" ".join(words)], link, is_side=True)
        nouns = [name]
        if "between" in preposition and self.word == "and" and not self._verb_follows(1):
            self.position += 1
            nouns.append(self._noun())
        return PrepositionalPhrase(preposition, kind, list(filter(None, nouns)), link)

    def _noun(self, needs_determiner: bool = False) -> str:
        """Read a noun with its of-phrases; "" if a pronoun, a side or nothing stands here."""
        if needs_determiner and self.word not in DETERMINERS:
            self._skip_to_noun()
            return ""
        parts: list[str] = []
        while True:
            name, nouns, may_continue = self._noun_part()
            parts.append(name)
            if not (self.word == "of" and may_continue):
                break
            self.position += 1
        is_pronoun = name in PRONOUN_PHRASES or (len(nouns) == 1 and nouns[0] in PRONOUNS)
        if is_pronoun or all(word in SIDES or word in ADVERBS for word in nouns):
            return ""
        return " of ".join(parts)

    def _noun_part(self) -> tuple[str, list[str], bool]:
        """Read determiners and nouns: return the text, the nouns alone, and whether an of-phrase may follow."""
        start = self.position
        if self.word == "both":
            self.position += 1
            if self.word in DETERMINERS:  # "both the soup and the sauce": two objects, each with its article
                start = self.position
        while self.word in DETERMINERS and not (self.word in PRONOUNS and self._noun_ends(1)):
            self.position += 1
        head = self.position
        while not self._noun_ends():
            self.position += 2 if self.word == "and" else 1
        end = self.position
        while end > head + 1 and self.words[end - 1] in ADVERBS:
            end -= 1
        end = self._without_measure(head, end)
        return " ".join(self.words[start:end]), self.words[head:end], head < end == self.position

    def _skip_to_noun(self) -> None:
        """Skip words that no verb introduces, up to a determiner, a preposition or a verb."""
        start = self.position
        while self.word is not None and self.word not in (BREAK, "and") and self.word not in DETERMINERS:
            if self._preposition()[1] or (self.position > start and base_verb(self.word)):
                return
            self.position += 1

    def _without_measure(self, head: int, end: int) -> int:
        """End of the noun without "90 degrees" in "the block 90 degrees"."""
        number = end - 1
        if end > head and self.words[number] in MEASURES:
            while number > head and self.words[number - 1].isdigit():
                number -= 1
        return number if number < end - 1 else end

    def _noun_ends(self, distance: int = 0) -> bool:
        at = self.position + distance
        word = self.word_after(distance)
        if word is None or word in (BREAK, "of", "then") or word in STOPS or word in PARTICIPLES:
            return True
        if word == "and":
            return not self._joins_adjectives(at)
        if word in DETERMINERS or (word in PRONOUNS and word not in ("one", "ones")):
            return True
        if self._link_at(at) or self._preposition(at)[1]:
            return True
        # "from the drawer | grasp the block": a verb with its own object, after a noun
        previous = self.words[at - 1] if at else None
        return (
            previous is not None
            and previous not in DETERMINERS
            and previous not in ADJECTIVES
            and base_verb(word) is not None
            and word not in ADJECTIVES
            and (self._has_particle(at) or (self._is_determiner(at + 1) and not self._link_at(at + 1)))
        )

    def _is_determiner(self, at: int) -> bool:
        return at < len(self.words) and self.words[at] in DETERMINERS

    def _has_particle(self, at: int) -> bool:
        return (
            at + 2 < len(self.words)
            and self.words[at] in ("pick", "turn", "switch", "lift")
            and self.words[at + 1] in PARTICLES[self.words[at]]
        )

    def _joins_adjectives(self, at: int) -> bool:
        """ "yellow and white mug": the words around "and" are both adjectives."""
        return (
            0 < at < len(self.words) - 2
            and self.words[at - 1] in ADJECTIVES
            and self.words[at + 1] in ADJECTIVES
        )

    # --- the next words

    @property
    def word(self) -> str | None:
        """The next word."""
        return self.word_after(0)

    def word_after(self, distance: int) -> str | None:
        """The word `distance` words after the next one."""
        at = self.position + distance
        return self.words[at] if at < len(self.words) else None

    def _preposition(self, at: int | None = None) -> tuple[str, int]:
        """The longest preposition that begins here and its number of words, or ("", 0)."""
        at = self.position if at is None else at
        for length in range(min(LONGEST_PREPOSITION, len(self.words) - at), 0, -1):
            phrase = " ".join(self.words[at : at + length])
            if phrase in PREPOSITIONS:
                return phrase, length
        return "", 0

    def _link(self) -> str:
        """Read "that is", "lying" and the like, if a preposition follows; else ""."""
        for length in self._link_lengths(self.position):
            if self._preposition(self.position + length)[1]:
                link = " ".join(self.words[self.position : self.position + length])
                self.position += length
                return link
        return ""

    def _link_at(self, at: int) -> bool:
        """Whether "that is", "lying" or the like stands at index `at`."""
        return bool(self._link_lengths(at))

    def _link_lengths(self, at: int) -> list[int]:
        """Numbers of words of the links that begin at index `at`, longest first."""
        found: list[int] = []
        for length in (3, 2, 1):
            phrase = self.words[at : at + length]
            *first, last = phrase or [""]
            is_link = " ".join(phrase) in RELATIVES or (
                last in PARTICIPLES and (not first or " ".join(first) in RELATIVES)
            )
            if is_link and len(phrase) == length:
                found.append(length)
        return found
