"""Mentions that a person has given: trained on, stored in the checkpoint, asked about, and overruled for a call."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla import policies
from inspire_vla.backbones.text_tokenizer import load_text_tokenizer
from inspire_vla.dialogue import NANO_TEMPLATE, NOT_ASKED, AnswerRule
from inspire_vla.errors import InspireError
from inspire_vla.instruction import MentionRole, NoObjectFound
from inspire_vla.labels.columns import LABELS_FILE, LabelMismatch, read_labels
from inspire_vla.lerobot_plugin.agent import Agent, load_policy
from inspire_vla.lerobot_plugin.checkpoints import PREPROCESSOR
from inspire_vla.lerobot_plugin.option_groups import ReasoningConfig
from inspire_vla.lerobot_plugin.prompt_builder import PromptBuilder
from inspire_vla.lerobot_plugin.training_labels import check_mentions

CUBE = "pick up the red cube and place it on the blue plate"
DRAWER = "open the top drawer of the cabinet"
GIVEN = (MentionRole("my block", "carried"), MentionRole("the dish", "goal"))
WORDS = ("my block", "the dish")
GERMAN = "Lege den Würfel auf den Teller"


def observed() -> dict[str, object]:
    return {"pixels": {"image": np.zeros((32, 32, 3), dtype=np.uint8)}, "agent_pos": np.zeros(8)}


@pytest.fixture(scope="module")
def overridden(labelled_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny dataset as after `inspire label --mentions`."""
    data = tmp_path_factory.mktemp("overridden") / "data"
    shutil.copytree(labelled_dataset, data)
    content = json.loads((data / LABELS_FILE).read_text(encoding="utf-8"))
    content["tasks"][CUBE] = list(WORDS)
    content["overrides"] = {CUBE: [vars(item) for item in GIVEN]}
    (data / LABELS_FILE).write_text(json.dumps(content), encoding="utf-8")
    return data


