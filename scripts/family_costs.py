"""What each family needs of a card, computed from its published sizes: no weights, no GPU.

    python scripts/family_costs.py             the tables of docs/families/costs.md, which a test holds to this

How it is computed. Parameters are counted on the model itself, built without memory (torch's meta device). Per
parameter: weights 2 bytes (bfloat16) or 4, gradient the same, AdamW two moments of the same; a LoRA of rank 32 adds 12
bytes for each of its own parameters. Activations with recomputation: what each layer is given (2 bytes a number, or 4
for float32 weights, which autocast still computes in 2), one layer's inner values, and the scores of the learned
tokens in float32, twice. One GiB is left to CUDA, and a tenth of the card to fragmentation. Time: 6 operations a
parameter and element for a step (8 with recomputation; LoRA and frozen parts are not subtracted), at 40 % of the card's
dense bfloat16 peak; acting in one pass reads the weights once, at 60 % of the memory's bandwidth, for each
token that is said. SmolVLA and π0.5: each part is counted by what goes through it (patches through the image encoder,
tokens through the language model, 50 actions through the expert), and each of ten denoising steps takes its operations
or reads the expert's weights, whichever is longer. None of it was measured.
"""

import re
from dataclasses import dataclass
from functools import cache

import torch

from inspire_vla.backbones.flow import FlowExpert
from inspire_vla.backbones.hf_decoder import HFBackbone
from inspire_vla.backbones.paligemma import PaliGemma, PaliGemmaConfig
from inspire_vla.backbones.pi05 import GemmaExpertSize, Pi05, Pi05Expert
from inspire_vla.backbones.prismatic import Prismatic, PrismaticConfig, llama_2_7b
from inspire_vla.backbones.smolvla import SmolVLA, SmolVLAConfig
from inspire_vla.backbones.smolvla_flow import SmolVLAExpert

GIB, RANK = 2**30, 32
LARGEST = 64  # rows; what fits beyond is of no use to anybody


@dataclass(frozen=True)
class Card:
    """`flops` dense bfloat16 operations a second, `bandwidth` bytes a second, of the maker's data sheet."""

    name: str
    gib: int
    flops: float
    bandwidth: float


CARDS = (
    Card("12 GB (RTX 3060)", 12, 25.5e12, 0.36e12),
    Card("24 GB (RTX 4090)", 24, 165e12, 1.01e12),
    Card("80 GB (H100 SXM)", 80, 989e12, 3.35e12),
)


@dataclass(frozen=True)
class Family:
    """Sizes of a family as it is trained.

    `seen` elements of images, `text` tokens with two questions and the `codes` of an action.
    """

    name: str
    model: HFBackbone
    seen: int
    text: int
    codes: int
    vocabulary: int
    hidden: int
    inner: int
    layers: int
    tower: tuple[int, int, int]  # patches, width, blocks; of both towers together

    @property
    def parts(self) -> dict[str, torch.nn.Module]:
        return {"backbone": self.model}

    @property
    def parameters(self) -> int:
        return sum(map(count, self.parts.values()))

    @property
    def work(self) -> float:
        """Parameters × elements of a row in one pass: half its operations."""
        return self.parameters * (self.seen + self.text)

    def acting_seconds(self, card: Card) -> float:
        """Of what follows the long pass: a pass for each further code."""
        return (self.codes - 1) * 2 * self.parameters / (0.6 * card.bandwidth)

    @property
    def lora(self) -> int:
        """Parameters of a LoRA with the default targets."""
        targets = re.compile(self.model.lora_targets)
        return sum(
            RANK * sum(m.weight.shape)
            for part, module in self.parts.items()
            for name, m in module.named_modules()
            if isinstance(m, torch.nn.Linear) and targets.fullmatch(f"{part}.{name}")
        )

    def activations(self, rows: int) -> float:
        """Bytes with recomputation."""
        elements = self.seen + self.text
        patches, width, blocks = self.tower
        kept = 2 * rows * (elements * self.hidden * self.layers + patches * width * blocks)
        layer = 2 * rows * elements * (3 * self.inner + 8 * self.hidden)
        scores = 2 * 4 * rows * (self.codes + 6) * self.vocabulary
        return kept + layer + scores


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@dataclass(frozen=True)
class FlowFamily(Family):
    """A family with a flow expert."""

    expert: FlowExpert

    @property
    def parts(self) -> dict[str, torch.nn.Module]:
        return {"backbone": self.model, "expert": self.expert}

    @property
    def work(self) -> float:
        (tower,) = self.model.vision()
        language = count(self.model.decoder) - count(self.model.decoder.get_input_embeddings())
        patches = count(tower) * self.tower[0]
        return patches + language * (self.seen + self.text) + count(self.expert) * self.expert.horizon

    def acting_seconds(self, card: Card) -> float:
        operations = 2 * count(self.expert) * self.expert.horizon / (0.4 * card.flops)
        return 10 * max(operations, 2 * count(self.expert) / (0.6 * card.bandwidth))


