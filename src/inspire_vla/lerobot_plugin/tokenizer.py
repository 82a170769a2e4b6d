"""Instructions, labels, states and actions → the token sequences of a policy. Policy and preprocessor share one.

To a batch of demonstrations (B rows, K = max_objects, T tokens, right-padded) it adds:

    token_ids         (S, T) int64    the sequence behind the image tokens: questions, answers, instruction, action
                                      codes; with a flow expert only where codes are trained beside it
    token_types       (S, T) int64    a `TokenType` each
    sequence_lengths  (S,)   int64    tokens of each sequence without its padding
    loss_mask         (S, T) bool     where the id is to be predicted from those before it
    answer_labels     (S, K) int64    the demonstrated answer to each question, -1 where nothing is asked
    rows              (R,)   int64    the rows of the batch that are trained on; rows that lack a label are left out
    unlabelled_rows   int             how many are left out; where it is B, one row is kept, without its questions

S is R. With `reasoning.separate_questions` it is 2·R: the R sequences of the actions, then those of the questions.

To a batch without `action` it adds `dialogues`: one prompt for each row, which `policy.act` decodes; with
`reasoning.separate_questions` also `questions`, the prompt of the questions alone.
"""

import json
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from lerobot.utils.constants import ACTION, OBS_STATE
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from inspire_vla.action_tokenizers import ActionTokenizer, ActionVocabulary, load_action_tokenizer
from inspire_vla.backbones.paligemma import state_texts
from inspire_vla.backbones.prismatic import LlamaTokenizer
from inspire_vla.backbones.text_tokenizer import FOLDER as NANO_TEXT_TOKENIZER
from inspire_vla.dialogue import Dialogue, Template, TextTokenizer, render
from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.files import describe
from inspire_vla.instruction import Overrides, overrides_from_json, overrides_to_json
from inspire_vla.labels.columns import answer_column
from inspire_vla.lerobot_plugin.checkpoint_files import PREPROCESSOR
from inspire_vla.lerobot_plugin.checkpoint_schema import TrainingData, check_tokenizer_settings
from inspire_vla.lerobot_plugin.dataset_origin import Suites, saved_suites, suites_in
from inspire_vla.lerobot_plugin.option_groups import ReasoningConfig
from inspire_vla.lerobot_plugin.prompt_builder import PromptBuilder
from inspire_vla.lerobot_plugin.text_files import Files, load_text_tokenizer, pack, unpacked
from inspire_vla.lerobot_plugin.tokenizer_files import ACTIONS, TEXT, check_tokenizer_files

TOKEN_IDS, TOKEN_TYPES, LENGTHS, LOSS_MASK = "token_ids", "token_types", "sequence_lengths", "loss_mask"
ANSWER_LABELS, ROWS, UNLABELLED_ROWS = "answer_labels", "rows", "unlabelled_rows"
DIALOGUES, QUESTIONS = "dialogues", "questions"
ASKED_MENTIONS = "asked_mentions"
"""Key of a batch's `info`, which LeRobot's processors pass on: per row the objects to ask about, or None."""

NO_INSTRUCTION = "(none)"
"""Stands for an empty instruction where a batch has no other; nothing is trained on it."""


@dataclass(frozen=True)
class TokenizerParts:
    """What a policy's tokenizer is made of and its configuration does not say.

    Attributes:
        text_files: files of the text tokenizer; of an image-text model also its processor and configuration.
            None: the tokenizer that the package ships for nano.
        initial_draft: the most frequent answers at the start of an episode, one for each question. They are the
            draft of an episode's first decision.
        training_suites: suites and tasks that the policy was trained on.
        training_data: the datasets that the policy was trained on; empty where that is not known.
        mention_overrides: mentions that a person has given for an instruction, see `instruction.overrides`.
        action_tokenizer: None where a flow expert makes the actions and no codes are trained beside it.
    """

    action_tokenizer: ActionTokenizer | None
    text_files: Files | None = None
    initial_draft: tuple[str, ...] = ()
    training_suites: Suites = field(default_factory=dict)
    mention_overrides: Overrides = field(default_factory=dict)
    training_data: tuple[TrainingData, ...] = ()

    @classmethod
    def load(cls, settings: Mapping[str, Any], files: Files) -> "TokenizerParts":
        """Those of a saved preprocessor. Raises InspireError for damaged ones."""
        check_tokenizer_files(files)
        has_codes = settings["action_vocabulary"] is not None
        if has_codes and not any(name.startswith(f"{ACTIONS}/") for name in files):
            raise InspireError(f"The preprocessor holds no action tokenizer; found {sorted(files)[:10]}.")
        groups: dict[str, dict[str, bytes]] = {TEXT: {}, ACTIONS: {}}
        for path, content in files.items():
            group, _, name = path.partition("/")
            groups[group][name] = content
        with unpacked(groups[ACTIONS]) as folder:
            actions = load_action_tokenizer(folder) if has_codes else None
        return cls(
            actions,
            groups[TEXT],
            tuple(settings["initial_draft"]),
            suites_in(settings),
            overrides_from_json(settings.get("mention_overrides", {})),
            tuple(TrainingData(**data) for data in settings.get("training_data", ())),
        )


