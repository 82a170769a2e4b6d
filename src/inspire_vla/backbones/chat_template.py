"""A model's own chat template as the template of a dialogue."""

from typing import Any

from inspire_vla.dialogue import Template
from inspire_vla.errors import InspireError

PROMPT = "What action should the robot take to {instruction}?"
_MARKS = ("⟦one⟧", "⟦two⟧", "⟦three⟧")


def chat(processor: Any, pictures: int) -> tuple[str, Template]:
    """The text of a turn up to its pictures, and how a dialogue goes on from there in the model's chat template.

    Without a chat template the pictures are the model's image tokens and a dialogue is plain lines.
    """
    if not getattr(processor, "chat_template", None):
        own = getattr(processor.tokenizer, "image_token", "<image>")
        image = str(getattr(processor, "image_token", None) or own)
        template = Template(
            "lines", question="{question}\n", answer="{answer}", answer_end="\n", instruction=PROMPT + "\n"
        )
        return image * pictures, template
    shown = [{"type": "image"}] * pictures
    turns = [
        {"role": "user", "content": [*shown, {"type": "text", "text": _MARKS[0]}]},
        {"role": "assistant", "content": [{"type": "text", "text": _MARKS[1]}]},
        {"role": "user", "content": [{"type": "text", "text": _MARKS[2]}]},
    ]
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    rest = text
    pieces = []
    for mark in _MARKS:
        piece, found, rest = rest.partition(mark)
        if not found:
            raise InspireError("The processor's chat template does not repeat the text of a turn.")
        pieces.append(piece)
    opening, asks, goes_on = pieces
    template = Template(
        "chat", question="{question}" + asks, answer="{answer}", answer_end=goes_on, instruction=PROMPT + rest
    )
    return opening, template
