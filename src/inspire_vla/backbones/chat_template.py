"""A model's chat template, as the template of a dialogue. A checkpoint keeps it in a file of its own."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from inspire_vla.dialogue import Template
from inspire_vla.errors import InspireError, counted
from inspire_vla.files import read_json, write_json

PROMPT = "What action should the robot take to {instruction}?"
STATE = " Robot state: {state}."
"""After `PROMPT`, for policies that take the state: a number from 0 to 255 for each of its values."""
FILE = "dialogue_template.json"
"""transformers keeps a chat template in a file of another type, which LeRobot does not upload to the hub."""
_MARKS = ("⟦one⟧", "⟦two⟧", "⟦three⟧")


@dataclass(frozen=True)
class ChatTemplate:
    """A model's chat template, as the template of a dialogue.

    Attributes:
        images: number of images in the first turn.
        opening: text of the first turn up to the end of its images.
        template: how the dialogue continues.
    """

    images: int
    opening: str
    template: Template

    @classmethod
    def of(cls, processor: Any, num_images: int) -> Self:
        """Read the processor's chat template. Without one, a dialogue is plain lines behind the image tokens.

        Raises:
            InspireError: the chat template changes the text of a turn.
        """
        if not getattr(processor, "chat_template", None):
            image_token = getattr(processor.tokenizer, "image_token", "<image>")
            image_token = str(getattr(processor, "image_token", None) or image_token)
            template = Template(
                "lines",
                question="{question}\n",
                answer="{answer}",
                answer_end="\n",
                instruction=PROMPT + "\n",
            )
            return cls(num_images, image_token * num_images, template)
        images = [{"type": "image"}] * num_images
        turns = [
            {"role": "user", "content": [*images, {"type": "text", "text": _MARKS[0]}]},
            {"role": "assistant", "content": [{"type": "text", "text": _MARKS[1]}]},
            {"role": "user", "content": [{"type": "text", "text": _MARKS[2]}]},
        ]
        rest = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        pieces = []
        for mark in _MARKS:
            piece, separator, rest = rest.partition(mark)
            if not separator:
                raise InspireError("The processor's chat template does not repeat the text of a turn.")
            pieces.append(piece)
        opening, after_question, after_answer = pieces
        template = Template(
            "chat",
            question="{question}" + after_question,
            answer="{answer}",
            answer_end=after_answer,
            instruction=PROMPT + rest,
        )
        return cls(num_images, opening, template)

    def with_state(self, state: bool) -> "ChatTemplate":
        """The same with or without the robot's state in the instruction."""
        plain = self.template.instruction.replace(STATE, "")
        instruction = plain.replace(PROMPT, PROMPT + STATE) if state else plain
        return replace(self, template=replace(self.template, instruction=instruction))


def save_chat(chat: ChatTemplate, folder: Path) -> None:
    """Write the file that `load_chat` reads."""
    write_json(
        folder / FILE, {"images": chat.images, "opening": chat.opening, "template": chat.template.as_dict()}
    )


def load_chat(folder: Path, processor: Any, num_images: int) -> ChatTemplate:
    """Read the chat template of a checkpoint; make a new one if there is no file or it is for other images.

    Raises:
        InspireError: a file of another form; or one for another number of images, where the processor has lost its
            chat template.
    """
    if not (folder / FILE).is_file():
        return ChatTemplate.of(processor, num_images)
    saved = read_json(folder / FILE, ChatTemplate)
    if saved.images == num_images:
        return saved
    made = ChatTemplate.of(processor, num_images)
    if made.template != saved.with_state(False).template:
        raise InspireError(
            f"{folder} was made for {counted(saved.images, 'image')}, and now gets {num_images}: that needs "
            "the model's "
            "chat_template.jinja, which is not in it. Copy it there from the published model."
        )
    return made
