"""Models at their published sizes with random weights: what they cost, not what they can do. Needs no LeRobot."""

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from transformers.initialization import no_init_weights

from inspire_vla.action_tokenizers import ActionVocabulary, UniformBins
from inspire_vla.backbones.flow import FlowExpert
from inspire_vla.backbones.hf_decoder import HFBackbone
from inspire_vla.backbones.paligemma import GemmaSize, PaliGemma, PaliGemmaConfig, SiglipSize
from inspire_vla.backbones.pi05 import GemmaExpertSize, Pi05, Pi05Expert
from inspire_vla.backbones.prismatic import (
    LanguageConfig,
    Prismatic,
    PrismaticConfig,
    TowerConfig,
    llama_2_7b,
)
from inspire_vla.backbones.smolvla import SmolExpertSize, SmolLMSize, SmolSiglipSize, SmolVLA, SmolVLAConfig
from inspire_vla.backbones.smolvla_flow import SmolVLAExpert
from inspire_vla.decoding import AnswerSet, FlowHead, Grammar, RowState
from inspire_vla.dialogue import Dialogue, build_dialogue
from inspire_vla.spatial import answer_words
from overhead.timing import MethodTimer, Task, row_of, summary

INSTRUCTIONS = {
    1: "open the top drawer of the cabinet",
    2: "pick up the black bowl and place it on the plate",
    3: "pick up the red mug between the plate and the basket and put the yellow mug on the left plate",
}
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<bos>", "<eos>", "<s>", "</s>", "▁")
PER_QUESTION = 2
"""So many repeats time the paper's method as well: it is far from the others, and takes as long as all of them."""
_PIECES = re.compile("|".join(map(re.escape, SPECIAL)) + r"| ?\d| ?\w+|\n|[^\w\s]|\s")


class WordTokenizer:
    """A token per word, digit and mark, which is what these models' own tokenizers make of such sentences."""

    bos_token_id = 3

    def __init__(self) -> None:
        self.pieces = list(SPECIAL)
        self.ids = {piece: i for i, piece in enumerate(SPECIAL)}

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        token_ids = []
        for piece in _PIECES.findall(text):
            if piece not in self.ids:
                self.ids[piece] = len(self.pieces)
                self.pieces.append(piece)
            token_ids.append(self.ids[piece])
        return token_ids

    def decode(self, token_ids: Any, **options: Any) -> str:
        return "".join(self.pieces[i] for i in token_ids)

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return self.ids.get(token)


def cut(layers: int, depth: float) -> int:
    """So many of the layers are kept."""
    return max(1, round(depth * layers))


Config = PrismaticConfig | PaliGemmaConfig | SmolVLAConfig


@dataclass(frozen=True)
class Size:
    """A model of that size.

    Attributes:
        horizon: of an action chunk. × 7 dimensions = its codes: MiniVLA's residual VQ says 7 a chunk, OpenVLA 7 a step;
            FAST says 30 to 60 a second of motion, here 35. Of a flow expert, the actions that it denoises.
        state: whether the prompt holds the robot's state as text.
        expert: π0.5's flow expert. SmolVLA's is in its configuration.
    """

    title: str
    config: Config
    horizon: int
    num_images: int = 1
    state: bool = False
    expert: GemmaExpertSize | None = None


SIZES = {
    "smolvla": Size("SmolVLA (SmolVLM2-500M)", SmolVLAConfig(), 50, num_images=2),
    "minivla": Size("MiniVLA (Qwen2.5-0.5B, two towers)", PrismaticConfig(), 1),
    "pi0fast": Size("π0-FAST (PaliGemma-3B)", PaliGemmaConfig(), 5, num_images=2, state=True),
    "pi05": Size(
        "π0.5 (PaliGemma-3B)", PaliGemmaConfig(), 50, num_images=2, state=True, expert=GemmaExpertSize()
    ),
    "openvla": Size("OpenVLA (Llama-2-7B, two towers)", PrismaticConfig(language=llama_2_7b()), 1),
}
"""The published sizes."""

