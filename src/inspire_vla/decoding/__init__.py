"""Answer, then act: the decoding of dialogues. Start reading at `decode.py`."""

from inspire_vla.decoding.choices import AnswerSet, Choice, choose
from inspire_vla.decoding.decision import Decision
from inspire_vla.decoding.decode import decode
from inspire_vla.decoding.growing import GrowingSequences

__all__ = ["AnswerSet", "Choice", "Decision", "GrowingSequences", "choose", "decode"]
