"""How a dialogue is written down for a language model. A template is data: a new one is the strings below.

asked before the instruction (the method's default):

    start  question answer answer_end …  instruction  action_prompt  <action ids>  action_end
                    ^^^^^^                                            ^^^^^^^^^^^^
asked after it:

    start  instruction_first  question answer answer_end …  action_prompt_after  <action ids>  action_end
                                       ^^^^^^                                     ^^^^^^^^^^^^

Each piece is tokenised on its own; the marked ones are supervised.
"""

from dataclasses import dataclass, fields

from inspire_vla.errors import InspireError, did_you_mean

_SLOTS = {
    "question": "{question}",
    "answer": "{answer}",
    "instruction": "{instruction}",
    "instruction_first": "{instruction}",
}


@dataclass(frozen=True)
class Template:
    """The strings around questions, answers, instruction and action.

    Attributes:
        name: how it is called in a configuration.
        start: said once, first (a system turn, a begin token).
        question: holds {question}; all up to where the answer begins.
        answer: holds {answer}; a space before it where the tokenizer's words carry one.
        answer_end: closes an answer's turn.
        instruction: holds {instruction} and perhaps {state}; all up to where the action (or its prompt) begins.
        instruction_first: the same where questions follow; `instruction` if empty.
        action_prompt: stands right before the action, tokenised apart from the instruction.
        action_prompt_after: the same where questions came between; `action_prompt` if empty.
        action_end: closes the action's turn.
        supervise_ends: whether answer_end and action_end are learned too, as a model needs that is to stop by
            itself. Our decoding stops by the closed set of answers and the action tokenizer's length.
        lowercase: whether the instruction is written in small letters, as the model read it in its own training.

    Raises:
        InspireError: a string lacks the slot it must hold.
    """

    name: str
    start: str = ""
    question: str = "{question}"
    answer: str = " {answer}"
    answer_end: str = ""
    instruction: str = "\nTask: {instruction}"
    instruction_first: str = ""
    action_prompt: str = ""
    action_prompt_after: str = ""
    action_end: str = ""
    supervise_ends: bool = False
    lowercase: bool = False

    def __post_init__(self) -> None:
        for field, slot in _SLOTS.items():
            text = getattr(self, field)
            if slot not in text and (text or field != "instruction_first"):
                raise InspireError(f"Template {self.name!r}: {field} must hold {slot}; found {text!r}.")

    @property
    def needs_state(self) -> bool:
        """Whether the instruction is written together with the robot's state as text."""
        return "{state}" in self.instruction + self.instruction_first

    def as_dict(self) -> dict[str, str | bool]:
        """The template as JSON-ready data; `Template(**data)` brings it back."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


NANO_TEMPLATE = Template("nano")
"""Shortest: every piece a single token of the shipped tokenizer but for the mention and the instruction."""

OPENVLA_TEMPLATE = Template(
    "openvla",  # SentencePiece puts the space before a word by itself
    question="In: {question}\nOut:",
    answer="{answer}",
    answer_end="</s>",
    instruction="In: What action should the robot take to {instruction}?\nOut:",
    instruction_first="In: What action should the robot take to {instruction}?\n",
    action_prompt_after="Out:",
    action_end="</s>",
    supervise_ends=True,
)

QWEN_TEMPLATE = Template(
    "qwen",
    start="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
    question="<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
    answer="{answer}",
    answer_end="<|im_end|>\n",
    instruction="<|im_start|>user\nWhat action should the robot take to {instruction}?<|im_end|>\n"
    "<|im_start|>assistant\n",
    instruction_first="<|im_start|>user\nTask: {instruction}<|im_end|>\n",
    action_prompt_after="<|im_start|>user\nWhat action should the robot take?<|im_end|>\n<|im_start|>assistant\n",
    action_end="<|im_end|>\n",
)

PI0_FAST_TEMPLATE = Template(
    "pi0_fast",
    start="<bos>",
    question="{question}",
    answer=" {answer}",
    answer_end="\n",
    instruction="Task: {instruction}, State: {state};\n",
    action_prompt="Action: ",
    action_end="|<eos>",
    supervise_ends=True,
)

TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (NANO_TEMPLATE, OPENVLA_TEMPLATE, QWEN_TEMPLATE, PI0_FAST_TEMPLATE)
}


def get_template(template: str | Template) -> Template:
    """Return a template by its name; a `Template` is returned as it is. Raises InspireError for an unknown name."""
    if isinstance(template, Template):
        return template
    if template not in TEMPLATES:
        raise InspireError(f"Unknown template {template!r}.{did_you_mean(str(template), TEMPLATES)}")
    return TEMPLATES[template]
