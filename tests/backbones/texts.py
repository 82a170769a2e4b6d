"""Small tokenizers for tests: byte-level BPE (Qwen) and SentencePiece-like (Llama, Gemma)."""

from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

SENTENCES = [
    "In which direction is the red cube relative to the robot?",
    "What action should the robot take to pick up the red cube and place it on the blue plate?",
    "open the top drawer of the cabinet",
    "right left up down front back grasped close near middle far",
    "system user assistant You are a helpful Task: State: Action: In: Out: 0 1 2 3 4 5 6 7 8 9 ; , | ? :",
]


@cache
def qwen_text() -> PreTrainedTokenizerFast:
    """Byte-level BPE with Qwen's chat tokens and a few `<|extra_i|>` for action codes."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(vocab_size=600, show_progress=False, initial_alphabet=ByteLevel.alphabet())
    tokenizer.train_from_iterator(SENTENCES, trainer)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(f"<|extra_{i}|>", normalized=False) for i in range(256)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )


def _pieces(special: list[str], *, prefix: bool) -> Tokenizer:
    words = sorted({"▁" + w for s in SENTENCES for w in s.replace("?", " ?").split()})
    characters = sorted({c for s in SENTENCES for c in s} | set("abcdefghijklmnopqrstuvwxyz\n▁_.-'"))
    vocabulary = [(token, 0.0) for token in special]
    vocabulary += [(w, -1.0) for w in words] + [
        (c, -9.0) for c in characters if c not in special and c != " "
    ]
    vocabulary = list(dict(vocabulary).items())
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=special.index("<unk>")))
    steps = [normalizers.Prepend("▁")] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Replace("▁", " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in special])
    return tokenizer


@cache
def llama_text() -> PreTrainedTokenizerFast:
    """SentencePiece-like: a space is added before every text, as in Llama, and 256 rare tokens come last."""
    tokenizer = _pieces(["<unk>", "<s>", "</s>"], prefix=True)
    tokenizer.add_tokens([AddedToken(f"rare{i}", normalized=False) for i in range(256)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )


@cache
def gemma_text() -> PreTrainedTokenizerFast:
    """SentencePiece-like, without a space before the text."""
    tokenizer = _pieces(["<pad>", "<eos>", "<bos>", "<unk>"], prefix=False)
    tokenizer.add_tokens([AddedToken(f"<loc{i:04d}>", normalized=False) for i in range(400)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )
