"""A small grammar of requests:

    request      = clause ("and" clause)*
    clause       = filler* verb particle? objects
    objects      = noun phrase ("and" noun phrase)*, each with its prepositional phrases
    noun         = determiner? word+ ("of" noun)?
    prepositional phrase = preposition noun            (… "between" noun "and" noun)

A grammar cannot decide alone whether a prepositional phrase describes the noun before it ("the bowl on the plate") or
names another object ("put the bowl | on the plate"). The class of the verb decides; see `phrases.name_objects`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from inspire_vla.instruction.lexicon import (
    ADJECTIVES,
    ADVERBS,
    ALSO_NOUNS,
    BODY,
    BODY_MODIFIERS,
    DETERMINERS,
    FILLERS,
    MAKING,
    MEASURES,
    NEGATED,
    NEGATORS,
    PAIRS,
    PARTICLES,
    PERSONS,
    PLACE_NOUNS,
    PREPOSITIONS,
    PRONOUN_PHRASES,
    PRONOUNS,
    QUANTIFIERS,
    SIDES,
    SINGULAR_ENDINGS,
    STOPS,
    SUPERLATIVES,
    VERBS,
)
from inspire_vla.instruction.lookahead import ONE, Lookahead
from inspire_vla.instruction.phrases import Named, NounPhrase, PrepositionalPhrase, name_objects
from inspire_vla.instruction.words import BREAK, base_verb, corrected_verb


def _may_be_several(words: Sequence[str]) -> bool:
    """Whether the words of a mention begin with a quantifier, or their noun looks like a plural: "the cubes"."""
    if words[0] in (*QUANTIFIERS, "these", "those", "every"):
        return True
    end = next((i for i, word in enumerate(words) if i and word in ("of", *PREPOSITIONS)), len(words))
    noun = words[end - 1]
    return len(noun) > 3 and noun.endswith("s") and not noun.endswith(SINGULAR_ENDINGS) and noun not in PAIRS


@dataclass(frozen=True)
class _Noun:
    """text: the words of a noun. is_object: False for a pronoun, a side, a part of the robot, or nothing."""

    text: str = ""
    is_object: bool = False
    is_pronoun: bool = False
    is_body: bool = False


class Parser(Lookahead):
    """Reads words from left to right.

    Attributes, after `parse`:
        named: the objects in the order of the sentence, repeats included.
        clauses: of each clause its first word, the word after its last, and how many of `named` it ends with.
        unclear: why the sentence cannot be read with certainty; "" if it can.
    """

    def __init__(self, words: list[str]) -> None:
        super().__init__(words)
        self.named: list[Named] = []
        self.clauses: list[tuple[int, int, int]] = []
        self.unclear = ""
        self._left_out: list[str] = []
        self._verbs: list[str | None] = []
        self._purposes: list[str] = []

    def parse(self) -> "Parser":
        """Read all words. Returns itself."""
        self._sentence()
        if not self._verbs and not self._left_out:
            self._without_verb()
        for item in self.named:
            if item.verb in MAKING and item.mention and item.use == "object":
                self.unclear = f"{item.mention!r} is there only afterwards"
        return self

    def doubts(self) -> list[str]:
        """What a person should check."""
        doubtful = [
            f"{mention!r} is not to be touched, so it is not asked about"
            for mention in dict.fromkeys(self._left_out)
        ]
        doubtful += [f"'for {mention}' is left out" for mention in self._purposes]
        if not self._verbs:
            doubtful.append("it has no verb")
        if None in self._verbs:
            doubtful.append("its verb is not known: is the object carried?")
        for item in dict.fromkeys(self.named):
            words = item.mention.split()
            if item.use == "collective":
                doubtful.append("it moves objects that it does not name: they are not asked about")
            elif words and words[-1] in ONE:
                doubtful.append(f"{item.mention!r} does not say what it is")
            elif words and _may_be_several(words):
                doubtful.append(f"{item.mention!r} may be several objects: one answer stands for all of them")
        first = self.named[0] if self.named else None
        if first is not None and first.use == "object" and not first.mention and first.pronoun:
            doubtful.append(f"it does not name what {first.pronoun!r} stands for, so that is not asked about")
        return list(dict.fromkeys(doubtful))

    def _sentence(self) -> None:
        """Read clause after clause. An "or" between two of them makes the sentence unclear, unless both are negated."""
        negated = False
        while self.position < len(self.words):
            before, count = self.position, len(self.named)
            negated = self._clause(negated)
            self.position += self.position == before  # skip a word that fits no rule
            self.clauses.append((before, self.position, len(self.named)))
            if self.word != "or":
                negated = False
                continue
            self.position += 1
            if not negated and len(self.named) > count:
                self.unclear = f"it offers a choice, {self.named[-1].mention or 'it'!r} or something else"

    def _without_verb(self) -> None:
        """Read "cube in box": the first object is brought to the second. With articles it may be one object."""
        self.position = 0
        self._skip_fillers()
        noun = self._noun_phrase("put", needs_determiner=False)
        if self.position < len(self.words) or not noun.name:
            return
        phrases = [p for p in noun.prepositional if not (p.link or p.is_side or p.is_pronoun)]
        if not any(p.kind in ("surface", "toward", "top", "beside", "side") for p in phrases):
            return
        kinds = {phrase.kind for phrase in phrases}
        has_article = noun.name.split()[0] in DETERMINERS or any(
            p.nouns[0].split()[0] in DETERMINERS for p in phrases
        )
        if has_article and kinds <= {"beside", "side"}:
            return
        if "toward" not in kinds and (has_article or kinds <= {"beside", "side"}):
            *_, last = phrases
            self.unclear = (
                f"it has no verb, so {last.text!r} may be where {noun.name!r} is, or where it is put"
            )
            return
        self.named = name_objects(noun, "put")

    # --- clauses

    def _clause(self, negated: bool) -> bool:
        """Read one clause. `negated`: it goes on after "or" in a clause that was; returns whether this one is."""
        negated |= self._skip_fillers()
        verb = self._verb()
        first = len(self.named)
        while True:
            if self.word in ("and", BREAK):
                while self.word in ("and", "then", "also", "finally", BREAK):
                    self.position += 1
                if self.verb_follows() or self.phrase_at(self.position, NEGATORS):
                    break
            before = self.position
            noun = self._noun_phrase(verb)
            if self.position == before:
                break
            self.named += self._joined(noun, verb, first) or name_objects(noun, verb)
            if self.word == "to" and self.verb_follows(1):
                self.position += 1
                break
            if self.word not in ("and", BREAK) and self.word not in DETERMINERS:
                break
        if negated:
            self._leave_out(self.named[first:])
            del self.named[first:]
        return negated

    def _joined(self, noun: NounPhrase, verb: str | None, first: int) -> list[Named]:
        """A noun after "and" that belongs to the phrase before: "next to the apple and the pear". [] if it does not."""
        placed = [item for item in self.named[first:] if item.use in ("goal", "beside")]
        if not placed or noun.prepositional or not noun.name or VERBS.get(verb or "") != "placing":
            return []
        if self.word in STOPS:  # "… and the door is closed"
            return []
        if placed[-1].use == "goal":
            self.unclear = f"{noun.name!r} may be moved, or may be where something is put"
        return [Named(noun.name, "beside", verb)]

    def _leave_out(self, named: list[Named]) -> None:
        self._left_out += [item.mention for item in named if item.mention]

    def _skip_fillers(self) -> bool:
        """Skip words before the verb; return whether they negate it."""
        negated = False
        while self.word:
            length = self.phrase_at(self.position, NEGATORS)
            if length:
                negated = True
                self.position += length
                continue
            self.position += self.subject_length()
            if self.word not in FILLERS and self.word != BREAK:
                break
            if self.verb_follows() and self.word not in ("help", "go", "will", "can", "do"):
                break
            is_noun_or_verb = self.word == "can" or (self.word in ("go", "come") and not self.verb_follows(2))
            if is_noun_or_verb and self.preposition(self.position + 1)[1]:  # "can in box", "go to the cup"
                break
            self.position += 1
        return negated

    def _verb(self) -> str | None:
        """Read a verb and its particle. None: there is none here, or it is not known."""
        if not self.word or self.word in DETERMINERS or self.preposition()[0]:
            return None
        verb = corrected_verb(self.word)
        if verb is not None and verb != base_verb(self.word) and self.goal_follows(verb):
            verb = None  # "plate in rack"
        if verb is not None and self.word in ALSO_NOUNS and not self._verbs and self.goal_follows(verb):
            return None  # "brush in cup"
        if verb is None:
            if self.word_after(1) in DETERMINERS:  # an unknown verb: "defenestrate the cup"
                self.position += 1
                self._verbs.append(None)
            return None
        self._verbs.append(verb)
        self.position += 1
        if self.word in PARTICLES.get(verb, ()) and not (verb == "put" and self.word == "in"):
            following = self.word_after(1)
            # "turn on the stove", "pull out the drawer"; but not "move left of the cup", "put down to the left"
            if following != "of" and not (self.word in SIDES and following == "to"):
                self.position += 1
        return verb

    # --- nouns

    def _noun_phrase(self, verb: str | None, needs_determiner: bool | None = None) -> NounPhrase:
        """Read a noun with its prepositional phrases; an empty one where no noun stands here."""
        start = self.position
        while self.word in PERSONS and self.word_after(1) not in ("", BREAK):  # "bring me the cup"
            self.position += 1
        noun = self._noun(needs_determiner=verb is None if needs_determiner is None else needs_determiner)
        noun_phrase = NounPhrase(noun.text if noun.is_object else "", is_body=noun.is_body)
        if noun.text and (noun.is_pronoun or noun.is_body):
            noun_phrase.stand_in = noun.text
        if (
            noun.text.split()[-1:]
            and noun.text.split()[-1] in ONE
            and noun.is_pronoun
            and self.is_described()
        ):
            noun_phrase.name, noun_phrase.stand_in = noun.text, ""  # "the one on the left"
        if noun_phrase.name:
            noun_phrase.name += self._relative_adjectives()
        while True:
            if self._skip_negated():
                continue
            link = self._link()
            preposition, length = self.preposition()
            if not length or (preposition == "to" and self.verb_follows(1)):
                return noun_phrase
            is_first = self.position == start or not (noun_phrase.name or noun_phrase.stand_in)
            self.position += length
            phrase = self._prepositional_phrase(preposition, link)
            if phrase is None:
                continue
            is_superlative = not noun_phrase.prepositional and SUPERLATIVES & set(noun_phrase.name.split())
            if preposition in ("to", "from") and is_superlative:
                phrase.kind = "describing"  # "the closest cup to the plate"
            if phrase.kind == "purpose":
                if is_first and verb is not None and not noun_phrase.prepositional and phrase.nouns:
                    noun_phrase.name = phrase.nouns[0]  # "reach for the ball"
                else:
                    self._purposes += phrase.nouns
                continue
            noun_phrase.prepositional.append(phrase)

    def _relative_adjectives(self) -> str:
        """Read " that is blue" and the like; "" if there is none."""
        for length in self.link_lengths(self.position):
            start = end = self.position + length
            while self.word_at(end) in ADJECTIVES or self.word_at(end) in ("not", "very", "the"):
                end += 1
            if end > start and self.words[end - 1] in ADJECTIVES and self.noun_ends(end - self.position):
                text = " ".join(self.words[self.position : end])
                self.position = end
                return f" {text}"
        return ""

    def _skip_negated(self) -> bool:
        """Skip what is not to be touched: "…, not the knife", "… without touching the knife"."""
        at = self.position + (self.word == BREAK)
        length = self.phrase_at(at, NEGATED)
        following, is_without = self.word_at(at + length), self.word_at(at) == "without"
        is_verb = following.endswith("ing") and (base_verb(following) is not None or is_without)
        if not length or (is_without and not is_verb):
            return False
        if self.words[at : at + length] == ["not"] and self.preposition(at + 1)[1]:
            return False  # "the cup not on the plate" describes
        if not is_verb and base_verb(following) and following not in ADJECTIVES:
            return False  # "and not move …" is a clause
        self.position = at + length
        self.position += self.preposition()[1]  # "but not on the plate"
        verb = base_verb(following) if is_verb else None
        self.position += is_verb
        while True:
            if is_verb or (self.word == "the" and self.word_after(1) in ONE):
                noun = self._noun_phrase(verb, needs_determiner=False)
            else:  # a preposition after it belongs to the object before: "everything except the knife in the drawer"
                only = self._noun()
                noun = NounPhrase(only.text if only.is_object else "")
            self._leave_out(name_objects(noun, verb))
            if self.word not in ("or", "nor", "and") or self.verb_follows(1):
                break
            self.position += 1
        if self.word == BREAK and self.preposition(self.position + 1)[1]:
            self.position += 1
        return True

    def _prepositional_phrase(self, preposition: str, link: str) -> PrepositionalPhrase | None:
        """Read what follows a preposition; None if it is neither an object nor a side."""
        while self.word in ADVERBS and self.preposition()[0] not in ("", "in", "on"):
            self.position += self.preposition()[1]
        kind, start = PREPOSITIONS[preposition], self.position
        if kind == "describing" and base_verb(self.word) is not None and self.word not in ADJECTIVES:
            return None
        noun = self._noun()
        name = noun.text if noun.is_object else ""
        if noun.is_pronoun and noun.text.split()[-1] in ONE and self.is_described():
            name = noun.text
        if name:
            name += self._relative_adjectives()
        if not name:
            words = self.words[start : self.position]
            is_person = noun.is_pronoun and words[-1] in ("me", "you", "us") and kind == "describing"
            if is_person or (noun.is_body and kind in ("beside", "describing")):
                return PrepositionalPhrase(preposition, kind, [" ".join(words)], link, is_side=True)
            if noun.is_pronoun and words and words[-1] in ("it", "them"):
                return PrepositionalPhrase(preposition, kind, [], link, is_pronoun=True)
            if noun.is_body or not any(word in SIDES for word in words):
                return None
            return PrepositionalPhrase(preposition, kind, [" ".join(words)], link, is_side=True)
        nouns = [name]
        if "between" in preposition and self.word == "and" and not self.verb_follows(1):
            self.position += 1
            other = self._noun()
            nouns.append(other.text if other.is_object else "")
        return PrepositionalPhrase(preposition, kind, list(filter(None, nouns)), link)

    def _noun(self, needs_determiner: bool = False) -> _Noun:
        """Read a noun with its of-phrases."""
        if needs_determiner and self.word not in DETERMINERS and self.word not in PRONOUNS:
            self._skip_to_noun()
            return _Noun()
        parts: list[str] = []
        while True:
            name, nouns, may_continue = self._noun_part()
            parts.append(name)
            if not (self.word == "of" and may_continue):
                break
            self.position += 1
        if len(parts) > 1 and parts[0].split()[-1] in PLACE_NOUNS:
            parts = parts[1:]
        text = " of ".join(parts)
        is_pronoun = text in PRONOUN_PHRASES or (len(nouns) == 1 and nouns[0] in PRONOUNS)
        if is_pronoun and nouns[-1:] == ["yourself"]:
            return _Noun(text, is_body=True)
        if is_pronoun:
            self.position += self.word in ("all", "both") and text in (
                "it",
                "them",
                "these",
                "those",
            )  # "them all"
            return _Noun(text, is_pronoun=True)
        if all(word in SIDES or word in ADVERBS for word in nouns):
            return _Noun()
        if len(parts) == 1 and _is_body(nouns):
            return _Noun(text, is_body=True)
        return _Noun(text, is_object=True)

    def _noun_part(self) -> tuple[str, list[str], bool]:
        """Read determiners and nouns: return the text, the nouns alone, and whether an of-phrase may follow."""
        start = self.position
        if self.word == "both":
            self.position += 1
            if self.word in DETERMINERS:  # "both the soup and the sauce": two objects, each with its article
                start = self.position
        if self.word in QUANTIFIERS and self.word_after(1) == "of":
            self.position += 2
        elif self.word == "all" and self.word_after(1) in DETERMINERS:
            self.position += 1
        while self.word in DETERMINERS and not (self.word in PRONOUNS and self.noun_ends(1)):
            self.position += 1
        head = self.position
        while not self.noun_ends():
            self.position += 2 if self.word == "and" else 1
        if self.position == head and self.word in PRONOUNS:
            self.position += 1
            return " ".join(self.words[start : self.position]), self.words[head : self.position], False
        end = self.position
        while end > head + 1 and self.words[end - 1] in ADVERBS:
            end -= 1
        end = self._without_measure(head, end)
        return " ".join(self.words[start:end]), self.words[head:end], head < end == self.position

    def _skip_to_noun(self) -> None:
        """Skip words that no verb introduces, up to a determiner, a preposition or a verb."""
        start = self.position
        while self.word and self.word not in (BREAK, "and") and self.word not in DETERMINERS:
            if self.preposition()[1] or (self.position > start and base_verb(self.word)):
                return
            self.position += 1

    def _without_measure(self, head: int, end: int) -> int:
        """End of the noun without "90 degrees" in "the block 90 degrees"."""
        number = end - 1
        if end > head and self.words[number] in MEASURES:
            while number > head and self.words[number - 1].isdigit():
                number -= 1
        return number if number < end - 1 else end

    def _link(self) -> str:
        """Read "that is", "lying" and the like, if a preposition follows; else ""."""
        for length in self.link_lengths(self.position):
            if self.preposition(self.position + length)[1]:
                link = " ".join(self.words[self.position : self.position + length])
                self.position += length
                return link
        return ""


def _is_body(nouns: list[str]) -> bool:
    """Whether a noun is the robot itself: "the left arm", but not "the toy robot"."""
    while nouns and nouns[0] in BODY_MODIFIERS:
        nouns = nouns[1:]
    return " ".join(nouns) in BODY
