"""Geometry to words: where an object is relative to the gripper. Pure numpy."""

from inspire_vla.spatial.direction import relate, relate_codes, true_answers
from inspire_vla.spatial.frame import FRAMES, Frame, get_frame
from inspire_vla.spatial.modes import (
    CLOSE,
    GRASPED,
    MODES,
    NO_LABEL,
    answer_words,
    canonical_answers,
    canonical_array,
    decode_answers,
    encode_answers,
    says_close,
    words_by_rule,
)

__all__ = [
    "CLOSE",
    "FRAMES",
    "GRASPED",
    "MODES",
    "NO_LABEL",
    "Frame",
    "answer_words",
    "canonical_answers",
    "canonical_array",
    "decode_answers",
    "encode_answers",
    "get_frame",
    "relate",
    "relate_codes",
    "says_close",
    "true_answers",
    "words_by_rule",
]
