"""The text tokenizer of the nano backbone: each word of the benchmark's language is one token, other words are bytes.

A small model on a CPU pays for every token, so the fixed phrases of the questions are one token each as well:

    |In which direction is the| red| cube| relative to the robot?| left|

The vocabulary is made from the word lists below, not trained. Ids: the special tokens, the 256 bytes, then phrases and
words in the order of the lists. Checkpoints hold embeddings by id, so never reorder: append new texts at the end and
rebuild with `python -m inspire_vla.backbones.text_tokenizer`.
"""

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FOLDER = Path(__file__).parent / "nano_tokenizer"
"""The built tokenizer that the package ships."""

PAD, BOS, EOS = SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>")

PHRASES: tuple[str, ...] = (
    "In which direction is the",
    "In which direction is",
    " relative to the robot?",
    " relative to the robot? x, y, z:",
    "What is the accurate position of the",
    "What is the accurate position of",
    "What is the distance between the robot and the",
    "What is the distance between the robot and",
    "What is the accurate distance between the robot and the",
    "What is the accurate distance between the robot and",
    "?",
    "\nTask:",
)
"""The fixed parts of the questions of all modes, and the text before the instruction."""

_DIGITS = " ".join([*map(str, range(10)), *(f"-{i}" for i in range(1, 10))])
WORDS: tuple[str, ...] = tuple(
    dict.fromkeys(
        " ".join(
            (
                "right left up down front back grasped close near middle far",  # answers
                _DIGITS,
                "the a an it them its this that these those both all other and then of to with from one two three",
                "red blue green yellow white black purple orange pink brown gray grey cyan silver gold dark light",
                "cube cylinder ball mug bowl plate basket block can box bottle cabinet drawer tray pot cup",
                "cubes cylinders balls mugs bowls plates baskets blocks cans boxes bottles drawers trays pots cups",
                "table robot gripper shelf stove rack lid handle pan microwave caddy compartment button object objects",
                "top bottom center next between behind beside in on at into onto inside under below above over by",
                "side edge corner farthest nearest leftmost rightmost small large big tall short",
                "pick put place open stack push pull slide move lift take turn press set bring drop grasp touch",
                "reach remove insert hold stay off out away it's is are which where what there here",
                "soup sauce butter milk cheese cream ketchup pudding juice tomato alphabet chocolate salad dressing",
                "bbq book wine moka frying cookie ramekin wooden",
            )
        ).split()
    )
)
"""Words that are one token, together with the space before them."""

GROUNDING_TEXTS = ("Where is the", "Where is", "Is there a", "What is at", " yes", " no", " nothing")
"""Texts of the pre-training's questions. They come last, because ids never change."""

_SPLIT = "|".join(
    [
        *(
            re.escape(phrase).replace("\\ ", " ") + r"(?!\w)"
            for phrase in sorted((*PHRASES, *GROUNDING_TEXTS), key=len, reverse=True)
        ),
        r" ?-?\d",
        r" ?[\p{L}']+",
        r" ?[^\s\p{L}\d]",
        r"\s",
    ]
)


def build_text_tokenizer() -> "PreTrainedTokenizerFast":
    """Make the tokenizer from the word lists. For every text decode(encode(text)) == text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    byte_letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokens = [*SPECIAL_TOKENS, *byte_letters]
    for text in (*PHRASES, *(f" {word}" for word in WORDS), *GROUNDING_TEXTS):
        letters = to_bytes.pre_tokenize_str(text)[0][0]
        if letters not in tokens:  # "?" is a byte already
            tokens.append(letters)

    # No merges: a piece that is a token is used whole (ignore_merges), any other becomes its bytes.
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"), to_bytes]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


@cache
def load_text_tokenizer(folder: Path = FOLDER) -> "PreTrainedTokenizerFast":
    """The tokenizer that the package ships. All callers share one object and must not change it."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)


if __name__ == "__main__":
    built = build_text_tokenizer()
    built.save_pretrained(FOLDER)
    print(f"{FOLDER}: {len(built)} tokens")
