"""Policy type `inspire_vla` = backbone × action head × reasoning (design decision 1)."""

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import draccus
from lerobot.configs import FeatureType, NormalizationMode, PreTrainedConfig
from lerobot.optim.optimizers import AdamWConfig
from lerobot.optim.schedulers import CosineAnnealingWithWarmupSchedulerConfig
from lerobot.utils.constants import OBS_STATE

from inspire_vla.backbones.devices import AUTO, fast_dtype
from inspire_vla.backbones.image_text import ImageTextConfig
from inspire_vla.backbones.nano import STRIDE, NanoConfig
from inspire_vla.backbones.nano_flow import NanoFlowConfig
from inspire_vla.backbones.paligemma import PaliGemmaConfig
from inspire_vla.backbones.pi05 import GemmaExpertSize
from inspire_vla.backbones.prismatic import PrismaticConfig
from inspire_vla.backbones.smolvla import SmolVLAConfig
from inspire_vla.errors import InspireError, did_you_mean, reason_of
from inspire_vla.files import read_json
from inspire_vla.labels.columns import ANSWERS_PREFIX
from inspire_vla.lerobot_plugin.checkpoint_files import CONFIG
from inspire_vla.lerobot_plugin.checkpoint_schema import read_config
from inspire_vla.lerobot_plugin.draccus_errors import refusal_of
from inspire_vla.lerobot_plugin.observation_forms import camera_of
from inspire_vla.lerobot_plugin.option_groups import (
    MAX_SIZE,
    FlowConfig,
    ReasoningConfig,
    VQConfig,
    check_at_least_0,
    check_sizes,
)
from inspire_vla.lerobot_plugin.policy_kinds import ACTION_HEADS

if TYPE_CHECKING:
    from inspire_vla.lerobot_plugin.tokenizer import InspireVLATokenizer

log = logging.getLogger(__name__)

NANO_PIXELS = 2**15
"""Images with more are scaled down for a new nano, unless `image_size` says otherwise: 128 tokens a camera."""
NANO_SIDE = 96
"""Then their shorter side is about this, as in the included models."""

BACKBONES = tuple(ACTION_HEADS)
ACTION_TOKENIZERS = ("residual_vq", "uniform_bins", "fast", "learned_vq")
DTYPES = ("float32", "bfloat16")
STATIC_CACHE = ("off", "eager", "cuda_graphs")


MAX_OBSERVATIONS, MAX_CHUNK = 1024, 4096
"""Numbers beyond these are no policy of today: a damaged configuration must not fill the memory."""


