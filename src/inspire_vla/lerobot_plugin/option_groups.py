"""Groups of a policy's options: `--policy.reasoning.…`, `--policy.vq.…` and `--policy.flow.…`."""

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from inspire_vla.dialogue import ASKED_OBJECTS, TokenType
from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.spatial import MODES, get_frame

QUESTION_POSITIONS = ("before", "after")

MAX_OBJECTS = 64
MAX_DENOISING_STEPS = 1000
MAX_NOISE_SAMPLES = 64
MAX_LAYERS, MAX_SIZE = 1024, 1 << 20
"""Sizes beyond these are no model of today: a damaged configuration must not fill the memory."""


@dataclass
class ReasoningConfig:
    """What the model is asked before it acts. `enabled=False` is the base model; nothing else differs.

    Ablations: with `hide_answers` the model learns to answer but acts without seeing the words of its answers; with
    `hide_questions` as well it sees nothing of the dialogue. With `separate_questions` the questions are samples of
    their own (images, questions, answers), and the action is that of the base model. `dropout` is the share of training
    samples that lose their dialogue, so that the policy acts with and without being asked.
    """

    enabled: bool = True
    mode: str = "direction"
    frame: str = "robot"
    close_threshold_m: float | None = None
    grasped_word: bool = True
    question_position: str = "before"
    max_objects: int = ASKED_OBJECTS
    answer_loss_weight: float = 1.0
    hide_answers: bool = False
    hide_questions: bool = False
    separate_questions: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InspireError(f"Unknown reasoning mode {self.mode!r}.{did_you_mean(self.mode, MODES)}")
        if self.question_position not in QUESTION_POSITIONS:
            raise InspireError(
                f"Questions are asked {QUESTION_POSITIONS} the instruction, found {self.question_position!r}."
            )
        if not 1 <= self.max_objects <= MAX_OBJECTS:
            raise InspireError(f"max_objects must be from 1 to {MAX_OBJECTS}, found {self.max_objects}.")
        if self.hide_questions and not self.hide_answers:
            raise InspireError("hide_questions hides the dialogue whole: it needs hide_answers as well.")
        if self.hide_answers and self.question_position == "after":
            raise InspireError(
                "What is said right before the action cannot be hidden from it: hide_answers needs "
                "question_position='before'."
            )
        if not 0 <= self.dropout < 1:
            raise InspireError(
                f"dropout is the share of samples without a dialogue, from 0 to below 1; found {self.dropout}. Without "
                "any dialogue it is the base model: enabled=false."
            )
        others = {
            "hide_answers": self.hide_answers,
            "dropout": self.dropout > 0,
            "question_position='after'": self.question_position == "after",
        }
        if self.separate_questions and any(others.values()):
            found = [name for name, given in others.items() if given]
            raise InspireError(
                "With separate_questions no question stands in the action's sequence, so that "
                f"{' and '.join(found)} would change nothing. Leave one of them out."
            )
        check_at_least_0(self.answer_loss_weight, "reasoning.answer_loss_weight")
        get_frame(self.frame)

    @property
    def asks_apart(self) -> bool:
        """Whether the questions are sequences of their own."""
        return self.enabled and self.separate_questions

    @property
    def hidden(self) -> tuple[TokenType, ...]:
        """What of the dialogue the action does not see."""
        return (TokenType.ANSWER,) * self.hide_answers + (TokenType.QUESTION,) * self.hide_questions


@dataclass
class VQConfig:
    """Size of the residual vector quantiser of action chunks."""

    levels: int = 2
    codes_per_level: int = 128
    gripper_weight: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.gripper_weight < math.inf:
            raise InspireError(f"vq.gripper_weight must be a number above 0, found {self.gripper_weight}.")


@dataclass
class FlowConfig:
    """How a flow expert (`action_head="flow"`) is trained and denoises. The answers' weight is in `ReasoningConfig`."""

    loss_weight: float = 1.0
    insulate: bool = False
    """Knowledge insulation: the flow loss does not change the backbone. It learns from the answers, and from the action
    codes where they are trained."""
    action_codes_weight: float = 0.0
    """Weight of an auxiliary loss in training: the language model also learns the action chunk as codes of an action
    tokenizer, by cross-entropy (arXiv 2505.23705). The expert never sees the codes; to act, none are made. 0: none."""
    noise_samples: int = 1
    """Noise and times drawn for each frame of a training step. The backbone runs once for all of them, so a small
    expert learns from more of them at little cost (`repeated_diffusion_steps` of CogACT, arXiv 2411.19650)."""
    denoising_steps: int | None = None
    """Euler steps; None: the expert's own number."""

    def __post_init__(self) -> None:
        if not 0 < self.loss_weight < math.inf:
            raise InspireError(f"flow.loss_weight must be a number above 0, found {self.loss_weight}.")
        check_at_least_0(self.action_codes_weight, "flow.action_codes_weight")
        if not 1 <= self.noise_samples <= MAX_NOISE_SAMPLES:
            raise InspireError(
                f"flow.noise_samples must be from 1 to {MAX_NOISE_SAMPLES}, found {self.noise_samples}."
            )
        if self.denoising_steps is not None and not 1 <= self.denoising_steps <= MAX_DENOISING_STEPS:
            raise InspireError(
                f"flow.denoising_steps must be from 1 to {MAX_DENOISING_STEPS}, found {self.denoising_steps}."
            )


def check_at_least_0(value: float, what: str) -> None:
    """Raise InspireError for a negative, infinite or missing number."""
    if not 0 <= value < math.inf:
        raise InspireError(f"{what} must be a number of at least 0, found {value}.")


def check_sizes(sizes: Any, name: str) -> None:
    """Raise InspireError for a size of a model that is not positive, or that no model has."""
    for each in fields(sizes):
        value, option = getattr(sizes, each.name), f"{name}.{each.name}"
        if is_dataclass(value):
            check_sizes(value, option)
        elif isinstance(value, int) and not isinstance(value, bool):
            low = 0 if each.name == "registers" else 1
            high = MAX_LAYERS if each.name in ("layers", "blocks", "levels") else MAX_SIZE
            if not low <= value <= high:
                raise InspireError(f"{option} must be from {low} to {high}, found {value}.")
