"""A template is data, and the shipped ones write what their models were trained on."""

import dataclasses
import json

import pytest

from inspire_vla.dialogue import NANO_TEMPLATE, TEMPLATES, Template, build_dialogue, get_template
from inspire_vla.errors import InspireError


def written(template: str, question_position: str = "before") -> str:
    dialogue = build_dialogue(
        "lift the cup",
        ["left"],
        template=template,
        question_position=question_position,
        state_text="12 250" if template == "pi0_fast" else None,
    )
    return "".join("<A>" if segment.text is None else segment.text for segment in dialogue.segments)


QUESTION = "In which direction is the cup relative to the robot?"


@pytest.mark.parametrize(
    ("template", "question_position", "text"),
    [
        ("nano", "before", f"{QUESTION} left\nTask: lift the cup<A>"),
        ("nano", "after", f"\nTask: lift the cup{QUESTION} left<A>"),
        (
            "openvla",
            "before",
            f"In: {QUESTION}\nOut:left</s>In: What action should the robot take to lift the cup?\nOut:<A></s>",
        ),
        (
            "openvla",
            "after",
            f"In: What action should the robot take to lift the cup?\nIn: {QUESTION}\nOut:left</s>Out:<A></s>",
        ),
        (
            "pi0_fast",
            "before",
            f"<bos>{QUESTION} left\nTask: lift the cup, State: 12 250;\nAction: <A>|<eos>",
        ),
        (
            "qwen",
            "before",
            (
                "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
                f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\nleft<|im_end|>\n"
                "<|im_start|>user\nWhat action should the robot take to lift the cup?<|im_end|>\n"
                "<|im_start|>assistant\n<A><|im_end|>\n"
            ),
        ),
    ],
)
def test_what_is_written(template, question_position, text):
    assert written(template, question_position) == text


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_is_frozen_data_that_survives_json(template):
    assert Template(**json.loads(json.dumps(template.as_dict()))) == template
    assert get_template(template.name) is template
    with pytest.raises(dataclasses.FrozenInstanceError):
        template.name = "other"


def test_a_template_without_its_slots_is_refused():
    for field in ("question", "answer", "instruction", "instruction_first"):
        with pytest.raises(InspireError, match=f"{field} must hold"):
            dataclasses.replace(NANO_TEMPLATE, **{field: "nothing"})
    with pytest.raises(InspireError, match="Did you mean 'openvla'"):
        get_template("openvl")
