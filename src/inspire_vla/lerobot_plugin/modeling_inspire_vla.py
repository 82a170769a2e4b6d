"""The policy: one class for the base model and the reasoning one, whatever the backbone."""

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download
from jaxtyping import Float
from lerobot.configs import FeatureType, PreTrainedConfig
from lerobot.policies import PreTrainedPolicy
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor

from inspire_vla.action_tokenizers import ActionTokenizer, UndecodableAction
from inspire_vla.backbones.attention import SEEN, attention_mask
from inspire_vla.decoding import AnswerSet, Decision, Grammar, decode
from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import answer_column, check_compatible, read_labels
from inspire_vla.lerobot_plugin.action_chunks import FOLDER, fit_action_tokenizer, load_action_tokenizer
from inspire_vla.lerobot_plugin.backbone_choice import make_backbone
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.first_answers import (
    count_first_answers,
    load_first_answers,
    save_first_answers,
)
from inspire_vla.lerobot_plugin.supervision import DialogueWriter, losses, supervise
from inspire_vla.spatial import answer_words

TEXT_FOLDER = "text_tokenizer"


class InspireVLAPolicy(PreTrainedPolicy):
    """LeRobot policy `inspire_vla`. `act` returns what LeRobot's `select_action` cannot: the reasoning."""

    config_class = InspireVLAConfig
    name = "inspire_vla"

    def __init__(
        self,
        config: InspireVLAConfig,
        *,
        dataset_meta: Any | None = None,
        action_tokenizer: ActionTokenizer | None = None,
        text_tokenizer_folder: Path | None = None,
        first_answers: tuple[str, ...] = (),
        **kwargs: Any,
    ) -> None:
        """
        Args:
            dataset_meta: LeRobotDatasetMetadata; the action tokenizer is fitted on it, its labels are checked.
            action_tokenizer: an existing one, of a checkpoint.
            text_tokenizer_folder: the checkpoint's own text tokenizer, where the backbone has one.
            first_answers: guesses where there is no last answer; counted in the dataset if it is given.

        Raises:
            InspireError: neither of the two, or labels of another frame or mode than the policy's.
        """
        super().__init__(config)
        config.validate_features()
        if dataset_meta is not None and config.reasoning.enabled:
            r = config.reasoning
            check_compatible(
                read_labels(dataset_meta.root), frame=r.frame, mode=r.mode, grasped_word=r.grasped_word
            )
            first_answers = first_answers or count_first_answers(dataset_meta, r.mode)
        self.first_answers = first_answers
        if action_tokenizer is None:
            if dataset_meta is None:
                raise InspireError(
                    "A new policy fits its action tokenizer on demonstrations: give it a dataset, or load a "
                    "checkpoint with --policy.path."
                )
            action_tokenizer = fit_action_tokenizer(config, dataset_meta)
        self.action_tokenizer = action_tokenizer
        self.backbone, self.action_vocabulary = make_backbone(config, action_tokenizer, text_tokenizer_folder)
        reasoning = config.reasoning
        self.writer = DialogueWriter(reasoning, self.backbone.template, self.backbone.text_tokenizer)
        words = answer_words(
            reasoning.mode,
            grasped_word=reasoning.grasped_word,
            close_word=reasoning.close_threshold_m is not None or reasoning.mode == "distance",
        )
        self.answer_set = AnswerSet(words, self.writer.tokenizer, self.backbone.template)
        self.grammar = Grammar(
            self.writer.tokenizer, self.answer_set, self.action_tokenizer, self.action_vocabulary
        )
        self.reset()

    # Training

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """Joint next-token loss of answers and action codes over a preprocessed batch of demonstrations."""
        column = (
            batch.get(answer_column(self.config.reasoning.mode)) if self.config.reasoning.enabled else None
        )
        labels = [None] * len(batch["task"]) if column is None else column.cpu().numpy().astype(np.int64)
        dialogues = [self.writer.demonstration(t, c) for t, c in zip(batch["task"], labels, strict=True)]
        codes = self.action_tokenizer.encode(batch[ACTION].detach().float().cpu().numpy())
        sample = supervise(
            dialogues,
            [self.action_vocabulary.to_ids(chunk) for chunk in codes],
            self.writer.tokenizer,
            batch[ACTION].device,
        )
        seen = self._observe(batch)
        roles = torch.cat([sample.roles.new_full(seen.shape[:2], SEEN), sample.roles[:, :-1]], dim=1)
        attends = attention_mask(
            roles, both_ways=self.backbone.both_ways, hide_answers=self.config.reasoning.hide_answers
        )
        hidden = self.backbone.extend(
            torch.cat([seen, self.backbone.embed(sample.ids[:, :-1])], dim=1), attends=attends
        )
        predicts = hidden[:, seen.shape[1] - 1 :]  # the state before each id
        found = losses(self.backbone.logits(predicts[sample.supervised]), sample)
        loss, log = (
            found.action,
            {"action_loss": found.action.item(), "action_accuracy": found.action_accuracy},
        )
        if found.answer is not None:
            loss = loss + self.config.reasoning.answer_loss_weight * found.answer
            log |= {"answer_loss": found.answer.item(), "answer_accuracy": found.answer_accuracy}
        return loss, log

    def get_optim_params(self) -> list[dict[str, Any]]:
        """Weight decay on matrices only."""
        matrices = [p for p in self.parameters() if p.requires_grad and p.ndim >= 2]
        others = [p for p in self.parameters() if p.requires_grad and p.ndim < 2]
        return [{"params": matrices}, {"params": others, "weight_decay": 0.0}]

    # Acting

    def reset(self) -> None:
        """Forget the episode: queued actions and the answers that would be guessed next."""
        self._queue: deque[Tensor] = deque()
        self._guesses: list[dict[str, str]] = []

    def act(
        self,
        batch: dict[str, Any],
        *,
        answers: Sequence[Mapping[str, str]] | None = None,
        guesses: Sequence[Mapping[str, str] | None] | None = None,
        temperature: float = 0.0,
        generator: np.random.Generator | None = None,
    ) -> list[Decision]:
        """Answer, then act, for each row of a preprocessed batch. Actions are in normalised units.

        Args:
            answers: per row {mention: word} to overrule the model with.
            guesses: per row the expected answers; they change the time it takes, never the outcome. None: those
                most frequent at the start of an episode. {}: nothing is guessed.
        """
        self.eval()
        with torch.inference_mode():
            observation = self._observe(batch)
        dialogues = [self.writer.prompt(task) for task in batch["task"]]
        first = [dict(zip(dialogue.mentions, self.first_answers, strict=False)) for dialogue in dialogues]
        return decode(
            self.backbone,
            observation,
            dialogues,
            self.grammar,
            guesses=[
                f if g is None else g for f, g in zip(first, guesses or [None] * len(first), strict=True)
            ],
            forced=answers,
            temperature=temperature,
            generator=generator,
            hide_answers=self.config.reasoning.hide_answers,
        )

    def predict_action_chunk(
        self, batch: dict[str, Any], **kwargs: Any
    ) -> Float[Tensor, "batch horizon dim"]:
        """The whole decoded chunk, `chunk_size` long, normalised. Raises UndecodableAction rather than invent."""
        same = len(self._guesses) == len(batch["task"])
        decisions = self.act(batch, guesses=self._guesses if same else None)
        self._guesses = [decision.words for decision in decisions]
        for row, decision in enumerate(decisions):
            if decision.actions is None:
                raise UndecodableAction(f"Row {row}: tokens {decision.token_ids} stand for no action chunk.")
        chunks = np.stack([decision.actions for decision in decisions if decision.actions is not None])
        return torch.from_numpy(chunks).to(self.backbone.device)

    def select_action(self, batch: dict[str, Any], **kwargs: Any) -> Float[Tensor, "batch dim"]:
        """The next action; a new chunk is decoded every `n_action_steps` calls."""
        if not self._queue:
            chunk = self.predict_action_chunk(batch)
            self._queue.extend(chunk[:, : self.config.n_action_steps].unbind(1))
        return self._queue.popleft()

    def _observe(self, batch: dict[str, Any]) -> Float[Tensor, "batch seen hidden"]:
        missing = [key for key in self.config.image_features if key not in batch]
        if missing:
            cameras = sorted(key for key in batch if key.startswith("observation.images"))
            raise InspireError(
                f"The policy looks at {missing}, but the observation has the pictures {cameras}."
            )
        images = torch.stack([batch[key] for key in self.config.image_features], dim=1)
        has_state = any(f.type is FeatureType.STATE for f in self.config.input_features.values())
        return self.backbone.observe(images.float(), batch[OBS_STATE].float() if has_state else None)

    # Checkpoints

    def _save_pretrained(self, save_directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        super()._save_pretrained(save_directory, state_dict=state_dict)
        self.action_tokenizer.save(save_directory / FOLDER)
        self.backbone.text_tokenizer.save_pretrained(save_directory / TEXT_FOLDER)  # type: ignore[attr-defined]
        save_first_answers(self.first_answers, save_directory)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_name_or_path: str | Path,
        *,
        config: PreTrainedConfig | None = None,
        revision: str | None = None,
        strict: bool = True,
        **kwargs: Any,
    ) -> "InspireVLAPolicy":
        """Load a checkpoint folder, or one of the hub. Weights must fit exactly unless `strict` is False."""
        folder = Path(pretrained_name_or_path)
        if not folder.is_dir():
            folder = Path(snapshot_download(str(pretrained_name_or_path), revision=revision))
        config = config or PreTrainedConfig.from_pretrained(folder)
        if not isinstance(config, InspireVLAConfig):
            raise InspireError(
                f"{pretrained_name_or_path} is a policy of type {config.type!r}, not 'inspire_vla'."
            )
        config.validate_features()
        kwargs.setdefault("action_tokenizer", load_action_tokenizer(config, folder))
        kwargs.setdefault("first_answers", load_first_answers(folder))
        if (folder / TEXT_FOLDER).is_dir():
            kwargs.setdefault("text_tokenizer_folder", folder / TEXT_FOLDER)
        return super().from_pretrained(folder, config=config, strict=strict, **kwargs)