_TOWER = TowerConfig(width=16, blocks=1, heads=2, mlp_size=24)
_GEMMA = PaliGemmaConfig(GemmaSize(1024, 32, 48, 2, 2, 1, 16), SiglipSize(16, 24, 2, 2), image_size=28)
_SMOL = SmolVLAConfig(
    SmolLMSize(1024, 32, 48, 2, 2, 1, 16),
    SmolSiglipSize(16, 24, 2, 2, image_size=64),
    SmolExpertSize(24, 32),
    shuffle=2,
)


def _tiny_prismatic(family: str) -> PrismaticConfig:
    language = LanguageConfig(family, 1024, 32, 48, layers=2, heads=2, key_value_heads=1)
    return PrismaticConfig(language, replace(_TOWER, registers=4), _TOWER, image_size=28)


TINY = {
    "smolvla": replace(SIZES["smolvla"], config=_SMOL),
    "minivla": replace(SIZES["minivla"], config=_tiny_prismatic("qwen2")),
    "pi0fast": replace(SIZES["pi0fast"], config=_GEMMA),
    "pi05": replace(SIZES["pi05"], config=_GEMMA, expert=GemmaExpertSize(32, 48)),
    "openvla": replace(SIZES["openvla"], config=_tiny_prismatic("llama")),
}
"""The same families in a size for tests."""
NAMES = tuple(SIZES)
"""What `reasoning_overhead.py` measures on a CPU."""


def shallower(config: Config, depth: float) -> Config:
    """The same widths with a share `depth` of the layers, in vision encoders and decoder alike."""
    language = replace(config.language, layers=cut(config.language.layers, depth))
    if isinstance(config, PrismaticConfig):
        dino, siglip = (replace(t, blocks=cut(t.blocks, depth)) for t in (config.dino, config.siglip))
        return replace(config, language=language, dino=dino, siglip=siglip)
    return replace(
        config, language=language, vision=replace(config.vision, layers=cut(config.vision.layers, depth))
    )


@dataclass(frozen=True)
class Model:
    """A model with noise for weights, and what `decode` needs beside it."""

    size: Size
    backbone: HFBackbone
    grammar: Grammar
    flow: FlowHead | None

    @property
    def parameters(self) -> int:
        modules = [self.backbone, *([self.flow.expert] if self.flow else [])]
        return sum(p.numel() for module in modules for p in module.parameters())

    def dialogue(self, objects: int, **options: Any) -> Dialogue:
        """The dialogue of an instruction with so many objects; `reasoning=False`: the base model's."""
        state = " ".join(["128"] * 8) if self.size.state else None
        return build_dialogue(
            INSTRUCTIONS[objects],
            max_objects=objects,
            template=self.backbone.template,
            state_text=state,
            **options,
        )

    def images(self, seed: int, rows: int = 1) -> Tensor:
        """Noise, (rows, num_images, 3, 224, 224)."""
        generator = torch.Generator().manual_seed(seed)
        images = torch.rand(rows, self.backbone.num_images, 3, 224, 224, generator=generator)
        return images.to(self.backbone.device, self.backbone.dtype)

    def states(self, rows: int = 1) -> Tensor | None:
        """`Backbone.encode_state` of a robot with eight numbers."""
        return self.backbone.encode_state(torch.zeros(rows, 8, device=self.backbone.device))


def make(size: Size, device: str, dtype: torch.dtype, depth: float = 1.0) -> Model:
    """Build a model. Action codes take the last ids of its vocabulary."""
    config = size.config if depth == 1 else shallower(size.config, depth)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), no_init_weights():
            backbone, expert = _modules(size, config)
    finally:
        torch.set_default_dtype(default)
    noise = 0.02 * torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    modules = [backbone, *([] if expert is None else [expert])]
    for module in modules:
        _fill(module.to(device, dtype).eval(), noise)
    answers = AnswerSet(answer_words("direction"), backbone.text_tokenizer, backbone.template)
    if expert is not None:
        start = torch.randn(1, size.horizon, expert.action_dim, generator=torch.Generator().manual_seed(1))
        flow = FlowHead(expert, start.to(device), 7, expert.denoising_steps)
        return Model(size, backbone, Grammar(backbone.text_tokenizer, answers), flow)
    bins = UniformBins(horizon=size.horizon, action_dim=7)
    vocabulary = ActionVocabulary.last_ids(backbone.vocabulary_size, bins.vocabulary_size, skip=128)
    return Model(size, backbone, Grammar(backbone.text_tokenizer, answers, bins, vocabulary), None)


