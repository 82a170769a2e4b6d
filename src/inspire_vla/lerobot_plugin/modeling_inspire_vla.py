"""The policy `inspire_vla` of LeRobot: one class for the base model and the reasoning one, whatever the backbone.

Axes: B rows of a batch, C cameras, T tokens, N tokens of the loss, K questions (max_objects), A answers of the mode.
"""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import draccus
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from lerobot.configs import PreTrainedConfig
from lerobot.policies import PreTrainedPolicy
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor

from inspire_vla.action_tokenizers import UndecodableAction
from inspire_vla.backbones.attention import PAD, PREFIX, make_attention_mask
from inspire_vla.backbones.flow import FlowContext, FlowExpert, flow_loss
from inspire_vla.backbones.hf_decoder import HFBackbone
from inspire_vla.backbones.image_text import ImageText
from inspire_vla.decoding import AnswerSet, Decision, FlowHead, Grammar, decode
from inspire_vla.dialogue import AnswerRule, Dialogue, TokenType
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.action_tokenizer_fit import choose_action_tokenizer
from inspire_vla.lerobot_plugin.build_model import (
    check_sizes,
    check_weights_fit,
    default_dtype,
    make_backbone,
    make_expert,
    with_chat,
)
from inspire_vla.lerobot_plugin.checkpoint_files import WEIGHTS
from inspire_vla.lerobot_plugin.checkpoint_schema import check_checkpoint, steps_taken
from inspire_vla.lerobot_plugin.checkpoints import from_hub
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig, load_config
from inspire_vla.lerobot_plugin.dataset_inputs import rename_inputs
from inspire_vla.lerobot_plugin.flow_noise import FlowDraw, draw_for_step, draw_noise, seeded_by
from inspire_vla.lerobot_plugin.frame_cache import resized
from inspire_vla.lerobot_plugin.lerobot_host import PolicyHooks
from inspire_vla.lerobot_plugin.losses import Losses, LossLog
from inspire_vla.lerobot_plugin.observation_forms import check_aspect_ratio
from inspire_vla.lerobot_plugin.position_loss import PositionLoss
from inspire_vla.lerobot_plugin.prepare import prepare
from inspire_vla.lerobot_plugin.processor_inspire_vla import STEP, load_parts
from inspire_vla.lerobot_plugin.tokenizer import (
    ANSWER_LABELS,
    DIALOGUES,
    LENGTHS,
    LOSS_MASK,
    QUESTIONS,
    ROWS,
    TOKEN_IDS,
    TOKEN_TYPES,
    UNLABELLED_ROWS,
    InspireVLATokenizer,
    TokenizerParts,
    action_chunks,
    last_state,
)
from inspire_vla.lerobot_plugin.training_start import asked_for, check_resumed

ACTION_IS_PAD = f"{ACTION}_is_pad"
"""LeRobot's key: (batch, horizon), whether an action lies beyond the end of its episode."""

NOT_FINITE = (
    "Training stops, and the checkpoints saved before are kept: `--resume` continues from the newest. A smaller "
    "--policy.optimizer_lr, or --policy.dtype=float32, helps where the step was too large."
)


