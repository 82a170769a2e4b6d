"""The policy: one class for the base model and the reasoning one, whatever the backbone."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from lerobot.configs import FeatureType, PreTrainedConfig
from lerobot.policies import PreTrainedPolicy
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor

from inspire_vla.action_tokenizers import ActionTokenizer, UndecodableAction
from inspire_vla.backbones.attention import PREFIX, make_attention_mask
from inspire_vla.backbones.image_text import ImageText
from inspire_vla.backbones.paligemma import state_texts
from inspire_vla.decoding import AnswerSet, Decision, Grammar, decode
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.action_chunks import FOLDER, fit_action_tokenizer, load_action_tokenizer
from inspire_vla.lerobot_plugin.action_range import check_action_range
from inspire_vla.lerobot_plugin.answer_log import AnswerLog
from inspire_vla.lerobot_plugin.backbone_choice import make_backbone
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.dataset_labels import check_labels
from inspire_vla.lerobot_plugin.first_answers import (
    count_first_answers,
    load_first_answers,
    save_first_answers,
)
from inspire_vla.lerobot_plugin.image_sizes import scaled, take_sizes_of_dataset
from inspire_vla.lerobot_plugin.lookup import of_hub
from inspire_vla.lerobot_plugin.supervision import (
    DialogueWriter,
    Losses,
    label_codes,
    losses,
    supervise,
)
from inspire_vla.lerobot_plugin.trained_on import Suites, both, load_trained_on, save_trained_on, suites_of
from inspire_vla.spatial import answer_words, says_close

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
        trained_on: Suites = (),
        **kwargs: Any,
    ) -> None:
        """
        Args:
            dataset_meta: LeRobotDatasetMetadata; the action tokenizer is fitted on it, its labels are checked.
            action_tokenizer: an existing one, of a checkpoint.
            text_tokenizer_folder: the checkpoint's own text tokenizer, where the backbone has one.
            first_answers: drafts where there is no last answer; counted in the dataset if it is given.
            trained_on: suites that a checkpoint has seen; those of the dataset are added.

        Raises:
            InspireError: neither of the two, or labels that are no answers to what the policy asks.
        """
        super().__init__(config)
        config.validate_features()
        if dataset_meta is not None:
            check_action_range(config, dataset_meta)
            take_sizes_of_dataset(config, dataset_meta)
        if dataset_meta is not None and config.reasoning.enabled:
            check_labels(dataset_meta.root, config.reasoning)
            first_answers = first_answers or count_first_answers(dataset_meta, config.reasoning.mode)
        self.first_answers = first_answers
        self.trained_on = (
            trained_on if dataset_meta is None else both(trained_on, suites_of(dataset_meta.root))
        )
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
            close_word=says_close(reasoning.mode, reasoning.close_threshold_m),
        )
        self.answer_set = AnswerSet(words, self.writer.tokenizer, self.backbone.template)
        self.grammar = Grammar(
            self.writer.tokenizer, self.answer_set, self.action_tokenizer, self.action_vocabulary
        )
        self._answer_log = AnswerLog(words, reasoning.max_objects)
        self._last_step: float | None = None
        config.belongs_to(self)
        self.reset()

    # Training

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """Joint next-token loss of answers and action codes over a preprocessed batch of demonstrations.

        Rows that lack a label of what they are asked are left out, and counted in the log as "unlabelled_rows". Where
        there is no other the loss is zero: one of them goes through the model nevertheless, without its questions,
        since processes that train together wait for one another in every pass.
        """
        labels = label_codes(batch, self.config)
        learned = self.writer.answered(batch["task"], labels)
        unlabelled = len(labels) - len(learned)
        if unlabelled:
            rows = learned or [0]
            labels = [labels[row] for row in rows]
            batch = self._rows(batch, rows)
        told = zip(batch["task"], labels, self._states_as_text(batch), strict=True)
        dialogues = [
            self.writer.demonstration(task, codes, state) if learned else self.writer.unasked(task, state)
            for task, codes, state in told
        ]
        codes = self.action_tokenizer.encode(batch[ACTION].detach().float().cpu().numpy())
        sample = supervise(
            dialogues,
            [self.action_vocabulary.to_ids(chunk) for chunk in codes],
            self.writer.tokenizer,
            batch[ACTION].device,
        )
        prefix = self._encode_observation(batch)
        token_types = torch.cat(
            [sample.token_types.new_full(prefix.shape[:2], PREFIX), sample.token_types[:, :-1]], dim=1
        )
        attention_mask = make_attention_mask(
            token_types,
            bidirectional_prefix=self.backbone.bidirectional_prefix,
            hide=self.config.reasoning.hidden,
        )
        # The state before an id predicts it: the first id follows the last thing seen.
        before = sample.supervised.new_zeros(len(prefix), prefix.shape[1] - 1)
        scores = self.backbone(
            torch.cat([prefix, self.backbone.embed(sample.ids[:, :-1])], dim=1),
            torch.cat([before, sample.supervised], dim=1),
            attention_mask=attention_mask,
        )
        found = losses(scores, sample)
        loss, log = self._joint(found) if learned else (0.0 * found.action, {})
        if self.config.reasoning.enabled:
            log = self._answer_log(log | {"unlabelled_rows": float(unlabelled)})
        return loss, log | self._speed(token_types.numel())

    def _joint(self, found: Losses) -> tuple[Tensor, dict[str, float]]:
        """The loss of actions and answers together, and what to log of it."""
        log = {"action_loss": found.action.item(), "action_accuracy": found.action_accuracy}
        if found.answer is None or found.answer_accuracy is None:
            return found.action, log
        log |= {"answer_loss": found.answer.item(), "answer_accuracy": found.answer_accuracy}
        log |= {f"answer_accuracy/{name}": value for name, value in found.accuracy_of.items()}
        return found.action + self.config.reasoning.answer_loss_weight * found.answer, log

    def _rows(self, batch: dict[str, Any], rows: list[int]) -> dict[str, Any]:
        """Some rows of a batch, of what is learned from."""
        used = [key for key in (*self.config.image_features, OBS_STATE, ACTION) if key in batch]
        return {key: batch[key][rows] for key in used} | {"task": [batch["task"][row] for row in rows]}

    def get_optim_params(self) -> list[dict[str, Any]]:
        """Weight decay on matrices only; what is frozen is left out."""
        matrices = [p for p in self.parameters() if p.requires_grad and p.ndim >= 2]
        others = [p for p in self.parameters() if p.requires_grad and p.ndim < 2]
        return [{"params": matrices}, {"params": others, "weight_decay": 0.0}]

    # Acting

    def reset(self) -> None:
        """Forget the episode: queued actions and the drafts of the next answers."""
        self._queue: deque[Tensor] = deque()
        self._drafts: list[dict[str, str]] = []
        self._seen: deque[Tensor] = deque(maxlen=self.config.n_obs_steps)

    def act(
        self,
        batch: dict[str, Any],
        *,
        overrides: Sequence[Mapping[str, str]] | None = None,
        drafts: Sequence[Mapping[str, str] | None] | None = None,
        temperature: float = 0.0,
        generator: np.random.Generator | None = None,
    ) -> list[Decision]:
        """Answer, then act, for each row of a preprocessed batch. Actions are in normalised units.

        Args:
            overrides: per row {mention: answer} to set instead of the model's answers.
            drafts: per row {mention: answer} expected. Drafts change the time, never the outcome. None: the most
                frequent first answers of the dataset. {}: no draft.
        """
        self.eval()
        with torch.inference_mode():
            observation = self._encode_observation(batch)
        states = self._states_as_text(batch)
        dialogues = [self.writer.prompt(t, state) for t, state in zip(batch["task"], states, strict=True)]
        first = [dict(zip(dialogue.mentions, self.first_answers, strict=False)) for dialogue in dialogues]
        return decode(
            self.backbone,
            observation,
            dialogues,
            self.grammar,
            drafts=[f if g is None else g for f, g in zip(first, drafts or [None] * len(first), strict=True)],
            overrides=overrides,
            temperature=temperature,
            generator=generator,
            hide=self.config.reasoning.hidden,
        )

    def predict_action_chunk(
        self, batch: dict[str, Any], **kwargs: Any
    ) -> Float[Tensor, "batch horizon dim"]:
        """The whole decoded chunk, `chunk_size` long, normalised. Raises UndecodableAction rather than invent."""
        same = len(self._drafts) == len(batch["task"])
        decisions = self.act(batch, drafts=self._drafts if same else None)
        self._drafts = [decision.answers_by_mention for decision in decisions]
        for row, decision in enumerate(decisions):
            if decision.actions is None:
                raise UndecodableAction(f"Row {row}: tokens {decision.token_ids} stand for no action chunk.")
        chunks = np.stack([decision.actions for decision in decisions if decision.actions is not None])
        return torch.from_numpy(chunks).to(self.backbone.device)

    def select_action(self, batch: dict[str, Any], **kwargs: Any) -> Float[Tensor, "batch dim"]:
        """The next action; a new chunk is decoded every `n_action_steps` calls."""
        if self.config.n_obs_steps > 1:
            batch = self._with_history(batch)
        if not self._queue:
            chunk = self.predict_action_chunk(batch)
            self._queue.extend(chunk[:, : self.config.n_action_steps].unbind(1))
        return self._queue.popleft()

    def _encode_observation(self, batch: dict[str, Any]) -> Float[Tensor, "batch prefix hidden"]:
        missing = [key for key in self.config.image_features if key not in batch]
        if missing:
            cameras = sorted(key for key in batch if key.startswith("observation.images"))
            raise InspireError(
                f"The policy looks at {missing}, but the observation has the images {cameras}."
            )
        images = torch.stack(self._images(batch), dim=-4)
        if self.config.n_obs_steps > 1:
            if (
                images.ndim == 5
            ):  # no earlier image is known: this one stands for it, as when an episode starts
                images = images[:, None].expand(-1, self.config.n_obs_steps, -1, -1, -1, -1)
            images = images.flatten(1, 2)  # all cameras at t−1, then all at t
        felt = self._has_state and not self.backbone.template.needs_state
        return self.backbone.encode_observation(images, self._state(batch) if felt else None)

    def _with_history(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with the last `n_obs_steps` images of each camera, (batch, time, 3, height, width)."""
        now = torch.stack(self._images(batch))
        self._seen.append(now)
        past = [self._seen[0]] * (self.config.n_obs_steps - len(self._seen))
        images = torch.stack([*past, *self._seen], dim=2)
        return batch | dict(zip(self.config.image_features, images, strict=True))

    def _images(self, batch: dict[str, Any]) -> list[Float[Tensor, "batch *history 3 height width"]]:
        """Of each camera, in one size."""
        return [scaled(batch[key].float(), self.config.image_size) for key in self.config.image_features]

    @property
    def _has_state(self) -> bool:
        return any(f.type is FeatureType.STATE for f in self.config.input_features.values())

    def _state(self, batch: dict[str, Any]) -> Float[Tensor, "batch dim"]:
        state = batch[OBS_STATE].float()
        return state[:, -1] if state.ndim == 3 else state

    def _states_as_text(self, batch: dict[str, Any]) -> list[str | None]:
        """The robot's states as the template writes them; None each where it does not."""
        if not self.backbone.template.needs_state:
            return [None] * len(batch["task"])
        if not self._has_state:
            raise InspireError(
                f"The prompt of {self.config.backbone!r} says the robot's state: set use_state."
            )
        return list(state_texts(self._state(batch).cpu().numpy()))

    def _speed(self, tokens: int) -> dict[str, float]:
        """Tokens per second, padding and images included, since the loss was last asked for."""
        now, before = time.perf_counter(), self._last_step
        self._last_step = now
        return {} if before is None else {"tokens_per_second": tokens / (now - before)}

    def _get_default_peft_targets(self) -> dict[str, Any] | None:
        """What LoRA adapts unless told otherwise: the linear layers; embeddings and head stay as they are."""
        if self.backbone.lora_targets is None:
            return None
        learned_whole: list[str] = []
        if isinstance(self.backbone, ImageText) and self.config.image_text.action_tokens == "added":
            learned_whole = list(self.backbone.rows_of_new_tokens)
        return {"target_modules": self.backbone.lora_targets, "modules_to_save": learned_whole}

    @property
    def _fsdp_wrap_modules(self) -> list[str]:
        """Class names of the blocks that FSDP shards each as one; LeRobot asks for them from 0.6.2 on."""
        present = {type(module).__name__ for module in self.backbone.modules()}
        return [name for name in self.backbone.fsdp_units if name in present]

    @property
    def _no_split_modules(self) -> list[str]:
        """The same, under the name by which accelerate asks for them."""
        return self._fsdp_wrap_modules

    # Checkpoints

    def save_beside(self, folder: Path) -> None:
        """Write what a checkpoint holds besides weights and configuration, when the latter is saved."""
        self.action_tokenizer.save(folder / FOLDER)
        self.backbone.text_tokenizer.save_pretrained(folder / TEXT_FOLDER)  # type: ignore[attr-defined]
        if isinstance(self.backbone, ImageText):
            self.backbone.save_companions(folder / TEXT_FOLDER)
        save_first_answers(self.first_answers, folder)
        save_trained_on(self.trained_on, folder)

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
            folder = of_hub(pretrained_name_or_path, revision)
        saved = PreTrainedConfig.from_pretrained(folder)
        config = config or saved
        if not isinstance(saved, InspireVLAConfig) or not isinstance(config, InspireVLAConfig):
            raise InspireError(
                f"{pretrained_name_or_path} is a policy of type {saved.type!r}, not 'inspire_vla'."
            )
        config.take_sizes_of(saved)
        config.validate_features()
        if "action_tokenizer" not in kwargs:
            # Resuming a LoRA, LeRobot loads its base: the action tokenizer may have been made anew for the LoRA.
            own = Path(config.pretrained_path or "") if config.use_peft else folder
            place = own if (own / FOLDER).is_dir() else folder
            kwargs["action_tokenizer"] = load_action_tokenizer(config, place, kwargs.get("dataset_meta"))
        kwargs.setdefault("first_answers", load_first_answers(folder))
        kwargs.setdefault("trained_on", load_trained_on(folder))
        if (folder / TEXT_FOLDER).is_dir():
            kwargs.setdefault("text_tokenizer_folder", folder / TEXT_FOLDER)
        return super().from_pretrained(folder, config=config, strict=strict, **kwargs)
