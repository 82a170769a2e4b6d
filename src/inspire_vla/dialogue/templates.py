"""Templates: the strings of a dialogue for one language model. A new template is a few strings.

question_position "before", the method's default:

    start  question answer answer_end …  instruction  action_prompt  <action ids>  action_end
                    ^^^^^^                                            ^^^^^^^^^^^^
question_position "after":

    start  instruction_first  question answer answer_end …  action_prompt_after  <action ids>  action_end
                                       ^^^^^^                                     ^^^^^^^^^^^^

Each part is tokenised by itself. The marked parts are supervised.
"""

from dataclasses import asdict, dataclass

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
        name: its name in a configuration.
        start: the beginning of the sequence (a system turn, a begin token).
        question: holds {question}; everything up to the answer.
        answer: holds {answer}; with a space before it if the tokenizer's words include one.
        answer_end: ends an answer's turn.
        instruction: holds {instruction} and perhaps {state}; everything up to `action_prompt`.
        instruction_first: the same if questions follow; `instruction` if empty.
        action_prompt: directly before the action, tokenised apart from the instruction.
        action_prompt_after: the same if questions come between; `action_prompt` if empty.
        action_end: ends the action's turn.
        supervise_ends: whether answer_end and action_end are supervised too, for a model that must stop by itself.
            `decode` does not need it: it stops where answers and action are complete.
        lowercase: whether the instruction is lowercased, as in the model's own training.
        state_tokens: how many embeddings of the robot's state stand before the action (SmolVLA: one).

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
    state_tokens: int = 0

    def __post_init__(self) -> None:
        for field, slot in _SLOTS.items():
            text = getattr(self, field)
            if slot not in text and (text or field != "instruction_first"):
                raise InspireError(f"Template {self.name!r}: {field} must hold {slot}; found {text!r}.")

    @property
    def needs_state(self) -> bool:
        """Whether the instruction is written together with the robot state as text."""
        return "{state}" in self.instruction + self.instruction_first

    def answer_text(self, word: str) -> str:
        """Return the text of an answer."""
        return self.answer.replace("{answer}", word)

    def as_dict(self) -> dict[str, str | bool | int]:
        """Return the template as JSON data; `Template(**data)` reads it."""
        return asdict(self)


NANO_TEMPLATE = Template("nano")
"""The shortest: all parts except mention and instruction are single tokens of the included tokenizer."""

OPENVLA_TEMPLATE = Template(
    "openvla",  # SentencePiece adds the space before a word itself
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
    """Return a template by name, or a `Template` unchanged. Raises InspireError for an unknown name."""
    if isinstance(template, Template):
        return template
    if template not in TEMPLATES:
        raise InspireError(f"Unknown template {template!r}.{did_you_mean(str(template), TEMPLATES)}")
    return TEMPLATES[template]
