"""What stands at the next words of a request: a preposition, a link, the end of a noun. Nothing is read yet."""

from inspire_vla.instruction.lexicon import (
    ADJECTIVES,
    BODY,
    BODY_MODIFIERS,
    DETERMINERS,
    LONGEST_PREPOSITION,
    NEGATED,
    PARTICIPLES,
    PARTICLES,
    PREPOSITIONS,
    PRONOUNS,
    RELATIVES,
    SIDES,
    STOPS,
    SUPERLATIVES,
)
from inspire_vla.instruction.words import BREAK, base_verb, corrected_verb

ONE = ("one", "ones")


class Lookahead:
    """The words of a request, and questions about those that follow. `position` is the index of the next word."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.position = 0

    @property
    def word(self) -> str:
        """The next word; "" at the end."""
        return self.word_at(self.position)

    def word_after(self, distance: int) -> str:
        """The word `distance` words after the next one."""
        return self.word_at(self.position + distance)

    def word_at(self, at: int) -> str:
        """The word at this index; "" behind the last one."""
        return self.words[at] if at < len(self.words) else ""

    def phrase_at(self, at: int, phrases: tuple[str, ...]) -> int:
        """Number of words of the longest of `phrases` that begins at index `at`, or 0."""
        lengths = (len(p.split()) for p in phrases if self.words[at : at + len(p.split())] == p.split())
        return max(lengths, default=0)

    def preposition(self, at: int | None = None) -> tuple[str, int]:
        """The longest preposition that begins here and its number of words, or ("", 0)."""
        at = self.position if at is None else at
        for length in range(min(LONGEST_PREPOSITION, len(self.words) - at), 0, -1):
            phrase = " ".join(self.words[at : at + length])
            if phrase in PREPOSITIONS and (phrase not in SUPERLATIVES or self.word_at(at + 1) in DETERMINERS):
                return phrase, length
        return "", 0

    def link_at(self, at: int) -> bool:
        """Whether "that is", "lying" or the like stands at index `at`."""
        return bool(self.link_lengths(at))

    def link_lengths(self, at: int) -> list[int]:
        """Numbers of words of the links that begin at index `at`, longest first."""
        lengths: list[int] = []
        for length in range(min(3, len(self.words) - at), 0, -1):
            *first, last = self.words[at : at + length]
            is_participle = last in PARTICIPLES and (not first or " ".join(first) in RELATIVES)
            if is_participle or " ".join([*first, last]) in RELATIVES:
                lengths.append(length)
        return lengths

    def subject_length(self) -> int:
        """Number of words of the robot as the subject of a verb: "the robot arm picks up the cup"."""
        article = int(self.word in DETERMINERS)
        while self.word_after(article) in BODY_MODIFIERS:
            article += 1
        length = self.phrase_at(self.position + article, BODY)
        following = self.word_after(article + length)
        is_subject = length and following and base_verb(following) not in (None, following)
        return article + length if is_subject else 0

    def verb_follows(self, distance: int = 0) -> bool:
        """Whether a clause begins here: with a verb, not with a noun that looks like one ("the clean plate").

        A noun may stand here too ("the bowl and plate"), so a misspelt verb counts only if its object follows.
        """
        at = self.position + distance
        while self.word_at(at) in ("then", "finally", "also", "please", "which", "who"):
            at += 1
        word = self.word_at(at)
        if not word or word in DETERMINERS:
            return False
        is_verb = base_verb(word) is not None
        if word in ADJECTIVES or word in SIDES:
            return is_verb and self._object_follows(at)
        if is_verb:
            return True
        verb = corrected_verb(word)
        if verb is not None and self.word_at(at + 1) in PARTICLES.get(verb, ()):
            at += 1
        return verb is not None and self._object_follows(at)

    def _object_follows(self, at: int) -> bool:
        following = self.word_at(at + 1)  # no object: "the bowl and plate that are …"
        return following in ("it", "them") or (following in DETERMINERS and not self.link_at(at + 1))

    def goal_follows(self, verb: str) -> bool:
        """Whether a preposition that is no particle of the verb stands after the next word."""
        is_particle = self.word_after(1) in PARTICLES.get(verb, ())
        return bool(self.preposition(self.position + 1)[1]) and not is_particle

    def noun_ends(self, distance: int = 0) -> bool:
        """Whether a noun that is being read ends before the word `distance` words after the next one."""
        at = self.position + distance
        word = self.word_after(distance)
        if word in ("", BREAK, "of", "then") or word in STOPS or word in PARTICIPLES:
            return True
        if self.phrase_at(at, NEGATED):
            return True
        if word == "and":
            return not self._joins_adjectives(at)
        if word in DETERMINERS or (word in PRONOUNS and word not in ONE):
            return True
        if self.link_at(at) or self.preposition(at)[1]:
            return True
        # "from the drawer | grasp the block": a verb with its own object, after a noun
        previous = self.words[at - 1] if at else ""
        if not previous or previous in DETERMINERS or previous in ADJECTIVES or word in ADJECTIVES:
            return False
        has_particle = word in ("pick", "turn", "switch", "lift") and self.word_at(at + 1) in PARTICLES[word]
        has_object = self.word_at(at + 1) in DETERMINERS and not self.link_at(at + 1)
        return base_verb(word) is not None and (has_object or (has_particle and self.word_at(at + 2) != ""))

    def _joins_adjectives(self, at: int) -> bool:
        """ "yellow and white mug": the words around "and" are both adjectives."""
        around = self.words[max(at - 1, 0) : at + 3]
        return len(around) == 4 and around[0] in ADJECTIVES and around[2] in ADJECTIVES

    def is_described(self) -> bool:
        """Whether the next words tell "the one" apart: "that is blue", "on the left", "next to the cup"."""
        if self.link_at(self.position):
            return True
        preposition, length = self.preposition()
        if PREPOSITIONS.get(preposition) in ("beside", "describing"):
            return True
        at = self.position + length
        while self.word_at(at) in DETERMINERS:
            at += 1
        return bool(length) and self.word_at(at) in SIDES
