"""A model's own chat template as the template of a dialogue, and the file that keeps it beside a checkpoint."""

import json
from pathlib import Path
from typing import Any

from inspire_vla.dialogue import Template
from inspire_vla.errors import InspireError

PROMPT = "What action should the robot take to {instruction}?"
FILE = "dialogue_template.json"
"""transformers keeps a chat template in a file of its own kind, which LeRobot doesn't upload to the hub."""
_MARKS = ("⟦one⟧", "⟦two⟧", "⟦three⟧")


def chat(processor: Any, num_images: int) -> tuple[str, Template]:
    """The text of a turn up to its images, and how a dialogue goes on from there in the model's chat template.

    Without a chat template the images are the model's image tokens and a dialogue is plain lines.
    """
    if not getattr(processor, "chat_template", None):
        own = getattr(processor.tokenizer, "image_token", "<image>")
        image = str(getattr(processor, "image_token", None) or own)
        template = Template(
            "lines", question="{question}\n", answer="{answer}", answer_end="\n", instruction=PROMPT + "\n"
        )
        return image * num_images, template
    shown = [{"type": "image"}] * num_images
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


def save_chat(opening: str, template: Template, num_images: int, folder: Path) -> None:
    """Write what `chat` made for so many images."""
    record = {"images": num_images, "opening": opening, "template": template.as_dict()}
    (folder / FILE).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_chat(folder: Path, processor: Any, num_images: int) -> tuple[str, Template]:
    """What `save_chat` wrote; what `chat` makes where there is no file, or one for another number of images.

    Raises InspireError for a file of another form, and where it is for another number and the processor has lost its
    chat template.
    """
    file = folder / FILE
    if not file.is_file():
        return chat(processor, num_images)
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        opening, template, made_for = (
            str(saved["opening"]),
            Template(**saved["template"]),
            int(saved["images"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InspireError(
            f"{file} cannot be read ({type(error).__name__}: {error}). It must hold images, opening and template; "
            "copy it again from the checkpoint it belongs to."
        ) from error
    if made_for == num_images:
        return opening, template
    made = chat(processor, num_images)
    if made[1] != template:
        raise InspireError(
            f"{folder} was made for {made_for} image(s) and is to look at {num_images}: that takes the "
            "model's chat_template.jinja, which is not in it. Copy it there from the published model."
        )
    return made