class InspireVLATokenizer:
    """Turns instructions, labels, states and actions into token sequences. Policy and preprocessor share one.

    training: whether `reasoning.dropout` drops dialogues; the policy's `train` and `eval` set it.
    """

    def __init__(
        self,
        parts: TokenizerParts,
        *,
        text_tokenizer: TextTokenizer,
        template: Template,
        action_vocabulary: ActionVocabulary | None,
        reasoning: ReasoningConfig,
        n_obs_steps: int = 1,
    ) -> None:
        self.parts, self.action_tokenizer = parts, parts.action_tokenizer
        self.action_vocabulary, self.reasoning, self.n_obs_steps = action_vocabulary, reasoning, n_obs_steps
        self.prompt_builder = PromptBuilder(reasoning, template, text_tokenizer, parts.mention_overrides)
        self.training = True

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What the step adds to a batch: training sequences, or prompts where it holds no `action`."""
        if "task" not in batch:
            raise InspireError(f"The batch has no instruction, 'task'; found {sorted(batch)}.")
        return self.prompts(batch) if batch.get(ACTION) is None else self.training_sequences(batch)

    def prompts(self, batch: Mapping[str, Any]) -> dict[str, list[Dialogue]]:
        """The prompt of each row: its answers and its action are open.

        batch["info"]["asked_mentions"] may hold the mentions of each row, see `PromptBuilder.prompt`.
        """
        tasks = batch["task"]
        mentions = (batch.get("info") or {}).get(ASKED_MENTIONS) or [None] * len(tasks)
        rows = zip(tasks, self._state_texts(batch), mentions, strict=True)
        prompts = {DIALOGUES: [self.prompt_builder.prompt(*row) for row in rows]}
        if self.reasoning.asks_apart:
            asked = zip(tasks, mentions, strict=True)
            prompts[QUESTIONS] = [
                self.prompt_builder.questions(task, mentions=given) for task, given in asked
            ]
        return prompts

    def override_mentions(self, overrides: Overrides) -> None:
        """Ask about these mentions from now on. They are saved with the checkpoint too."""
        self.parts = replace(self.parts, mention_overrides={**self.parts.mention_overrides, **overrides})
        self.prompt_builder.override_mentions(overrides)

    def training_sequences(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The training sequences of a batch of normalised demonstrations, see the head of this module.

        Raises InspireError for a batch without labels where the policy reasons, and for labels of other objects.
        """
        tasks, labels = batch["task"], self._labels(batch)
        labelled = [
            row for row, task in enumerate(tasks) if self.prompt_builder.is_labelled(task, labels[row])
        ]
        rows = labelled or [0]
        states, actions = (
            self._state_texts(batch),
            action_chunks(batch[ACTION][rows]).detach().float().cpu().numpy(),
        )
        dialogues = [
            self.prompt_builder.demonstration(tasks[row], labels[row], states[row], asked=asked)
            if labelled
            else self.prompt_builder.without_questions(tasks[row].strip() or NO_INSTRUCTION, states[row])
            for row, asked in zip(rows, self._asked(actions), strict=True)
        ]
        action_ids: Sequence[np.ndarray | None] = [None] * len(rows)
        if self.action_tokenizer is not None and self.action_vocabulary is not None:
            action_ids = list(map(self.action_vocabulary.to_ids, self.action_tokenizer.encode(actions)))
        sequences = [
            render(dialogue, self.prompt_builder.tokenizer, ids)
            for dialogue, ids in zip(dialogues, action_ids, strict=True)
        ]
        if labelled and self.reasoning.asks_apart:
            questions = [self.prompt_builder.questions(tasks[row], labels[row]) for row in rows]
            sequences += [render(dialogue, self.prompt_builder.tokenizer) for dialogue in questions]
            dialogues += questions
        answers = np.full((len(dialogues), self.reasoning.max_objects), -1)
        for number, dialogue in enumerate(dialogues):
            count = len(dialogue.mentions)
            if count:
                answers[number, :count] = labels[rows[number % len(rows)]][:count]
        return {
            TOKEN_IDS: _right_padded([sequence.ids for sequence in sequences], np.int64),
            TOKEN_TYPES: _right_padded([sequence.token_types for sequence in sequences], np.int64),
            LENGTHS: torch.tensor([len(sequence) for sequence in sequences]),
            LOSS_MASK: _right_padded([sequence.loss_mask for sequence in sequences], np.bool_),
            ANSWER_LABELS: torch.from_numpy(answers),
            ROWS: torch.tensor(rows),
            UNLABELLED_ROWS: len(tasks) - len(labelled),
        }

    def _asked(self, actions: Float[np.ndarray, "rows horizon dim"]) -> list[bool]:
        """Whether each row keeps its dialogue.

        The batch is the seed: after `--resume` LeRobot 0.6.1 has the same batches, but not the same random numbers.
        """
        if not (self.training and self.reasoning.enabled and self.reasoning.dropout):
            return [True] * len(actions)
        drawn = np.random.default_rng(zlib.crc32(actions.tobytes())).random(len(actions))
        return (drawn >= self.reasoning.dropout).tolist()

    def _labels(self, batch: Mapping[str, Any]) -> Sequence[Any]:
        """(max_objects,) answer codes of each row; None each where nothing is asked or the batch has no labels.

        A column for one object has lost its last axis. With a history of images, the labels have one too.
        """
        rows = len(batch["task"])
        column = batch.get(answer_column(self.reasoning.mode)) if self.reasoning.enabled else None
        if column is None:
            return [None] * rows
        now = column[:, -1] if self.n_obs_steps > 1 else column
        return now.reshape(rows, -1).cpu().numpy().astype(np.int64)

    def _state_texts(self, batch: Mapping[str, Any]) -> list[str | None]:
        """The robot's state of each row, as the template writes it; None each where it does not."""
        if not self.prompt_builder.template.needs_state:
            return [None] * len(batch["task"])
        if OBS_STATE not in batch:
            raise InspireError(f"The prompt holds the robot's state, and the batch has no {OBS_STATE!r}.")
        return list(state_texts(last_state(batch[OBS_STATE], len(batch["task"])).cpu().numpy()))

    # Saving and loading

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the files, ready for JSON."""
        return {
            "reasoning": asdict(self.reasoning),
            "n_obs_steps": self.n_obs_steps,
            "template": self.prompt_builder.template.as_dict(),
            "llama": isinstance(self.prompt_builder.tokenizer.tokenizer, LlamaTokenizer),
            "action_vocabulary": asdict(self.action_vocabulary) if self.action_vocabulary else None,
            "initial_draft": list(self.parts.initial_draft),
            **saved_suites(self.parts.training_suites),
            "mention_overrides": overrides_to_json(self.parts.mention_overrides),
            "training_data": [asdict(data) for data in self.parts.training_data],
        }

    @cached_property
    def files(self) -> Files:
        with tempfile.TemporaryDirectory() as folder:
            if self.action_tokenizer is not None:
                self.action_tokenizer.save(folder)
            actions = pack(folder)
        text = self.parts.text_files
        if text is None:
            text = pack(NANO_TEXT_TOKENIZER)
        return {f"{TEXT}/{name}": text[name] for name in text} | {
            f"{ACTIONS}/{name}": actions[name] for name in actions
        }

    @classmethod
    def load(cls, settings: Mapping[str, Any], files: Files) -> "InspireVLATokenizer":
        """The tokenizer of a saved preprocessor, without a policy. Raises InspireError for a damaged one."""
        check_tokenizer_settings(settings)
        parts = TokenizerParts.load(settings, files)
        with unpacked(parts.text_files or {}) as folder:
            text_tokenizer = load_text_tokenizer(folder)
        return cls(
            parts,
            text_tokenizer=LlamaTokenizer(text_tokenizer) if settings["llama"] else text_tokenizer,
            template=_of_settings(Template, settings["template"]),
            action_vocabulary=None
            if settings["action_vocabulary"] is None
            else _of_settings(ActionVocabulary, settings["action_vocabulary"]),
            reasoning=_of_settings(ReasoningConfig, settings["reasoning"]),
            n_obs_steps=settings["n_obs_steps"],
        )


def action_chunks(actions: Tensor) -> Float[Tensor, "rows horizon dim"]:
    """The action chunks of a batch: (rows, horizon, dim), or (rows, horizon) where an action has one value.

    LeRobot makes a number of an action of one value.
    """
    return actions[..., None] if actions.ndim == 2 else actions


def last_state(state: Tensor, rows: int, dim: int | None = None) -> Float[Tensor, "rows dim"]:
    """The robot's last state of each row, of a batch with or without a history.

    LeRobot makes a number of a state of one value, and its batch step then takes the batch for one state.

    Args:
        state: (rows, time, dim) with a history, else (rows, dim); a state of one value also without the last axis.
        rows: of the batch.
        dim: length of the state, where it is known.
    """
    state = state.float()
    if state.ndim == 3:
        state = state[:, -1]
    state = state.reshape(rows, -1)
    return state if dim is None else state[:, -dim:]


def _of_settings[T](kind: type[T], settings: Mapping[str, Any]) -> T:
    """A dataclass of saved settings. Raises InspireError where they are of another type or name."""
    unknown = sorted(settings.keys() - kind.__annotations__.keys())
    if unknown:
        hint = did_you_mean(unknown[0], kind.__annotations__)
        raise InspireError(f"{PREPROCESSOR}: {kind.__name__} has no {unknown[0]!r}.{hint}")
    try:
        return TypeAdapter(kind).validate_json(json.dumps(dict(settings)), strict=True)
    except ValidationError as error:
        raise InspireError(f"{PREPROCESSOR}: {kind.__name__} {describe(error)}") from None


def _right_padded(rows: Sequence[np.ndarray], dtype: type) -> Tensor:
    padded: np.ndarray = np.zeros((len(rows), max(map(len, rows))), dtype=dtype)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return torch.from_numpy(padded)
