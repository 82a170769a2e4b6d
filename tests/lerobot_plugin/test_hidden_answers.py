"""Training and decoding hide the same: what is hidden of the dialogue moves neither loss nor action."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.lerobot_plugin.tiny_policies import TASK, example, make

from inspire_vla.backbones.attention import PREFIX, make_attention_mask
from inspire_vla.backbones.text_tokenizer import load_text_tokenizer
from inspire_vla.dialogue import TEMPLATES, Template, TokenType, build_dialogue, render
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.option_groups import ReasoningConfig


@pytest.mark.parametrize("hidden", [True, False])
def test_actions_do_not_depend_on_hidden_answers(hidden: bool, labelled_dataset: Path) -> None:
    policy = make(labelled_dataset, hide_answers=hidden)
    batch = example()
    column = "observation.answers.direction"
    with torch.no_grad():
        losses = [
            policy.forward(batch | {column: torch.tensor([codes])})[1] for codes in ((0, 3, -1), (6, 1, -1))
        ]
    assert (abs(losses[0]["action_loss"] - losses[1]["action_loss"]) < 1e-6) == hidden
    assert abs(losses[0]["answer_loss"] - losses[1]["answer_loss"]) > 1e-3
    words = [{"the red cube": w, "the blue plate": w} for w in ("left", "grasped")]
    (one,), (two,) = (policy.act(batch, overrides=[w]) for w in words)
    if hidden:
        assert one.token_ids[2:] == two.token_ids[2:]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("bidirectional_prefix", [False, True], ids=["causal", "bidirectional_prefix"])
def test_nothing_of_a_hidden_dialogue_reaches_the_action(
    template: Template, bidirectional_prefix: bool
) -> None:
    """Not through any number of layers: whoever is seen by one who is seen has been followed."""
    state = "1 2 3" if template.needs_state else None
    dialogue = build_dialogue(TASK, template=template, state_text=state).with_answers(["left", "grasped"])
    rendered = render(dialogue, load_text_tokenizer(), [5, 6, 7])
    token_types = torch.cat(
        [torch.full((4,), PREFIX), torch.from_numpy(rendered.token_types.astype(np.int64))]
    )
    talk = (token_types == TokenType.QUESTION) | (token_types == TokenType.ANSWER)
    acts = token_types == TokenType.ACTION
    acts[int(acts.nonzero()[0]) - 1] = True  # it says the first code

    def reached(*hide: TokenType) -> set[int]:
        sees = make_attention_mask(token_types[None], bidirectional_prefix=bidirectional_prefix, hide=hide)
        step = torch.ones(len(token_types), len(token_types)).tril() if sees is None else sees[0].float()
        path = step.clone()
        for _ in range(len(token_types)):
            path = (path @ step).clamp(max=1)
        return set(token_types[(path[acts] > 0).any(0) & talk].tolist())

    assert reached() == {TokenType.QUESTION, TokenType.ANSWER}
    assert reached(TokenType.ANSWER) == {TokenType.QUESTION}
    assert reached(TokenType.ANSWER, TokenType.QUESTION) == set()


def test_a_hidden_dialogue_is_still_learned_and_said(labelled_dataset: Path) -> None:
    shown = make(labelled_dataset)
    hidden = make(labelled_dataset, hide_answers=True, hide_questions=True)
    batch = example()
    labels = {"observation.answers.direction": torch.tensor([[0, 3, -1]])}
    with torch.no_grad():
        logs = [policy.forward(batch | labels)[1] for policy in (shown, hidden)]
    assert abs(logs[0]["action_loss"] - logs[1]["action_loss"]) > 1e-3
    assert logs[1]["answer_loss"] > 0
    (one,), (two,) = (hidden.act(batch, overrides=[{"the red cube": w}]) for w in ("left", "up"))
    assert one.token_ids[2:] == two.token_ids[2:]
    assert one.answers[0] == "left"


def test_what_cannot_be_hidden_is_refused() -> None:
    with pytest.raises(InspireError, match="question_position='before'"):
        ReasoningConfig(hide_answers=True, question_position="after")
    with pytest.raises(InspireError, match="needs hide_answers"):
        ReasoningConfig(hide_questions=True)
