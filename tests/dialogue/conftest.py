"""Tokenizers trained here, so that exact ids can be asserted without anything from outside."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SENTENCES = [
    "In which direction is the red cube relative to the robot? left",
    "In which direction is the blue plate relative to the robot? down",
    "What is the accurate position of the ball relative to the robot? x, y, z: 3 -1 0 grasped",
    "\nTask: put the red cube on the blue plate",
] * 3


class Plain:
    """A `tokenizers` tokenizer with the two methods the dialogue asks for."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.calls = 0

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        self.calls += 1
        return self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, token_ids, **options) -> str:
        return self.tokenizer.decode(list(token_ids), **options)


@pytest.fixture(scope="session")
def words() -> Plain:
    """A word is an id: 0 unknown, then by frequency and alphabet as trained."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        SENTENCES, trainers.WordLevelTrainer(special_tokens=["?"], show_progress=False)
    )
    return Plain(tokenizer)


@pytest.fixture(scope="session")
def pieces() -> Plain:
    """Byte-level pairs with few merges: most words are several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return Plain(tokenizer)
