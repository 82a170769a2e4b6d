"""MiniVLA, π0-FAST and OpenVLA at their true sizes with random weights: what they cost, not what they can do."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from inspire_vla.action_tokenizers import ActionTokenizer, ActionVocabulary, UniformBins
from inspire_vla.backbones.hosted import HostedBackbone, LanguageConfig
from inspire_vla.backbones.paligemma import PaliGemma, PaliGemmaConfig
from inspire_vla.backbones.prismatic import Prismatic, PrismaticConfig
from inspire_vla.backbones.prismatic.config import TowerConfig, llama_2_7b

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<bos>", "<eos>", "<s>", "</s>", "▁")
_PIECES = re.compile("|".join(map(re.escape, SPECIAL)) + r"| ?\d| ?\w+|\n|[^\w\s]|\s")


class WordTokenizer:
    """A token per word, digit and mark, which is what these models' own tokenizers make of such sentences."""

    bos_token_id = 3

    def __init__(self) -> None:
        self.pieces = list(SPECIAL)
        self.ids = {piece: i for i, piece in enumerate(SPECIAL)}

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        found = []
        for piece in _PIECES.findall(text):
            if piece not in self.ids:
                self.ids[piece] = len(self.pieces)
                self.pieces.append(piece)
            found.append(self.ids[piece])
        return found

    def decode(self, token_ids: Any, **options: Any) -> str:
        return "".join(self.pieces[i] for i in token_ids)

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return self.ids.get(token)


@dataclass(frozen=True)
class Size:
    """A backbone of that size, and how many codes an action takes.

    Attributes:
        horizon: × 7 dimensions = codes of one action chunk. MiniVLA's residual VQ says 7 a chunk, OpenVLA 7 a step;
            FAST says 30 to 60 a second of motion, here 35.
    """

    title: str
    make: Callable[[], HostedBackbone]
    horizon: int
    state: bool = False


def _tiny() -> HostedBackbone:
    language = LanguageConfig(
        vocabulary_size=1024, hidden_size=32, mlp_size=48, layers=2, heads=2, key_value_heads=1
    )
    tower = TowerConfig(width=16, blocks=1, heads=2, mlp_size=24)
    config = PrismaticConfig(language=language, dino=replace(tower, registers=4), siglip=tower)
    return Prismatic(config, text_tokenizer=WordTokenizer())


SIZES = {
    "tiny": Size("a toy, to try the benchmark", _tiny, 1),
    "minivla": Size(
        "MiniVLA (Qwen2.5-0.5B, two towers)",
        lambda: Prismatic(PrismaticConfig(), text_tokenizer=WordTokenizer()),
        1,
    ),
    "pi0fast": Size(
        "π0-FAST (PaliGemma-3B)",
        lambda: PaliGemma(PaliGemmaConfig(), text_tokenizer=WordTokenizer(), pictures=2),
        5,
        state=True,
    ),
    "openvla": Size(
        "OpenVLA (Llama-2-7B, two towers)",
        lambda: Prismatic(PrismaticConfig(language=llama_2_7b()), text_tokenizer=WordTokenizer()),
        1,
    ),
}


def make(
    name: str, device: str, dtype: torch.dtype
) -> tuple[HostedBackbone, ActionTokenizer, ActionVocabulary]:
    """The backbone with random weights, and its action codes on the last ids of its vocabulary."""
    torch.manual_seed(0)
    size = SIZES[name]
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            backbone = size.make()
    finally:
        torch.set_default_dtype(default)
    bins = UniformBins(horizon=size.horizon, action_dim=7)
    return (
        backbone.to(device, dtype).eval(),
        bins,
        ActionVocabulary.last_ids(backbone.vocabulary_size, bins.vocabulary_size, skip=128),
    )
