"""Answer, then act: the decoding of dialogues. Start reading at `decode.py`.

decode.py    the loop: propose, one pass, hear            grammar.py   what may be said when
line.py      a row: guesses held against the model        choices.py   closed sets, confidences
growing.py   ragged rows over one growing cache           decision.py  what the caller sees
"""

from inspire_vla.decoding.choices import AnswerSet, Choice, ClosedSet, choose
from inspire_vla.decoding.decision import Decision
from inspire_vla.decoding.decode import decode
from inspire_vla.decoding.grammar import Grammar
from inspire_vla.decoding.growing import GrowingSequences

__all__ = ["AnswerSet", "Choice", "ClosedSet", "Decision", "Grammar", "GrowingSequences", "choose", "decode"]
