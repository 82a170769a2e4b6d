"""Geometry to words. Pure numpy."""

from inspire_vla.spatial.direction import relate, relate_codes, true_answers
from inspire_vla.spatial.frame import FRAMES, Frame, get_frame
from inspire_vla.spatial.grasp import is_grasped, is_held_by_width
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
    "is_grasped",
    "is_held_by_width",
    "relate",
    "relate_codes",
    "says_close",
    "true_answers",
]