def _modules(size: Size, config: Config) -> tuple[HFBackbone, FlowExpert | None]:
    options: dict[str, Any] = {"text_tokenizer": WordTokenizer(), "num_images": size.num_images}
    if isinstance(config, PrismaticConfig):
        return Prismatic(config, **options), None
    if isinstance(config, SmolVLAConfig):
        return SmolVLA(config, **options), SmolVLAExpert(config, horizon=size.horizon)
    if size.expert is None:
        return PaliGemma(config, **options), None
    return Pi05(config, **options), Pi05Expert(size.expert, config.language, horizon=size.horizon)


@torch.no_grad()
def _fill(module: torch.nn.Module, noise: Tensor) -> None:
    for parameter in module.parameters():
        if parameter.ndim < 2:
            parameter.fill_(1.0)
            continue
        flat = parameter.view(-1)  # a block of noise again and again: seconds instead of minutes
        for start in range(0, len(flat), len(noise)):
            piece = flat[start : start + len(noise)]
            piece.copy_(noise[: len(piece)])


def measure_real_size(
    name: str,
    repeats: int,
    objects: Sequence[int],
    *,
    size: Size | None = None,
    depth: float = 1.0,
    seconds: float = float("inf"),
    kept: Path | None = None,
) -> dict[str, Any]:
    """On a CPU: noise for images; all drafts right, and one of them wrong, timed apart.

    Args:
        size: default: the published one.
        depth: share of the layers of towers and decoder that are kept, where memory does not hold all.
        seconds: stop then; what is in `kept` (one line of JSON per observation) is not measured again.
    """
    model = make(size or SIZES[name], "cpu", torch.float32, depth)
    timer = MethodTimer(model.backbone, model.grammar, model.flow)
    rows: list[dict[str, Any]] = []
    if kept is not None and kept.exists():
        rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    done = {(row["repeat"], row["objects"]) for row in rows}
    deadline = time.monotonic() + seconds
    todo = [(repeat, n) for repeat in range(repeats) for n in objects if (repeat, n) not in done]
    for row in time_rows(model, timer, todo, per_question=PER_QUESTION):
        rows.append(row)
        print(name, json.dumps(row), flush=True)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        if time.monotonic() > deadline:
            break
    return {
        "title": model.size.title,
        "dtype": "float32",
        "depth": depth,
        "parameters": model.parameters,
        "clock": timer.clock_name,
        **summary(rows),
    }


def time_rows(
    model: Model, timer: MethodTimer, todo: Iterable[tuple[int, int]], *, per_question: int
) -> Iterator[dict[str, Any]]:
    """A row for each (repeat, objects): the methods with right drafts, and draft and verify with a wrong one.

    Args:
        per_question: so many repeats time the paper's method as well.
    """
    backbone, words = model.backbone, model.grammar.answers.words
    for repeat, count in todo:
        dialogue, plain = model.dialogue(count), model.dialogue(count, reasoning=False)
        assert len(dialogue.mentions) == count, dialogue.mentions
        images = model.images(1000 * count + repeat + 1)

        def observe(images: Tensor = images) -> Tensor:
            with torch.inference_mode():
                return backbone.encode_observation(images, None)

        def states() -> Tensor | None:
            with torch.inference_mode():
                return model.states()

        task = Task(observe, dialogue, plain, states)
        timed = timer.time(task, {}, ("cached",))  # its answers are the drafts to be accepted
        right = timed["cached"][1].answers_by_mention
        timed |= timer.time(
            task, right, ("base", "speculative", *(("per_question",) if repeat < per_question else ()))
        )
        first = dialogue.mentions[0]
        wrong = right | {first: words[words.index(right[first]) - 1]}
        # With random weights the tokens behind a rejected draft are always right, so that it would cost no pass.
        with patch.object(RowState, "redraft"):
            seconds, decision = timer.time(task, wrong, ("speculative",))["speculative"]
        row = {"repeat": repeat, **row_of(timed, count)}
        if decision.forward_passes == row["passes"]["base"] + 1:
            row["wrong"] = {"ms": 1000 * seconds, "passes": decision.forward_passes}
        yield row
