"""Questions as samples of their own: the action is the base model's, the answers are InSpire's of the same images."""

from pathlib import Path

import pytest
import torch
from lerobot.utils.constants import ACTION
from tests.lerobot_plugin.tiny_policies import LABELS, example, labelled, make
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.dialogue import TokenType
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.attention import attention_maps
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.option_groups import ReasoningConfig
from inspire_vla.lerobot_plugin.tokenizer import ASKED_MENTIONS


def observation() -> dict:
    return {key: value for key, value in example(2).items() if key != ACTION}


def test_the_action_loss_is_that_of_the_base_model(labelled_dataset: Path) -> None:
    base, separate = make(labelled_dataset, enabled=False), make(labelled_dataset, separate_questions=True)
    with torch.no_grad():
        of_base, of_separate = (policy.forward(labelled(4))[1] for policy in (base, separate))
    assert of_separate["action_loss"] == pytest.approx(of_base["action_loss"], abs=1e-5)
    assert of_separate["action_accuracy"] == of_base["action_accuracy"]


def test_the_answer_loss_is_that_of_inspire(labelled_dataset: Path) -> None:
    """Its questions stand before the instruction, so what an answer is predicted from is the same."""
    inspire, separate = make(labelled_dataset), make(labelled_dataset, separate_questions=True)
    with torch.no_grad():
        (loss, log), (_, of_inspire) = (policy.forward(labelled(4)) for policy in (separate, inspire))
    assert log["answer_loss"] == pytest.approx(of_inspire["answer_loss"], abs=1e-5)
    assert loss.item() == pytest.approx(log["action_loss"] + log["answer_loss"], abs=1e-5)
    answers = {key: value for key, value in of_inspire.items() if key.startswith("answer_accuracy")}
    assert answers == {key: log[key] for key in answers}


def test_no_sequence_holds_questions_and_an_action(labelled_dataset: Path) -> None:
    policy = make(labelled_dataset, separate_questions=True)
    batch = labelled(3)
    batch[LABELS][1] = -1  # a row without labels is left out of both
    types = policy.tokenizer(batch)["token_types"]
    kinds = [set(row.tolist()) - {TokenType.TEXT} for row in types]
    assert (
        kinds
        == [{TokenType.INSTRUCTION, TokenType.ACTION}] * 2 + [{TokenType.QUESTION, TokenType.ANSWER}] * 2
    )
    with torch.no_grad():
        assert policy.forward(batch)[1]["unlabelled_rows"] == 1


def test_it_acts_as_the_base_model_and_answers_as_inspire(labelled_dataset: Path) -> None:
    base, inspire = make(labelled_dataset, enabled=False), make(labelled_dataset)
    separate = make(labelled_dataset, separate_questions=True)
    acted, answered, found = (policy.act(observation()) for policy in (base, inspire, separate))
    for one, two, three in zip(acted, answered, found, strict=True):
        assert (three.actions == one.actions).all()
        assert three.answers == two.answers
        assert three.confidences == pytest.approx(two.confidences, abs=1e-5)
        assert three.token_ids == two.token_ids[:2] + one.token_ids
    unasked = separate.act(observation() | {"info": {ASKED_MENTIONS: [[], None]}})
    assert [decision.answers for decision in unasked] == [(), found[1].answers]
    assert (unasked[0].actions == acted[0].actions).all()


def test_overrides_are_refused(labelled_dataset: Path) -> None:
    policy = make(labelled_dataset, separate_questions=True)
    with pytest.raises(InspireError, match="not in the action's sequence"):
        policy.act(observation(), overrides=[{"the red cube": "left"}, {}])


@pytest.mark.parametrize("other", [{"hide_answers": True}, {"dropout": 0.5}, {"question_position": "after"}])
def test_what_would_change_nothing_is_refused(other: dict) -> None:
    with pytest.raises(InspireError, match="would change nothing"):
        ReasoningConfig(separate_questions=True, **other)


def test_it_trains_resumes_and_loads(labelled_dataset: Path, tmp_path: Path) -> None:
    out = run(
        labelled_dataset,
        tmp_path / "run",
        "--policy.reasoning.separate_questions=true",
        "--steps=2",
        "--save_freq=1",
    )
    last = out / "checkpoints" / "last" / "pretrained_model"
    agent = load_policy(last)
    assert agent.config.reasoning.separate_questions
    assert not agent.answers_precede_action
    with pytest.raises(InspireError, match="in a sequence of their own"):
        attention_maps(agent, {}, "")
    weights = {name: value.clone() for name, value in agent.policy.state_dict().items()}
    from inspire_vla.lerobot_plugin.training import train

    first = out / "checkpoints" / "000001"
    train(
        [
            f"--config_path={first / 'pretrained_model' / 'train_config.json'}",
            "--resume=true",
            f"--output_dir={out}",
        ]
    )
    resumed = load_policy(last).policy.state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in weights.items())


def test_a_flow_expert_is_refused() -> None:
    with pytest.raises(InspireError, match="needs the action head 'tokens'"):
        InspireVLAConfig(action_head="flow", reasoning=ReasoningConfig(separate_questions=True))
