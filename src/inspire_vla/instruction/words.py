"""Splits an instruction into words, and corrects typing errors in closed-class words ("teh", "pikc up")."""

import re
from collections.abc import Collection

from inspire_vla.instruction.lexicon import (
    ADJECTIVES,
    ADJUNCTS,
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
"""The word for any punctuation between two parts."""

_WORD = re.compile(r"[^\W_]+(?:(?:['’.\-&]|\x00&\x00)[^\W_]+)*|[,;:.!?()\[\]\n]")
_BRAND = re.compile(r"(?<!^)\b([A-Z][\w']*) (?:&|\+) (?=[A-Z])")
"""Two names in capitals around "&": "Head & Shoulders"."""
_NUMBERING = re.compile(r"(?:^|(?<=\s))\(?\d+[.)](?=\s)")
_CHOICE = re.compile(r"(?<=[^\W\d_])/(?=[^\W\d_])")
_VERBS_JOINED = re.compile(r"\b([^\W\d_]+)&([^\W\d_]+)\b")
_ADVERBIAL = re.compile(rf"\b({'|'.join(sorted(ADVERB_PHRASES, key=len, reverse=True))})\b")
_ADJUNCT = re.compile("|".join(ADJUNCTS))
_OCCASION = re.compile(rf"{OCCASION}(?:(?!\bthe\b).)*?(?={REQUEST})")
_RESULT = re.compile(RESULT)
_MISPLACED_SPACE = re.compile(r"\b(on|in|into|onto|to|of|at|from|up|and|open|close|under)t he ")
_SHORT = {"the", "and", "next"} | {p for p in PREPOSITIONS if " " not in p}
_REAL = {"form", "no", "not", "pot", "top", "net", "den", "ten", "won", "own", "fan"}
_CORRECT = _SHORT | set(VERBS) | DETERMINERS | _REAL


def split_words(instruction: str) -> list[str]:
    """Return the instruction's words in lower case, with punctuation as BREAK and typing errors corrected.

    A colour in brackets is put before its noun: "the cube (red)" is read as "the red cube". "&" is "and", except in
    a brand's name, which is one word. "/" between words is "or".
    """
    text = instruction.replace("’", "'").replace("_", " ")
    if not text.istitle() and not text.isupper():
        text = _BRAND.sub("\\1\x00&\x00", text)
    text = re.sub(r"(?<=\s)&(?=\s)", "and", _CHOICE.sub(" or ", text)).lower()
    text = _VERBS_JOINED.sub(_separated, _NUMBERING.sub(" , ", text))
    text = _RESULT.sub(r"put \1 ", _OCCASION.sub("", text.strip()))
    text = _ADJUNCT.sub(" ", _ADVERBIAL.sub(" ", text))
    text = _MISPLACED_SPACE.sub(r"\1 the ", text)
    words: list[str] = []
    for word in _without_brackets(_WORD.findall(text)):
        if not word[0].isalnum():
            word = BREAK
        elif 3 <= len(word) <= 4 and word not in _CORRECT:
            word = _unswap(word, _SHORT) or word
        if word != BREAK or (words and words[-1] != BREAK):
            words.append(word.replace("\x00", " "))
    while words and words[-1] == BREAK:
        words.pop()
    return words


def _separated(joined: re.Match[str]) -> str:
    """ "pick&place" is two verbs; "m&m" is a name."""
    one, two = joined.groups()
    return f"{one} and {two}" if base_verb(one) and base_verb(two) else joined.group()


def _without_brackets(words: list[str]) -> list[str]:
    """Move adjectives in brackets before their noun, keep a place in brackets, and remove other brackets."""
    kept: list[str] = []
    i = 0
    while i < len(words):
        if words[i] not in "([":
            kept.append(words[i])
            i += 1
            continue
        end = next((j for j in range(i, len(words)) if words[j] in ")]"), len(words))
        inside = words[i + 1 : end]
        if inside and all(word in ADJECTIVES or word in ("one", "colour", "color") for word in inside):
            start = len(kept)
            while start and _may_be_in_a_name(kept[start - 1]):
                start -= 1
            if start == 0 and kept and base_verb(kept[0]):  # "grab cube (red)"
                start = 1
            kept[start:start] = [word for word in inside if word in ADJECTIVES]
        elif inside and any(" ".join(inside[:n]) in PREPOSITIONS for n in (1, 2, 3, 4)):
            kept += inside
        i = end + 1
    return kept


def _may_be_in_a_name(word: str) -> bool:
    return (
        word[0].isalnum()
        and word not in DETERMINERS
        and word not in PREPOSITIONS
        and word not in ("and", "up", "down", "off", "then", "of")
    )


def base_verb(word: str) -> str | None:
    """The base form of a known verb ("placed" → "place"), or None."""
    return next((candidate for candidate in _stems(word) if candidate in VERBS), None)


def corrected_verb(word: str) -> str | None:
    """As `base_verb`, but one typing error is corrected ("opne" → "open"). Only where a verb must stand."""
    base = base_verb(word)
    if base is not None or len(word) < 4:
        return base
    near = sorted(verb for verb in VERBS if len(verb) > 3 and _differs_by_one(word, verb))
    return near[0] if near else _unswap(word, VERBS)


def _unswap(word: str, choices: Collection[str]) -> str | None:
    """The choice that the word becomes if two neighbouring letters are swapped, or None."""
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


def _differs_by_one(word: str, other: str) -> bool:
    """Whether one letter is missing, added or wrong, but not the first."""
    if word[0] != other[0] or abs(len(word) - len(other)) > 1:
        return False
    i = 0
    while i < min(len(word), len(other)) and word[i] == other[i]:
        i += 1
    return word[i + 1 :] == other[i + 1 :] or word[i:] == other[i + 1 :] or word[i + 1 :] == other[i:]
