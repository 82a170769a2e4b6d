"""Recognises instructions that are not English, by their script and by common words. The grammar is English only."""

import unicodedata
from collections import Counter

from inspire_vla.instruction.lexicon import VERBS

_WORDS = {
    "German": "der die das den dem des ein eine einen einem einer und auf mit aus vom zum zur nimm leg lege stell "
    "stelle setz setze gib öffne schließe drück drücke schieb schiebe neben unter über zwischen hinter "
    "vor rot rote roten roter blau blaue blauen grün gelb schwarz weiß würfel tasse tisch kiste schüssel "
    "teller becher löffel",
    "French": "le la les un une du des dans sur avec et au aux sous près entre mets met prends prend pose ouvre "
    "ouvrez ferme fermez prenez mettez placez poussez pousse appuie rouge bleu bleue vert verte jaune "
    "noir blanc boîte tasse assiette verre bol",
    "Spanish": "el la los las un una unos unas del al y con sobre dentro junto entre pon ponga coloca coloque toma "
    "coge recoge agarra abre cierra mueve empuja rojo roja azul verde amarillo negro blanco cubo caja "
    "mesa taza vaso plato",
    "Italian": "il lo la gli un una uno del della dello nel nella nello sul sulla e con sopra tra metti prendi apri "
    "chiudi poni sposta rosso rossa verde giallo scatola tazza tavolo piatto cubo",
    "Portuguese": "o os um uma do dos da das na nas num numa e com sobre pegue coloque ponha abra feche mova "
    "vermelho vermelha azul verde amarelo caixa mesa xícara copo prato cubo",
    "Dutch": "de het een en op met uit onder naast tussen van pak zet leg doe duw sluit rode blauwe groene "
    "doos kopje",
    "Swedish, Danish or Norwegian": "den det och og på med från fra ta tag lägg læg ställ sätt åpne öppna "
    "röda røde blå",
    "Polish": "weź połóż włóż na do z i czerwony niebieski klocek pudełka",
}
_LANGUAGE_OF: dict[str, list[str]] = {}
for _language, _words_of_it in _WORDS.items():
    for _word in _words_of_it.split():
        _LANGUAGE_OF.setdefault(_word, []).append(_language)
_ALSO_ENGLISH = frozenset(
    "die den des con pan met do unit op tag set put e o y i z en do ta na doe pose bol rot gib leg".split()
)
"""Foreign words that may stand in English too ("pick up the die"). They count half."""
_ENGLISH = frozenset(
    "the and into onto with of off up it them from then to out at is are left right top bottom next please "
    "this that".split()
)
_VERBS_OF_SEVERAL = frozenset("place pose move serve note tape tire mix".split())


def foreign_language(instruction: str) -> str | None:
    """Describe why an instruction is not English, with the words that show it; None if it may be English.

    >>> foreign_language("Lege den roten Würfel in die Schale")
    "German, by 'lege', 'den', 'die'"
    >>> foreign_language("put the Schale on the table")
    """
    letters = [character for character in instruction if character.isalpha()]
    other = [c for c in letters if not unicodedata.name(c, "").startswith("LATIN")]
    if len(other) * 2 > len(letters):
        script = unicodedata.name(other[0], "unknown").split()[0].capitalize()
        return f"{script.replace('Cjk', 'Chinese or Japanese')} script"
    words = [part for word in instruction.lower().split() for part in _split(word)]
    english = float(sum(word in _ENGLISH for word in words))
    english += 0.5 * sum(word in VERBS and word not in _VERBS_OF_SEVERAL for word in words)
    foreign = [word for word in words if word in _LANGUAGE_OF or word.endswith("'")]
    weight = sum(0.5 if word in _ALSO_ENGLISH else 1.0 for word in foreign)
    accented = [word for word in words if not word.isascii() and word not in foreign]
    weight += len(accented)
    if weight < 1 or weight <= english:
        return None
    counts = Counter(language for word in foreign for language in _LANGUAGE_OF.get(word, ["French"]))
    best = max(counts, key=lambda language: counts[language], default="another language")
    shown = [w for w in words if w in accented or best in _LANGUAGE_OF.get(w, ["French"] * w.endswith("'"))]
    return f"{best}, by {', '.join(map(repr, dict.fromkeys(shown)))}"


def _split(word: str) -> list[str]:
    """ "l'assiette," → "l'", "assiette"."""
    word = word.strip('.,;:!?()[]"«»¡¿').replace("’", "'")
    head, apostrophe, tail = word.partition("'")
    if apostrophe and head in ("l", "d", "qu", "j", "dell", "nell", "sull", "all") and tail:
        return [head + "'", tail]
    return [word] if word else []
