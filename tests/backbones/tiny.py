"""Tiny random models for decoding tests, and a simple reference decoder without cache."""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from torch import Tensor

from inspire_vla.action_tokenizers import ActionTokenizer, ActionVocabulary, Fast, ResidualVQ, UniformBins
from inspire_vla.backbones.base import Backbone
from inspire_vla.backbones.nano import Nano, NanoConfig
from inspire_vla.backbones.text_tokenizer import load_text_tokenizer
from inspire_vla.decoding import AnswerSet, Decision, Grammar, decode
from inspire_vla.dialogue import NANO_TEMPLATE, CachedTokenizer, Dialogue, TokenType, build_dialogue, render
from inspire_vla.spatial import answer_words

TOKENIZER = CachedTokenizer(load_text_tokenizer())
TEXT_IDS = len(load_text_tokenizer())
INSTRUCTIONS = (
    "pick up the red cube and place it on the blue plate",
    "open the top drawer of the cabinet",
    "put the red cube on the blue plate and put the yellow ball in the basket",
    "close the drawer of the cabinet",
)
MODES = ("direction", "direction_3d", "distance", "distance_fine", "position")
SIZE = 32


class BidirectionalPrefixNano(Nano):
    """Nano with the attention of PaliGemma: input elements attend to each other."""

    bidirectional_prefix = True


@cache
def action_tokenizer(kind: str) -> ActionTokenizer:
    chunks = np.cumsum(np.random.default_rng(0).uniform(-0.3, 0.3, (64, 4, 2)), axis=1)
    if kind == "bins":
        return UniformBins(horizon=2, action_dim=2)
    if kind == "fast":
        return Fast.fit(chunks, vocabulary_size=260)
    return ResidualVQ.fit(chunks, codes_per_level=8, levels=3)


@cache
def answer_set(mode: str) -> AnswerSet:
    return AnswerSet(answer_words(mode), TOKENIZER, NANO_TEMPLATE)


def tiny(seed: int, *, bidirectional_prefix: bool = False, vocabulary_size: int | None = None) -> Nano:
    """A random model whose scores are far from uniform, so that rows, seeds and answers differ."""
    rng = np.random.default_rng(seed)
    heads = int(rng.choice([1, 2, 4]))
    config = NanoConfig(
        hidden_size=8 * heads, layers=int(rng.integers(1, 3)), heads=heads, mlp_size=24, stem_width=4
    )
    torch.manual_seed(seed)
    model = (BidirectionalPrefixNano if bidirectional_prefix else Nano)(
        config,
        text_tokenizer=TOKENIZER,
        vocabulary_size=vocabulary_size or TEXT_IDS + 32,
        cameras=1,
        image_size=(SIZE, SIZE),
        state_dim=3,
    ).eval()
    for parameter in model.parameters():
        parameter.data *= 4 if parameter.ndim > 1 else 1
    return model