class _Text:
    """In place of a tokenizer: only asked whether it has the tokens that the family begins with."""

    def convert_tokens_to_ids(self, token: str) -> int:
        return 1

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [1]


@cache
def families() -> list[Family]:
    text = _Text()
    with torch.device("meta"):
        mini = Prismatic(PrismaticConfig(), text_tokenizer=text)
        open7 = Prismatic(PrismaticConfig(language=llama_2_7b()), text_tokenizer=text)
        pi0 = PaliGemma(PaliGemmaConfig(), text_tokenizer=text)
        smol = SmolVLA(SmolVLAConfig(), text_tokenizer=text), SmolVLAExpert(SmolVLAConfig(), horizon=50)
        pi05 = (
            Pi05(PaliGemmaConfig(), text_tokenizer=text),
            Pi05Expert(GemmaExpertSize(), PaliGemmaConfig().language, horizon=50),
        )
    towers = (256, 1024 + 1152, 25)
    return [
        Family("MiniVLA", mini, 257, 110, 7, 151936, 896, 4864, 24, towers),
        Family("OpenVLA", open7, 257, 110, 7, 32064, 4096, 11008, 32, towers),
        Family("π0-FAST, two cameras", pi0, 512, 120, 30, 257152, 2048, 16384, 18, (512, 1152, 27)),
        FlowFamily(
            "SmolVLA, two cameras", smol[0], 128, 100, 2, 49280, 960, 2560, 16, (2048, 768, 12), smol[1]
        ),
        FlowFamily(
            "π0.5, two cameras", pi05[0], 512, 120, 2, 257152, 2048, 16384, 18, (512, 1152, 27), pi05[1]
        ),
    ]


WAYS = ("act", "LoRA, bfloat16", "full, bfloat16 weights", "full, float32 weights")


def weights(family: Family, way: str) -> float:
    """Bytes without activations."""
    count = family.parameters
    return {
        "act": 2 * count,
        "LoRA, bfloat16": 2 * count + 16 * family.lora,
        "full, bfloat16 weights": 8 * count,
        "full, float32 weights": 16 * count,
    }[way]


def largest_batch(family: Family, way: str, card: Card) -> int:
    """Rows of a step that fit beside the weights; 0: none."""
    room = 0.9 * card.gib * GIB - GIB - weights(family, way)
    rows = 0
    while rows < LARGEST and family.activations(rows + 1) <= room:
        rows += 1
    return rows


def step_seconds(family: Family, rows: int, card: Card) -> float:
    """A training step with recomputation."""
    return 8 * family.work * rows / (0.4 * card.flops)


def decision_ms(family: Family, card: Card) -> float:
    """A decision whose drafts hold: one long pass, then the codes or the denoising."""
    return 1e3 * (2 * family.work / (0.4 * card.flops) + family.acting_seconds(card))


def tables() -> str:
    """Markdown."""
    lines = [
        "| family | parameters | way | GB without activations | "
        + " | ".join(f"batch, {c.name}" for c in CARDS)
        + " |",
        "|---|---|---|---|" + "---|" * len(CARDS),
    ]
    known = families()
    for family in known:
        for way in WAYS:
            cells = []
            for card in CARDS:
                if way == "act":
                    fits = weights(family, way) < 0.9 * card.gib * GIB - GIB
                    cells.append(f"{decision_ms(family, card):.0f} ms a decision" if fits else "does not fit")
                    continue
                rows = largest_batch(family, way, card)
                cell = f"{'≥ ' * (rows == LARGEST)}{rows} ({step_seconds(family, rows, card):.1f} s a step)"
                cells.append(cell if rows else "does not fit")
            share = f" (+{family.lora / family.parameters:.1%})" if way.startswith("LoRA") else ""
            size = f"{family.parameters / 1e9:.2f} billion{share}"
            line = (
                f"| {family.name} | {size} | {way} | {weights(family, way) / 1e9:.1f} | {' | '.join(cells)} |"
            )
            lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables())
