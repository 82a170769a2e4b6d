"""An instruction as a row of words, with slips in closed-class words mended ("teh", "pikc up")."""

import re
from collections.abc import Collection

from inspire_vla.instruction.lexicon import (
    ADVERB_PHRASES,
    DETERMINERS,
    IRREGULAR,
    OCCASION,
    PREPOSITIONS,
    REQUEST,
    RESULT,
    VERBS,
)

BREAK = ","
"""Stands where punctuation parts two pieces."""

_WORD = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*|[,;:.!?()\n]")
_ADVERBIAL = re.compile(rf"\b({'|'.join(ADVERB_PHRASES)})\b")
_OCCASION = re.compile(rf"{OCCASION}(?:(?!\bthe\b).)*?(?={REQUEST})")
_RESULT = re.compile(RESULT)
_LATE_SPACE = re.compile(r"\b(on|in|into|onto|to|of|at|from|up|and|open|close|under)t he ")
_SHORT = {"the", "and", "next"} | {p for p in PREPOSITIONS if " " not in p}


def split_words(instruction: str) -> list[str]:
    """Lower-case words of an instruction, punctuation as BREAK, obvious slips mended."""
    words: list[str] = []
    text = instruction.lower().replace("’", "'").replace("_", " ")
    text = _RESULT.sub(r"put \1 ", _OCCASION.sub("", text.strip()))
    text = _LATE_SPACE.sub(r"\1 the ", _ADVERBIAL.sub(" ", text))
    for word in _WORD.findall(text):
        if not word[0].isalnum():
            word = BREAK
        elif word not in DETERMINERS:
            word = _mend(word)
        if word != BREAK or (words and words[-1] != BREAK):
            words.append(word)
    while words and words[-1] == BREAK:
        words.pop()
    return words


def base_verb(word: str) -> str | None:
    """The base form of a verb we know ("placed" -> "place"), or None."""
    for candidate in _stems(word):
        if candidate in VERBS:
            return candidate
    return None


def mended_verb(word: str) -> str | None:
    """As `base_verb`, and a single slip is forgiven ("opne" -> "open"). For words where a verb must stand."""
    found = base_verb(word)
    if found is not None or len(word) < 4:
        return found
    near = sorted(verb for verb in VERBS if len(verb) > 3 and _one_slip(word, verb))
    return near[0] if near else _swapped(word, VERBS)


def _mend(word: str) -> str:
    """A short function word with two neighbouring letters swapped."""
    return (_swapped(word, _SHORT) if 3 <= len(word) <= 4 and word not in _KNOWN else None) or word


_REAL = {"form", "no", "not", "pot", "top", "net", "den", "ten", "won", "own", "fan"}
_KNOWN = _SHORT | set(VERBS) | DETERMINERS | _REAL


def _swapped(word: str, choices: Collection[str]) -> str | None:
    for i in range(len(word) - 1):
        swapped = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        if swapped != word and swapped in choices:
            return swapped
    return None


def _stems(word: str) -> list[str]:
    stems = [word, IRREGULAR.get(word, word)]
    for ending in ("ing", "ed", "es", "s", "d"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            stem = word[: -len(ending)]
            stems += [stem, stem + "e"]
            if len(stem) > 3 and stem[-1] == stem[-2]:
                stems.append(stem[:-1])
    return stems


def _one_slip(word: str, other: str) -> bool:
    """Whether one letter is missing, added or wrong."""
    if word[0] != other[0] or abs(len(word) - len(other)) > 1:
        return False
    i = 0
    while i < min(len(word), len(other)) and word[i] == other[i]:
        i += 1
    return word[i + 1 :] == other[i + 1 :] or word[i:] == other[i + 1 :] or word[i + 1 :] == other[i:]