@dataclass
class Setting:
    """A model, a grammar and a batch of observations."""

    seed: int
    mode: str = "direction"
    question_position: str = "before"
    bidirectional_prefix: bool = False
    hide: tuple[TokenType, ...] = ()
    actions: str = "vq"
    instructions: tuple[str, ...] = INSTRUCTIONS
    max_objects: int | None = None
    reasoning: bool = True
    backbone: Backbone = field(init=False)

    def __post_init__(self) -> None:
        self.tokenizer = action_tokenizer(self.actions)
        vocabulary = ActionVocabulary.appended(TEXT_IDS, self.tokenizer.vocabulary_size)
        self.backbone = tiny(
            self.seed, bidirectional_prefix=self.bidirectional_prefix, vocabulary_size=vocabulary.id_range[1]
        )
        self.grammar = Grammar(TOKENIZER, answer_set(self.mode), self.tokenizer, vocabulary)
        generator = torch.Generator().manual_seed(self.seed)
        count = len(self.instructions)
        images = torch.rand(count, 1, 3, SIZE, SIZE, generator=generator)
        with torch.inference_mode():
            self.prefix = self.backbone.encode_observation(images, torch.randn(count, 3, generator=generator))

    def dialogues(self) -> list[Dialogue]:
        return [
            build_dialogue(
                text,
                mode=self.mode,
                question_position=self.question_position,
                max_objects=self.max_objects,
                reasoning=self.reasoning,
            )
            for text in self.instructions
        ]

    def decode(self, rows: list[int] | None = None, **options) -> list[Decision]:
        rows = list(range(len(self.instructions))) if rows is None else rows
        dialogues = self.dialogues()
        return decode(
            self.backbone,
            self.prefix[rows],
            [dialogues[row] for row in rows],
            self.grammar,
            hide=self.hide,
            **options,
        )

    @torch.inference_mode()
    def plainly(
        self, row: int, overrides: dict[str, str] | None = None
    ) -> tuple[tuple[int, ...], list[float]]:
        """Tokens and confidences of one row without a cache: one whole pass for every generated token."""
        dialogue, grammar = self.dialogues()[row], self.grammar
        token_ids: list[int] = []
        answers: list[str] = []
        confidences: list[float] = []
        for mention in dialogue.mentions:
            spelled: tuple[int, ...] = ()
            confidence = 1.0
            while (allowed := grammar.answers.allowed(spelled)) is not None:
                scores = self._scores(row, dialogue, answers, spelled)[allowed].astype(np.float64)
                index = int(scores.argmax())
                if overrides and mention in overrides:
                    token = grammar.answers.token_ids_of[overrides[mention]][len(spelled)]
                    index = int(np.flatnonzero(allowed == token)[0])
                weights = np.exp(scores - scores.max())
                confidence *= weights[index] / weights.sum()
                spelled += (int(allowed[index]),)
            token_ids += spelled
            answers.append(grammar.answers.word(spelled))
            confidences.append(float(confidence))
        codes: list[int] = []
        while (allowed := self.tokenizer.allowed_codes(codes)) is not None:
            scores = self._scores(row, dialogue, answers, grammar.action_vocabulary.to_ids(codes))
            codes.append(int(allowed[scores[grammar.action_vocabulary.to_ids(allowed)].argmax()]))
        token_ids += [int(grammar.action_vocabulary.to_ids(code)) for code in codes]
        return tuple(token_ids), confidences

    def _scores(self, row: int, dialogue: Dialogue, answers: list[str], tail) -> np.ndarray:
        """Logits after the given answers and `tail`, the tokens of the current answer or action."""
        words = self.grammar.answers.words
        filled = dialogue.with_answers([*answers, *[words[0]] * (len(dialogue.mentions) - len(answers))])
        rendered = render(filled, TOKENIZER)
        answering = len(answers) < len(dialogue.mentions)
        cut = rendered.answer_spans[len(answers)][0] if answering else len(rendered)
        tail = [int(token) for token in tail]
        ids = [*rendered.ids[:cut].tolist(), *tail]
        token_types = [
            *rendered.token_types[:cut].tolist(),
            *[TokenType.ANSWER if answering else TokenType.ACTION] * len(tail),
        ]
        prefix = self.prefix[[row]]
        embedded = self.backbone.embed(torch.tensor([ids]))
        attention_mask = mask_by_definition(
            prefix.shape[1], token_types, self.bidirectional_prefix, self.hide
        )
        hidden = self.backbone.extend(torch.cat([prefix, embedded], 1), attention_mask=attention_mask[None])
        return self.backbone.logits(hidden[0, -1]).numpy()


def mask_by_definition(
    prefix: int, token_types: list[int], bidirectional_prefix: bool = False, hide: tuple[TokenType, ...] = ()
) -> Tensor:
    """The mask of one row without padding, element by element, from the docstring of `make_attention_mask`."""
    kinds = ["input"] * prefix
    dialogue_types = (TokenType.QUESTION, TokenType.ANSWER)
    dialogue = [None] * prefix + [t if t in dialogue_types else None for t in token_types]
    opening = True
    for token_type in token_types:
        opening &= token_type == TokenType.TEXT
        given = token_type in (TokenType.QUESTION, TokenType.INSTRUCTION) or opening
        kinds.append("input" if given else "generated")
    total = len(kinds)
    block = list(range(total))
    if bidirectional_prefix:
        for i in range(1, total):
            if kinds[i] == kinds[i - 1] == "input":
                block[i] = block[i - 1]

    def attends(query: int, key: int) -> bool:
        same_answer = set(dialogue[key : query + 1]) == {TokenType.ANSWER}
        if TokenType.ANSWER in hide and dialogue[key] == TokenType.ANSWER and not same_answer:
            return False
        if TokenType.QUESTION in hide and dialogue[key] == TokenType.QUESTION and dialogue[query] is None:
            return False
        return block[key] <= block[query]

    return torch.tensor([[attends(query, key) for key in range(total)] for query in range(total)])