class InspireVLAPolicy(PolicyHooks, PreTrainedPolicy):
    """LeRobot policy `inspire_vla`. `act` returns what LeRobot's `select_action` cannot: the reasoning."""

    config_class = InspireVLAConfig
    name = "inspire_vla"

    def __init__(
        self,
        config: InspireVLAConfig,
        *,
        dataset_meta: Any | None = None,
        parts: TokenizerParts | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            dataset_meta: LeRobotDatasetMetadata of the dataset to train on; it is checked against the configuration,
                and the action tokenizer is fitted on it.
            parts: what a checkpoint's tokenizer is made of; None for a new policy.

        Raises:
            InspireError: neither of the two, or a dataset that does not fit the policy.
        """
        super().__init__(config)
        if parts is None:
            config.choose_image_size()
        config.validate_features()
        if parts is None:
            check_sizes(config)
        if dataset_meta is not None:
            parts = prepare(config, dataset_meta, parts)
        actions = choose_action_tokenizer(config, parts.action_tokenizer if parts else None, None)
        text_files = parts.text_files if parts else None
        self.backbone, vocabulary = make_backbone(config, actions, text_files)
        if isinstance(self.backbone, ImageText):
            text_files = with_chat(text_files or {}, self.backbone)
        parts = replace(parts or TokenizerParts(actions), text_files=text_files)
        self.tokenizer = InspireVLATokenizer(
            parts,
            text_tokenizer=self.backbone.text_tokenizer,
            template=self.backbone.template,
            action_vocabulary=vocabulary,
            reasoning=config.reasoning,
            n_obs_steps=config.n_obs_steps,
        )
        config.runtime_tokenizer = self.tokenizer
        template = self.backbone.template
        if (template.needs_state or template.state_tokens) and not self._has_state:
            raise InspireError(f"The prompt of {config.backbone!r} holds the robot's state: set use_state.")
        reasoning = config.reasoning
        words = AnswerRule.of_reasoning(reasoning).words()
        builder = self.tokenizer.prompt_builder
        self.answer_set = AnswerSet(words, builder.tokenizer, builder.template)
        grammar = Grammar(builder.tokenizer, self.answer_set, actions, vocabulary)
        # Codes that are trained beside a flow expert are never generated.
        self.grammar = grammar if config.has_codes else Grammar(builder.tokenizer, self.answer_set)
        self.expert = None
        if not config.has_codes:
            with default_dtype(config):
                self.expert = make_expert(config, self.backbone)
            # Saved, so that a resumed training goes on with the same noise.
            self.register_buffer("noise_draws", torch.zeros((), dtype=torch.int64))
        if config.train_expert_only:
            self.backbone.freeze()
        self.position_loss: PositionLoss | None = None
        if config.position_loss_weight:
            self.position_loss = PositionLoss(self.backbone.hidden_size, reasoning.max_objects)
            if dataset_meta is not None:
                self.position_loss.read_targets(dataset_meta.root)
        self._log = LossLog(
            reasoning.mode,
            words,
            reasoning.max_objects,
            flow=self.expert is not None,
            codes=config.trains_codes,
        )
        self._last_step: float | None = None
        self.reset()

    # Training

    def forward(
        self, batch: dict[str, Any], *, noise: Tensor | None = None, time: Tensor | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """Joint loss of answers and action over a preprocessed batch of demonstrations.

        The cross-entropy of the answers and of the action codes; with a flow expert, that of the answers, the error of
        the velocity and, where `flow.action_codes_weight` is above 0, the cross-entropy of the codes. `noise` (rows ·
        flow.noise_samples, horizon, expert's action_dim) and `time` (the same rows) are those of a flow expert; by
        default the training's seed and the number of the step fix them.

        Rows that lack a label of what they are asked are left out, and logged as "unlabelled_rows". Where no row is
        left, the loss is zero; one row goes through the model all the same, without its questions, because processes
        that train together wait for one another in every pass.
        """
        batch = self._tokenized(batch, TOKEN_IDS, self.tokenizer.training_sequences)
        sequences = self._training_sequences(batch)
        hidden: Tensor | None = None
        flow: Tensor | None = None
        if self.position_loss is not None:
            hidden = self.backbone.supervised_states(
                sequences.embeddings, sequences.loss_mask, attention_mask=sequences.attention_mask
            )
            logits = self.backbone.logits(hidden)
        elif self.expert is None:
            logits = self.backbone(
                sequences.embeddings, sequences.loss_mask, attention_mask=sequences.attention_mask
            )
        else:
            draw = None if noise is None or time is None else FlowDraw(noise, time)
            logits, flow = self._logits_and_flow_loss(self.expert, sequences, batch, draw)
        losses = Losses(logits, batch[TOKEN_IDS], batch[TOKEN_TYPES], batch[LOSS_MASK], flow)
        loss, log = self._joint_loss(losses, batch)
        if hidden is not None and self.position_loss is not None and not _is_unlabelled(batch):
            position = self._position_error(self.position_loss, hidden, batch)
            loss = loss + self.config.position_loss_weight * position
            log |= {"position_loss": position.item()}
        if self.training and not math.isfinite(loss_value := loss.item()):
            raise InspireError(f"The loss is {loss_value}. {NOT_FINITE}")
        if self.config.reasoning.enabled:
            log = self._log.complete(log | {"unlabelled_rows": float(batch[UNLABELLED_ROWS])})
        return loss, log | self._speed(sequences.types.numel())

    def _training_sequences(self, batch: dict[str, Any]) -> "_Sequences":
        """Observation and text of a tokenized batch, as the backbone reads them in one pass."""
        ids, types, mask = batch[TOKEN_IDS], batch[TOKEN_TYPES], batch[LOSS_MASK]
        rows = _rows_trained_on(batch)
        prefix, states = self.encode_observation(batch, rows), self.encode_state(batch, rows)
        if len(ids) > len(prefix):  # the questions follow as sequences of their own
            prefix = prefix.repeat(2, 1, 1)
            states = None if states is None else states.repeat(2, 1, 1)
        # The last action code predicts nothing, so it is left out. Without codes, a flow expert reads all of the text.
        ends_in_codes = self.config.trains_codes
        read = slice(None, -1 if ends_in_codes else None)
        text = self.backbone.embed_sequence(ids[:, read], types[:, read], states)
        all_types = torch.cat([types.new_full(prefix.shape[:2], PREFIX), types[:, read]], dim=1)
        # The state before an id predicts it: the first id follows the last element of the prefix.
        before = mask.new_zeros(len(ids), prefix.shape[1] - 1)
        behind = mask.new_zeros(len(ids), 0 if ends_in_codes else 1)
        return _Sequences(
            torch.cat([prefix, text], dim=1),
            all_types,
            torch.cat([before, mask, behind], dim=1),
            make_attention_mask(
                all_types,
                bidirectional_prefix=self.backbone.bidirectional_prefix,
                hide=self.config.reasoning.hidden,
            ),
            prefix.shape[1],
        )

    def _joint_loss(
        self, losses: Losses, batch: dict[str, Any]
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The weighted sum of a batch's losses, and what is logged of them; zero where no row is labelled."""
        loss = losses.action
        if losses.codes is not None:
            loss = loss + self.config.flow.action_codes_weight * losses.codes
        if _is_unlabelled(batch):
            return 0.0 * loss, {}
        if losses.answer is None:
            return loss, losses.metrics()
        accuracies = self._log.accuracies(
            losses.correct, batch[TOKEN_TYPES], batch[LOSS_MASK], batch[ANSWER_LABELS]
        )
        loss = loss + self.config.reasoning.answer_loss_weight * losses.answer
        return loss, losses.metrics() | accuracies

    def _position_error(
        self, position_loss: PositionLoss, hidden: Float[Tensor, "N hidden"], batch: dict[str, Any]
    ) -> Float[Tensor, ""]:
        """The position loss at the states that predict the first action code of each row."""
        acts = batch[TOKEN_TYPES] == int(TokenType.ACTION)
        first = acts & (acts.cumsum(1) == 1)
        return position_loss(hidden[first[batch[LOSS_MASK]]], _frames(batch)[batch[ROWS]])

    def _logits_and_flow_loss(
        self,
        expert: FlowExpert,
        sequences: "_Sequences",
        batch: dict[str, Any],
        draw: FlowDraw | None,
    ) -> tuple[Float[Tensor, "N vocabulary"], Float[Tensor, ""]]:
        """The logits of the supervised tokens, and the loss of the flow expert over the same pass."""
        logits, key_values = self.backbone.forward_with_key_values(
            sequences.embeddings, sequences.loss_mask, attention_mask=sequences.attention_mask
        )
        columns = torch.arange(sequences.types.shape[1], device=sequences.types.device)
        is_padding = columns >= sequences.prefix_length + batch[LENGTHS][:, None]
        context = FlowContext.of(
            key_values,
            sequences.types.masked_fill(is_padding, PAD),
            expert.horizon,
            self.config.reasoning.hidden,
        )
        flow = self._flow_loss(expert, context, batch, draw)
        if self.config.reasoning.enabled and not len(logits):
            # Nothing is answered, so an insulated language model would get no gradient. Processes that share a model
            # wait for one another's gradient of each block: it gets zeros.
            flow = flow + logits.sum()
        return logits, flow

    def _flow_loss(
        self, expert: FlowExpert, context: FlowContext, batch: dict[str, Any], draw: FlowDraw | None
    ) -> Float[Tensor, ""]:
        """The weighted error of the velocity over the rows of a batch, each with `flow.noise_samples` draws of noise.

        Actions beyond an episode's end do not count. draw: by default that of the step.
        """
        device = self.backbone.device
        actions, is_pad = action_chunks(batch[ACTION]).to(device), batch.get(ACTION_IS_PAD)
        is_pad = None if is_pad is None else is_pad.to(device)
        rows = _rows_trained_on(batch)
        if rows is not None:
            actions, is_pad = actions[rows], None if is_pad is None else is_pad[rows]
        if self.config.flow.insulate:
            context = context.detached()
        if draw is None:
            draw = self._draw_of_step(expert, len(actions) * self.config.flow.noise_samples)
        return self.config.flow.loss_weight * flow_loss(
            expert, context, actions, is_pad, noise=draw.noise.to(device), time=draw.time.to(device)
        )

    def train(self, mode: bool = True) -> "InspireVLAPolicy":
        """Dialogues are dropped (`reasoning.dropout`) in training alone, not where a held-out loss is computed."""
        self.tokenizer.training = mode
        return super().train(mode)

    def _draw_of_step(self, expert: FlowExpert, rows: int) -> FlowDraw:
        """Noise and times of a training step, which is counted where the policy is trained."""
        draw = draw_for_step(expert, rows, int(self.noise_draws))
        if self.training:
            self.noise_draws += 1
        return draw

    def update(self) -> None:
        """LeRobot calls this after each step of the optimizer. Raises InspireError for weights that are not finite.

        They are checked here, before the step may be saved: the loss shows them only at the next step.
        """
        trained = [parameter.detach() for parameter in self.parameters() if parameter.requires_grad]
        if not bool(torch.nn.utils.get_total_norm(trained).isfinite()):
            raise InspireError(f"A step made weights infinite or NaN. {NOT_FINITE}")

    def get_optim_params(self) -> list[dict[str, Any]]:
        """Groups of parameters: weight decay on matrices only, and `vision_lr` for the vision encoder."""
        trained = [p for p in self.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = []
        if self.config.vision_lr is not None:
            assert isinstance(self.backbone, HFBackbone)
            of_vision = {id(p) for module in self.backbone.vision() for p in module.parameters()}
            vision = [p for p in trained if id(p) in of_vision]
            trained = [p for p in trained if id(p) not in of_vision]
            groups = [group | {"lr": self.config.vision_lr} for group in _by_decay(vision)]
        return [*_by_decay(trained), *groups]

    def _tokenized(
        self, batch: dict[str, Any], key: str, tokenize: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """The batch with what our preprocessor step adds.

        Only the first batch is tokenized here, where the step was loaded from a checkpoint: it gets this policy's
        tokenizer, see `InspireVLATokenizerStep`.
        """
        step = batch.get(STEP)
        changed = step is not None and step.share(self.tokenizer)
        if key in batch and not changed:
            return batch
        device = self.backbone.device
        added = tokenize(batch)
        return batch | {k: v.to(device) if isinstance(v, Tensor) else v for k, v in added.items()}

    def _speed(self, tokens: int) -> dict[str, float]:
        """Tokens per second since the last step, padding and images included."""
        now, before = time.perf_counter(), self._last_step
        self._last_step = now
        return {} if before is None else {"tokens_per_second": tokens / (now - before)}

    # Acting

    def reset(self) -> None:
        """Forget the episode: queued actions, the drafts of the next answers, earlier images."""
        self._queue: deque[Tensor] = deque()
        self._drafts: list[dict[str, str]] = []
        self._history: deque[Tensor] = deque(maxlen=self.config.n_obs_steps)

    def act(
        self,
        batch: dict[str, Any],
        *,
        overrides: Sequence[Mapping[str, str]] | None = None,
        drafts: Sequence[Mapping[str, str] | None] | None = None,
        temperature: float = 0.0,
        generator: np.random.Generator | None = None,
        noise: Float[Tensor, "batch horizon dim"] | None = None,
    ) -> list[Decision]:
        """Answer, then act, for each row of a preprocessed batch. Actions are in normalised units.

        Args:
            overrides: per row {mention: answer} to set instead of the model's answers.
            drafts: per row {mention: answer} expected. Drafts change the time, never the outcome. None: the most
                frequent first answers of the dataset. {}: no draft.
            generator: of samples, and of the noise that a flow expert starts from. Without it, each row's noise is
                drawn with the observation as seed, so that a decision can be repeated.
            noise: that of a flow expert, as wide as it takes the actions.
        """
        self.eval()
        tokenized = self._tokenized(batch, DIALOGUES, self.tokenizer.prompts)
        dialogues, questions = tokenized[DIALOGUES], tokenized.get(QUESTIONS, [])
        if questions and any(overrides or ()):
            raise InspireError(
                "The questions of this policy are not in the action's sequence (separate_questions): to override an "
                "answer would change no action."
            )
        with torch.inference_mode():
            observation, states = self.encode_observation(batch), self.encode_state(batch)
        flow = None if self.expert is None else self._flow_head(self.expert, batch, noise, generator)
        drafted = self._with_initial_drafts(drafts, questions or dialogues)
        sampling: dict[str, Any] = {"temperature": temperature, "generator": generator}
        decisions = decode(
            self.backbone,
            observation,
            dialogues,
            self.grammar,
            drafts=drafted,
            overrides=overrides,
            hide=self.config.reasoning.hidden,
            states=states,
            flow=flow,
            **sampling,
        )
        asked = [row for row, dialogue in enumerate(questions) if dialogue.mentions]
        if asked:
            answered = decode(
                self.backbone,
                observation[asked],
                [questions[row] for row in asked],
                self.grammar,
                drafts=[drafted[row] for row in asked],
                **sampling,
            )
            for row, answers in zip(asked, answered, strict=True):
                decisions[row] = answers.followed_by(decisions[row])
        return decisions

    def _with_initial_drafts(
        self, drafts: Sequence[Mapping[str, str] | None] | None, dialogues: Sequence[Dialogue]
    ) -> list[Mapping[str, str]]:
        """The drafts of a batch; where one is None, the most frequent first answers of the dataset."""
        initial = [
            dict(zip(dialogue.mentions, self.tokenizer.parts.initial_draft, strict=False))
            for dialogue in dialogues
        ]
        return [
            first if draft is None else draft
            for first, draft in zip(initial, drafts or [None] * len(initial), strict=True)
        ]

    def _flow_head(
        self,
        expert: FlowExpert,
        batch: dict[str, Any],
        noise: Float[Tensor, "batch horizon dim"] | None,
        generator: np.random.Generator | None,
    ) -> FlowHead:
        """The expert with the noise that this decision starts from.

        Where none is given, it is drawn by the generator, or with each row's observation as seed.
        """
        if noise is None:
            rows = len(batch["task"])
            rngs = (
                generator.spawn(rows)
                if generator is not None
                else seeded_by(self._observation_numbers(batch, rows))
            )
            noise = draw_noise(expert, rngs).to(self.backbone.device)
        steps = self.config.flow.denoising_steps or expert.denoising_steps
        return FlowHead(expert, noise, self.config.action_feature.shape[0], steps)

    def _observation_numbers(self, batch: dict[str, Any], rows: int) -> Float[np.ndarray, "rows numbers"]:
        """Each row's state and some pixels of its images."""
        parts = [batch[key].float()[..., ::16, ::16].reshape(rows, -1) for key in self.config.image_features]
        if self._has_state:
            parts.append(last_state(batch[OBS_STATE], rows, self.config.robot_state_feature.shape[0]))
        return torch.cat([part.cpu() for part in parts], dim=1).numpy()

    def predict_action_chunk(
        self, batch: dict[str, Any], **kwargs: Any
    ) -> Float[Tensor, "batch horizon dim"]:
        """The whole decoded chunk, `chunk_size` long, normalised.

        Raises:
            UndecodableAction: the model's tokens stand for no action.
            InspireError: a policy with a history of images (`n_obs_steps`) gets one image of a camera. The images
                before it are those of the control steps before, which only `select_action` sees.
        """
        steps = self.config.n_obs_steps
        if steps > 1 and any(batch[key].ndim == 4 for key in self.config.image_features if key in batch):
            raise InspireError(
                f"The policy takes {steps} images of each camera, of consecutive control steps (batch, {steps}, 3, "
                "height, width); found one. LeRobot's asynchronous server does not keep them: call select_action at "
                "every step, serve the policy by `inspire serve` with its ChunkPlayer, or train with "
                "--policy.n_obs_steps=1."
            )
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

    # Observations

    def encode_observation(
        self, batch: dict[str, Any], rows: Int[Tensor, " rows"] | None = None
    ) -> Float[Tensor, "rows prefix hidden"]:
        """The backbone's encoding of images and state, of all rows of a batch or of some."""
        missing = [key for key in self.config.image_features if key not in batch]
        if missing:
            cameras = sorted(key for key in batch if key.startswith("observation.images"))
            raise InspireError(f"The policy needs {missing}, but the observation has the images {cameras}.")
        images = torch.stack(self._images(batch), dim=-4)
        if self.config.n_obs_steps > 1:
            if images.ndim == 5:  # where an episode starts, its first image stands for those before it
                images = images[:, None].expand(-1, self.config.n_obs_steps, -1, -1, -1, -1)
            images = images.flatten(1, 2)  # all cameras at t−1, then all at t
        images = images if rows is None else images[rows]
        return self.backbone.encode_observation(images, self._state(batch, rows))

    def encode_state(
        self, batch: dict[str, Any], rows: Int[Tensor, " rows"] | None = None
    ) -> Float[Tensor, "rows state_tokens hidden"] | None:
        """The embeddings of the state that stand in the text; None for a backbone without such."""
        return self.backbone.encode_state(self._state(batch, rows))

    def _state(
        self, batch: dict[str, Any], rows: Int[Tensor, " rows"] | None
    ) -> Float[Tensor, "rows dim"] | None:
        """The robot's last state, of all rows or of some; None where the prompt holds it as text, or there is none."""
        if not self._has_state or self.backbone.template.needs_state:
            return None
        state = last_state(batch[OBS_STATE], len(batch["task"]), self.config.robot_state_feature.shape[0])
        return state if rows is None else state[rows]

    def _with_history(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with the last `n_obs_steps` images of each camera, (batch, time, 3, height, width)."""
        now = torch.stack(self._images(batch))
        self._history.append(now)
        past = [self._history[0]] * (self.config.n_obs_steps - len(self._history))
        images = torch.stack([*past, *self._history], dim=2)
        return batch | dict(zip(self.config.image_features, images, strict=True))

    def _images(self, batch: dict[str, Any]) -> list[Float[Tensor, "batch *history 3 height width"]]:
        """The images of each camera, in one size.

        Raises InspireError for another aspect ratio than the camera's, unless the backbone pads images, or a
        `FrameCache` has scaled this one.
        """
        for key, feature in self.config.image_features.items():
            size = tuple(batch[key].shape[-2:])
            if self.stretches_images and size != tuple(self.config.image_size or ()):
                check_aspect_ratio(repr(key), size, feature.shape[-2:])
        return [resized(batch[key].float(), self.config.image_size) for key in self.config.image_features]

    @property
    def stretches_images(self) -> bool:
        """Whether an image of another aspect ratio would be stretched, not padded."""
        return self.config.image_size is not None or not self.backbone.pads_images

    @property
    def _has_state(self) -> bool:
        return self.config.robot_state_feature is not None

    # Checkpoints

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
        """Load a checkpoint folder, or one of the hub. Weights must fit exactly unless `strict` is False.

        The tokenizer comes from the checkpoint's preprocessor. LeRobot makes the policy before it loads the
        processors, so the files that it reads then are checked here (see checkpoint_schema.py).

        Raises InspireError for a damaged checkpoint, one of another policy, or one that names code.
        """
        folder = _folder(pretrained_name_or_path, revision)
        check_checkpoint(folder)
        saved = load_config(folder)
        config = config or saved
        if not isinstance(config, InspireVLAConfig):
            raise InspireError(f"The configuration is of type {config.type!r}, not 'inspire_vla'.")
        config.inherit_architecture(saved)
        if kwargs.get("dataset_meta") is not None:
            rename_inputs(config, kwargs["dataset_meta"].features)
        config.validate_features()
        # To resume a LoRA, LeRobot loads its base; the LoRA may have been trained with another action tokenizer.
        adapter = config.pretrained_path if config.use_peft and "parts" not in kwargs else None
        source = folder if adapter is None else _folder(adapter, config.pretrained_revision)
        if "parts" not in kwargs:
            kwargs["parts"] = load_parts(source)
        if kwargs.get("dataset_meta") is not None and asked_for("resume"):
            check_resumed(sys.argv[1:], source, draccus.encode(load_config(source)))
        check_weights_fit(config, kwargs["parts"], folder / WEIGHTS)
        policy = super().from_pretrained(folder, config=config, strict=strict, **kwargs)
        if adapter is not None and policy.expert is not None:  # an adapter has no place for the buffer
            policy.noise_draws.fill_(steps_taken(source))
        return policy


class _Sequences(NamedTuple):
    """The training sequences of a batch: B observations, each followed by its text; T elements.

    types: PREFIX for an observation. loss_mask: the elements that predict a supervised token. attention_mask: True
    where a row attends to a column, None for causal attention. prefix_length: elements of an observation.
    """

    embeddings: Float[Tensor, "B T hidden"]
    types: Int[Tensor, "B T"]
    loss_mask: Bool[Tensor, "B T"]
    attention_mask: Bool[Tensor, "B T T"] | None
    prefix_length: int


def _rows_trained_on(batch: Mapping[str, Any]) -> Int[Tensor, " rows"] | None:
    """The rows of a tokenized batch that are trained on; None for all. Others lack a label of what they are asked."""
    return None if len(batch[ROWS]) == len(batch["task"]) else batch[ROWS]


def _is_unlabelled(batch: Mapping[str, Any]) -> bool:
    """Whether no row has its labels."""
    return batch[UNLABELLED_ROWS] == len(batch["task"])


def _by_decay(parameters: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Parameter groups of an optimizer, with weight decay on matrices only."""
    matrices, others = [p for p in parameters if p.ndim >= 2], [p for p in parameters if p.ndim < 2]
    return [{"params": matrices}, {"params": others, "weight_decay": 0.0}]


def _frames(batch: Mapping[str, Any]) -> Int[Tensor, " B"]:
    """LeRobot's `index` of each row: the frame's number in its dataset. Raises InspireError where there is none."""
    if "index" not in batch:
        raise InspireError(f"The position loss needs the frames' 'index'; the batch has {sorted(batch)}.")
    return batch["index"].reshape(-1)


def _folder(name: str | Path, revision: str | None) -> Path:
    """The folder of a checkpoint, downloaded where it is a name of the hub."""
    return Path(name) if Path(name).is_dir() else from_hub(name, revision)