@pytest.fixture(scope="module")
def checkpoint(overridden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(overridden, tmp_path_factory.mktemp("run") / "given", "--steps=2")


@pytest.fixture(scope="module")
def agent(checkpoint: Path) -> Agent:
    return load_policy(checkpoint)


def test_labels_of_given_mentions_are_accepted_and_others_refused(overridden: Path) -> None:
    labels = read_labels(overridden)
    check_mentions(labels, [CUBE, DRAWER], 3)
    object.__setattr__(labels, "overrides", {})
    with pytest.raises(LabelMismatch, match="my block"):
        check_mentions(labels, [CUBE, DRAWER], 3)


def test_a_checkpoint_asks_about_the_mentions_that_it_was_trained_with(
    checkpoint: Path, agent: Agent
) -> None:
    assert agent.act([observed()], [CUBE])[0].mentions == WORDS
    assert agent.act([observed()], [DRAWER])[0].mentions == ("the top drawer of the cabinet",)
    assert agent.mention_overrides == {CUBE: GIVEN}
    folder = next(checkpoint.rglob(PREPROCESSOR)).parent
    assert "my block" in (folder / PREPROCESSOR).read_text(encoding="utf-8")


def test_lerobots_select_action_asks_about_them_too(agent: Agent) -> None:
    batch = agent.preprocessor(agent.batch([observed()], [CUBE]))
    assert batch["dialogues"][0].mentions == WORDS


def test_further_training_keeps_them(
    checkpoint: Path, labelled_dataset: Path, tmp_path: Path, overridden: Path
) -> None:
    again = run(
        overridden,
        tmp_path / "again",
        "--steps=1",
        f"--policy.path={next(checkpoint.rglob(PREPROCESSOR)).parent}",
    )
    assert load_policy(again).mention_overrides == {CUBE: GIVEN}
    other = run(
        labelled_dataset,
        tmp_path / "other",
        "--steps=1",
        f"--policy.path={next(again.rglob(PREPROCESSOR)).parent}",
    )
    assert (
        load_policy(other).mention_overrides == {}
    )  # the labels of this dataset are about the parser's mentions


def test_mentions_of_one_call(agent: Agent) -> None:
    (one, two) = agent.act([observed()] * 2, [CUBE, GERMAN], mentions=[None, ["the cube"]])
    assert (one.mentions, two.mentions) == (WORDS, ("the cube",))
    (row,) = agent.act(
        [observed()],
        [CUBE],
        mentions=[[{"mention": "the lamp", "role": "landmark"}]],
        overrides=[{"the lamp": "left"}],
    )
    assert row.answers_by_mention == {"the lamp": "left"}
    assert agent.act([observed()], [CUBE], mentions=[[]])[0].mentions == ()
    assert agent.act([observed()], [CUBE])[0].mentions == WORDS


@pytest.mark.parametrize(
    ("mentions", "error"),
    [
        (["a b"] * 2, None),
        ([*"abcdefghi"], "at most 8 objects"),
        ("the cube", "must be a list"),
        ([3], "A mention is a string"),
        ([""], "must be words"),
        ([{"mention": "a", "role": "aim"}], "Unknown role 'aim'"),
    ],
)
def test_impossible_mentions_of_a_call_are_told(agent: Agent, mentions: object, error: str | None) -> None:
    if error is None:
        assert agent.act([observed()], [CUBE], mentions=[mentions])[0].mentions == ("a b",)  # type: ignore[list-item]
        return
    with pytest.raises(InspireError, match=error):
        agent.act([observed()], [CUBE], mentions=[mentions])  # type: ignore[list-item]


def test_what_cannot_be_read_is_refused_until_it_is_overridden(checkpoint: Path, agent: Agent) -> None:
    with pytest.raises(NoObjectFound, match="German"):
        agent.act([observed()], [GERMAN])
    given = load_policy(checkpoint, mentions={GERMAN: GIVEN[:1]})
    assert given.act([observed()], [GERMAN])[0].mentions == ("my block",)
    assert given.act([observed()], [CUBE])[0].mentions == WORDS


def test_a_workers_agent_has_them_and_controls_know_them(checkpoint: Path, tmp_path: Path) -> None:
    agent = policies.agent_factory(checkpoint, mentions={GERMAN: GIVEN})()
    rule = AnswerRule.of(agent)
    assert rule.overrides == {CUBE: WORDS, GERMAN: WORDS}
    info = {"mentions": WORDS, "gripper_to_object_m": np.eye(3)[:2], "grasped": np.zeros(2, dtype=bool)}
    assert set(rule.truth(info)) == set(WORDS)


def test_objects_that_are_not_asked_about_are_told_once_per_instruction(
    caplog: pytest.LogCaptureFixture,
) -> None:
    long = "put the cup on the plate and put the pen in the box"
    for asks_apart in (False, True):
        config = ReasoningConfig(max_objects=3, separate_questions=asks_apart)
        prompts = PromptBuilder(config, NANO_TEMPLATE, load_text_tokenizer(), {GERMAN: (*GIVEN, *GIVEN[:1])})
        caplog.clear()
        for _ in range(2):
            for instruction in (CUBE, GERMAN, long):
                prompts.prompt(instruction)
                if asks_apart:
                    prompts.questions(instruction)
        told = [record.message for record in caplog.records if record.name == NOT_ASKED.name]
        assert told == [
            f"'{long}' names 4 objects; this policy is asked about the first 3: the cup, the plate, the pen"
        ]
    caplog.clear()
    fresh = PromptBuilder(ReasoningConfig(max_objects=3), NANO_TEMPLATE, load_text_tokenizer())
    fresh.demonstration(long, np.zeros(3, int))  # a training has its own warning
    fresh.prompt(long, mentions=["the cup"])
    assert not caplog.records
    fresh.override_mentions({CUBE: tuple(map(MentionRole, "abcd"))})
    fresh.prompt(CUBE)
    assert "about the first 3: a, b, c" in caplog.text


def test_blanks_and_line_ends_around_an_instruction_do_not_count() -> None:
    """LeRobot records them, and a server removes them."""
    config = ReasoningConfig(max_objects=3)
    prompts = PromptBuilder(
        config, NANO_TEMPLATE, load_text_tokenizer(), {f"{GERMAN}\n": GIVEN, f" {DRAWER}": ()}
    )
    assert prompts.prompt(f" {CUBE} \n") == prompts.prompt(CUBE)
    assert prompts.prompt(GERMAN).mentions == prompts.prompt(f"{GERMAN}\n").mentions == WORDS
    assert not prompts.is_labelled(DRAWER, np.zeros(3, int))
    prompts.override_mentions({f"{GERMAN} ": GIVEN[:1]})
    assert prompts.prompt(GERMAN).mentions == WORDS[:1]


def test_a_base_model_asks_nothing(overridden: Path, tmp_path: Path) -> None:
    base = load_policy(run(overridden, tmp_path / "base", "--steps=1", "--policy.reasoning.enabled=false"))
    assert base.act([observed()], [GERMAN])[0].mentions == ()
    with pytest.raises(InspireError, match="asks about nothing"):
        base.act([observed()], [CUBE], mentions=[["the cube"]])