@PreTrainedConfig.register_subclass("inspire_vla")
@dataclass
class InspireVLAConfig(PreTrainedConfig):
    """Configuration of an InSpire policy, base or reasoning; a checkpoint's config.json holds it whole."""

    backbone: str = "nano"
    action_head: str | None = None
    """"tokens" or "flow"; None: the backbone's default, see `ACTION_HEADS`."""
    action_tokenizer: str | None = None
    """Of the head "tokens"; None: "residual_vq". Of the head "flow" with `flow.action_codes_weight`; None: "fast"."""
    reasoning: ReasoningConfig = field(default_factory=ReasoningConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    nano_flow: NanoFlowConfig = field(default_factory=NanoFlowConfig)
    nano: NanoConfig = field(default_factory=NanoConfig)
    pretrained_init: str | None = None
    """What a new nano begins with: the folder of an `inspire pretrain`, or the name of an included one."""
    prismatic: PrismaticConfig = field(default_factory=PrismaticConfig)
    paligemma: PaliGemmaConfig = field(default_factory=PaliGemmaConfig)
    image_text: ImageTextConfig = field(default_factory=ImageTextConfig)
    smolvla: SmolVLAConfig = field(default_factory=SmolVLAConfig)
    gemma_expert: GemmaExpertSize = field(default_factory=GemmaExpertSize)
    """The expert of pi05, whose language model is `paligemma`."""
    vq: VQConfig = field(default_factory=VQConfig)

    position_loss_weight: float = 0.0
    """Weight of an auxiliary loss in training: a linear layer regresses the objects' positions from the hidden state
    before the action, see position_loss.py. 0: none. It needs a dataset with a simulator's privileged columns."""

    chunk_size: int = 4
    n_action_steps: int = 4
    use_state: bool = True

    image_size: tuple[int, int] | None = None
    """(height, width) that images are scaled to before the backbone sees them: where cameras differ in size, or are
    too large for nano. None: as they are."""

    dtype: str = "float32"
    """Of computation and weights. "bfloat16" is for CUDA; LeRobot turns autocast on by it. That is all that it does to
    nano, whose weights are float32: on a CPU with instructions for bfloat16 it trains faster. "auto" becomes bfloat16
    where that is fast, else float32; the checkpoint holds which."""
    weights_dtype: str | None = None
    """Of the weights, where it is another one. "float32" beside dtype bfloat16 is mixed precision, for full
    fine-tuning: a step of 2e-5 is lost in the rounding of a bfloat16 weight."""
    static_cache: str = "off"
    """How published backbones decode: "off": in shapes that grow. "eager": in static shapes. "cuda_graphs": those
    compiled for replay, on a GPU (the first decisions take minutes)."""
    static_cache_length: int = 1024
    """Room for the longest sequence in static shapes."""
    freeze_vision: bool = False
    train_expert_only: bool = False
    """Of the head "flow": the language model is not trained, so it cannot learn to answer (LeRobot's SmolVLA)."""
    gradient_checkpointing: bool = False

    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: {
            "VISUAL": NormalizationMode.IDENTITY,
            "STATE": NormalizationMode.MEAN_STD,
            "ACTION": NormalizationMode.QUANTILES,
        }
    )

    optimizer_lr: float = 1e-3
    vision_lr: float | None = None
    """Learning rate of the vision encoder, where it is another one: what others trained is changed with care."""
    optimizer_weight_decay: float = 0.05
    warmup_steps: int = 200
    push_to_hub: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        # Not a field, so it is not saved: the policy sets its tokenizer, and the preprocessor that LeRobot makes of the
        # same configuration shares it. LeRobot hands over a dataset in the same way (`_runtime_dataset_meta`).
        self.runtime_tokenizer: InspireVLATokenizer | None = None
        # The episodes that are trained on, as `lerobot_host` tells; None: all of them. Not saved either.
        self.runtime_episodes: frozenset[int] | None = None
        # Column of the dataset → its name in the policy, where LeRobot's `rename_map` changes it. Not saved either.
        self.runtime_renamed: Mapping[str, str] = {}
        # Whether whole numbers of the dataset are handed out as floats, as `inspire train` does. Not saved either.
        self.runtime_floats = False
        _check_choice(self.backbone, BACKBONES, "backbone")
        if self.dtype == AUTO:
            self.dtype = fast_dtype(self.device)
        self._choose_action_head()
        for value, choices, what in (
            (self.dtype, (*DTYPES, AUTO), "dtype"),
            (self.static_cache, STATIC_CACHE, "static_cache"),
            (self.weights_dtype or self.dtype, DTYPES, "dtype of the weights"),
        ):
            _check_choice(value, choices, what)
        self._check_nano()
        self._check_lengths()
        self._check_vision()
        self._check_optimizer()
        self._check_losses()
        for name in ("nano", "nano_flow", "prismatic", "paligemma", "smolvla", "gemma_expert", "vq"):
            check_sizes(getattr(self, name), name)

    def _check_nano(self) -> None:
        """Refuse options of published backbones for nano."""
        if self.backbone == "nano" and self.static_cache != "off":
            raise InspireError(
                f"nano has no static steps (they are for {BACKBONES[1:]}); set static_cache to 'off'."
            )
        if self.backbone == "nano" and self.weights_dtype == "bfloat16":
            raise InspireError(
                f"nano's weights are float32 (weights_dtype is for {BACKBONES[1:]}); leave weights_dtype out."
            )

    def _check_lengths(self) -> None:
        """Refuse numbers of observations and actions that do not go together."""
        if not 1 <= self.n_obs_steps <= MAX_OBSERVATIONS:
            raise InspireError(f"n_obs_steps must be from 1 to {MAX_OBSERVATIONS}, found {self.n_obs_steps}.")
        if self.chunk_size > MAX_CHUNK:
            raise InspireError(f"chunk_size must be at most {MAX_CHUNK}, found {self.chunk_size}.")
        if not 1 <= self.n_action_steps <= self.chunk_size:
            raise InspireError(
                f"n_action_steps must lie between 1 and chunk_size {self.chunk_size}, found {self.n_action_steps}."
            )

    def _check_optimizer(self) -> None:
        """Refuse what no optimizer takes."""
        if not 0 < self.optimizer_lr < math.inf:
            raise InspireError(f"optimizer_lr must be a number above 0, found {self.optimizer_lr}.")
        check_at_least_0(self.optimizer_weight_decay, "optimizer_weight_decay")
        check_at_least_0(self.warmup_steps, "warmup_steps")

    def _check_vision(self) -> None:
        """Refuse images, a start or a learning rate that the vision encoder cannot have."""
        if self.image_size is not None and not all(1 <= side <= MAX_SIZE for side in self.image_size):
            raise InspireError(
                f"image_size is (height, width) in pixels, from 1 to {MAX_SIZE}; found {self.image_size}."
            )
        if self.nano.vision != "stem" and self.pretrained_init:
            raise InspireError(
                f"The grounding pre-training {self.pretrained_init!r} is of nano's own stem, not of the encoder "
                f"{self.nano.vision!r}: set --policy.pretrained_init=null."
            )
        if self.vision_lr is not None and not (0 < self.vision_lr < math.inf and not self.freeze_vision):
            raise InspireError(
                f"vision_lr must be a number above 0, of an encoder that is trained (freeze_vision=false); found "
                f"{self.vision_lr} with freeze_vision={str(self.freeze_vision).lower()}."
            )

    def _check_losses(self) -> None:
        """Refuse losses that the action head does not have."""
        check_at_least_0(self.position_loss_weight, "position_loss_weight")
        if self.position_loss_weight and not self.has_codes:
            raise InspireError(
                "position_loss_weight needs the action head 'tokens': the loss reads the state that predicts the first "
                "action token."
            )
        if self.reasoning.asks_apart and not self.has_codes:
            raise InspireError(
                "separate_questions needs the action head 'tokens'; the samples of the questions have no action that a "
                "flow expert could learn."
            )

    def _choose_action_head(self) -> None:
        """Set the defaults of action head and action tokenizer, and refuse options of the other head."""
        heads = ACTION_HEADS[self.backbone]
        self.action_head = self.action_head or heads[0]
        _check_choice(self.action_head, ("tokens", "flow"), "action head")
        if self.action_head not in heads:
            possible = [name for name, of_backbone in ACTION_HEADS.items() if self.action_head in of_backbone]
            raise InspireError(
                f"The backbone {self.backbone!r} has no action head {self.action_head!r} but {' and '.join(heads)}; "
                f"{self.action_head!r} is possible with {', '.join(possible)}."
            )
        if self.trains_codes:
            self.action_tokenizer = self.action_tokenizer or ("residual_vq" if self.has_codes else "fast")
            _check_choice(self.action_tokenizer, ACTION_TOKENIZERS, "action tokenizer")
        if self.has_codes:
            if self.flow != FlowConfig():
                raise InspireError("The options flow.… are those of --policy.action_head=flow.")
            if self.train_expert_only:
                raise InspireError("train_expert_only is an option of --policy.action_head=flow.")
        elif self.train_expert_only and self.reasoning.enabled:
            raise InspireError(
                "With train_expert_only the language model cannot learn to answer: the words of the answers, and the "
                "layer and norm that they are read from, stay as they are. Set --policy.train_expert_only=false, or "
                "train the base model: --policy.reasoning.enabled=false."
            )
        elif self.train_expert_only and self.trains_codes:
            raise InspireError(
                "With train_expert_only the language model is not trained, so it learns no action codes: leave out "
                "--policy.flow.action_codes_weight."
            )
        elif not self.trains_codes and (self.action_tokenizer is not None or self.vq != VQConfig()):
            raise InspireError(
                "The action head 'flow' has no action tokenizer, unless the language model learns its codes beside the "
                "expert (--policy.flow.action_codes_weight=1): leave out --policy.action_tokenizer and --policy.vq. If "
                "they are the recipe's, take another one (nano_tabletop_flow, nano_own_flow, smolvla, pi05). If they "
                "are a checkpoint's of the head 'tokens', it keeps its head; of one that learned codes, set "
                "--policy.action_tokenizer=null."
            )

    def inherit_architecture(self, saved: "InspireVLAConfig") -> None:
        """Take a checkpoint's model sizes where none were given, as with `--policy.type … --policy.pretrained_path`.

        Raises InspireError where the checkpoint is of another backbone.
        """
        if saved.backbone != self.backbone:
            raise InspireError(
                f"The checkpoint's backbone is {saved.backbone!r}, the configuration asks for {self.backbone!r}."
            )
        if saved.action_head != self.action_head:
            raise InspireError(
                f"The checkpoint's action head is {saved.action_head!r}, the configuration asks for "
                f"{self.action_head!r}. A policy keeps its head; train one with the other head from the start."
            )
        if self.has_own_action_tokens and saved.trains_codes != self.trains_codes:
            raise InspireError(
                f"The vocabulary of {self.backbone} has a row for each action code. The checkpoint has "
                f"flow.action_codes_weight {saved.flow.action_codes_weight}, the configuration "
                f"{self.flow.action_codes_weight}: both must be 0, or both above 0. Train from the start otherwise."
            )
        for name in ("nano", "nano_flow", "prismatic", "paligemma", "image_text", "smolvla", "gemma_expert"):
            sizes = getattr(self, name)
            if sizes == type(sizes)():
                setattr(self, name, getattr(saved, name))

    def validate_features(self) -> None:
        """Check the features, and keep those that the policy takes: colour cameras and `observation.state`.

        The label columns are truth, not observation. Others are left out, and the log says which.

        Raises InspireError for inputs that a policy cannot be made of.
        """
        given = {k: f for k, f in (self.input_features or {}).items() if not k.startswith(ANSWERS_PREFIX)}
        states = [key for key, feature in given.items() if feature.type is FeatureType.STATE]
        parts = [key for key in states if key.startswith(f"{OBS_STATE}.")]
        if self.use_state and parts and OBS_STATE not in states:
            raise InspireError(
                f"The robot's state must be one column, {OBS_STATE!r}; found only its parts {parts}. Write them into "
                "one column of the dataset, or train without the state: --policy.use_state=false."
            )
        cameras = [key for key, feature in given.items() if feature.type is FeatureType.VISUAL]
        coloured = [key for key in cameras if given[key].shape[0] == 3]
        self.input_features = {
            key: feature
            for key, feature in given.items()
            if key in coloured or (self.use_state and key in states and key == OBS_STATE)
        }
        for what, keys, why in (
            ("images", cameras, "they do not have three colour channels"),
            (
                "inputs",
                [key for key in given if key not in (*cameras, OBS_STATE)],
                "the policy does not take them",
            ),
        ):
            left_out = [key for key in keys if key not in self.input_features]
            if left_out:
                log.info(f"Left out of the {what}, because {why}: {', '.join(left_out)}.")
        if not coloured:
            raise InspireError(
                f"A VLA needs at least one camera with three colour channels; the inputs are {sorted(given)}."
            )
        cameras_of_name = {camera_of(key): key for key in coloured}
        if twice := [key for key in coloured if cameras_of_name[camera_of(key)] != key]:
            other = cameras_of_name[camera_of(twice[0])]
            raise InspireError(
                f"{twice[0]} and {other} are one camera by their names, {camera_of(other)!r}. Give one another name: "
                f'--rename_map=\'{{"{twice[0]}": "observation.images.NAME"}}\'.'
            )
        if self.action_feature is None:
            raise InspireError(
                f"There is no `action` among the output features {sorted(self.output_features)}. Datasets need "
                "LeRobot's names: `action`, `observation.state` and `observation.images.NAME`. If yours has openpi's "
                "names `actions`, `state` and `image`, rename them in the script that writes it."
            )
        if self.image_size is None and len({tuple(f.shape) for f in self.image_features.values()}) != 1:
            shapes = {key: tuple(f.shape) for key, f in self.image_features.items()}
            raise InspireError(
                f"All images must have one size, found {shapes}. --policy.image_size=[224,224] scales them to one."
            )

    def choose_image_size(self) -> None:
        """Choose an image size for a new nano without one, where its cameras differ in size or are large.

        nano makes a token of 16 × 16 pixels, so that a camera of 480 × 640 would cost 1,200 tokens.
        """
        shapes = [f.shape for f in self.image_features.values() if f.shape[0] == 3]
        if self.backbone != "nano" or self.image_size or self.pretrained_init or not shapes:
            return
        height, width = max((shape[1:] for shape in shapes), key=lambda size: size[0] * size[1])
        if height * width > NANO_PIXELS:
            scale = NANO_SIDE / min(height, width)
        elif len(set(shapes)) > 1 or height % STRIDE or width % STRIDE:
            scale = 1.0
        else:
            return
        rows, columns = (max(1, round(side * scale / STRIDE)) * STRIDE for side in (height, width))
        self.image_size = rows, columns
        log.info(
            f"Images of {height} × {width} pixels are scaled to {rows} × {columns} for nano. Another size: "
            f"--policy.image_size=[HEIGHT,WIDTH], sides are multiples of {STRIDE}."
        )

    def get_optimizer_preset(self) -> AdamWConfig:
        return AdamWConfig(
            lr=self.optimizer_lr,
            weight_decay=self.optimizer_weight_decay,
            betas=(0.9, 0.95),
            grad_clip_norm=1.0,
        )

    def get_scheduler_preset(self) -> CosineAnnealingWithWarmupSchedulerConfig:
        return CosineAnnealingWithWarmupSchedulerConfig(num_warmup_steps=self.warmup_steps)

    @property
    def model_image_size(self) -> tuple[int, int]:
        """(height, width) of the images that the backbone takes."""
        height, width = self.image_size or next(iter(self.image_features.values())).shape[-2:]
        return height, width

    @property
    def has_codes(self) -> bool:
        """Whether actions are generated as codes of an action tokenizer; False: by a flow expert."""
        return self.action_head == "tokens"

    @property
    def trains_codes(self) -> bool:
        """Whether the language model learns codes of an action tokenizer: to act by them, or beside a flow expert."""
        return self.has_codes or self.flow.action_codes_weight > 0

    @property
    def has_own_action_tokens(self) -> bool:
        """Whether the vocabulary grows by the action codes, instead of lending them ids of its own."""
        return self.backbone == "nano" or (
            self.backbone == "image_text" and self.image_text.action_tokens == "added"
        )

    @property
    def observation_delta_indices(self) -> list[int] | None:
        return list(range(1 - self.n_obs_steps, 1)) if self.n_obs_steps > 1 else None

    @property
    def action_delta_indices(self) -> list[int]:
        return list(range(self.chunk_size))

    @property
    def reward_delta_indices(self) -> None:
        return None


def _check_choice(value: str | None, choices: Collection[str], what: str) -> None:
    if value not in choices:
        raise InspireError(f"Unknown {what} {value!r}.{did_you_mean(str(value), choices)}")


def load_config(folder: Path) -> InspireVLAConfig:
    """Read the configuration of a checkpoint. Raises InspireError where it is damaged or of another policy.

    It is what LeRobot's `PreTrainedConfig.from_pretrained` reads, which leaves a temporary file behind each time.
    """
    read_config(folder)
    settings = read_json(folder / CONFIG, dict[str, Any])
    del settings["type"]
    try:
        return draccus.decode(InspireVLAConfig, settings)
    except (Exception, SystemExit) as error:  # draccus raises many kinds, for each type of field its own
        refusal = refusal_of(error, before="") or f"{reason_of(error)}."
        raise InspireError(f"{folder / CONFIG} does not fit: {refusal}") from None
