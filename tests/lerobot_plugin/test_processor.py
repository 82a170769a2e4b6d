"""The preprocessor makes the tokens, is saved with them, and follows the policy that it is used with."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.datasets import LeRobotDatasetMetadata
from lerobot.policies import make_policy, make_pre_post_processors
from lerobot.processor import PolicyProcessorPipeline
from lerobot.utils.constants import ACTION
from tests.lerobot_plugin.families import TASK, make

from inspire_vla.dialogue import TokenType
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.checkpoints import PREPROCESSOR, find
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.convert import KINDS
from inspire_vla.lerobot_plugin.processor_inspire_vla import (
    make_inspire_vla_pre_post_processors,
    tokenizer_step,
)
from inspire_vla.lerobot_plugin.tokenizer import (
    ANSWER_LABELS,
    DIALOGUES,
    LOSS_MASK,
    ROWS,
    TOKEN_IDS,
    TOKEN_TYPES,
    UNLABELLED_ROWS,
)

COLUMN = "observation.answers.direction"
DRAWER = "open the top drawer of the cabinet"


def demonstrations(config: InspireVLAConfig, size: int = 32, **more: Any) -> dict[str, Any]:
    """Three rows of noise, of which the second has no label of its second object."""
    generator = torch.Generator().manual_seed(0)
    batch = {
        camera: torch.rand(3, 3, size, size, generator=generator) for camera in config.image_features
    } | {
        "task": [TASK, TASK, DRAWER],
        "observation.state": torch.randn(3, 8, generator=generator),
        ACTION: torch.rand(3, config.chunk_size, 7, generator=generator) * 2 - 1,
        COLUMN: torch.tensor([[0, 3, -1], [0, -1, -1], [6, -1, -1]]),
    }
    return batch | more


def loaded(folder: Path) -> PolicyProcessorPipeline:
    """A checkpoint's preprocessor as anyone loads it, to be used without a policy."""
    preprocessor = PolicyProcessorPipeline.from_pretrained(folder, config_filename=PREPROCESSOR)
    assert tokenizer_step(preprocessor).tokenizer
    return preprocessor


def test_a_batch_of_demonstrations_becomes_padded_tensors(trained: Path) -> None:
    preprocessor = loaded(find(trained))
    config = PreTrainedConfig.from_pretrained(find(trained))
    batch = preprocessor(demonstrations(config))
    assert batch[ROWS].tolist() == [0, 2]
    assert batch[UNLABELLED_ROWS] == 1
    assert batch[ANSWER_LABELS].tolist() == [[0, 3, *[-1] * 6], [6, *[-1] * 7]]  # 8 objects at most
    ids, types, mask = batch[TOKEN_IDS], batch[TOKEN_TYPES], batch[LOSS_MASK]
    assert ids.shape == types.shape == mask.shape
    assert (ids.dtype, types.dtype, mask.dtype) == (torch.int64, torch.int64, torch.bool)
    tokenizer = tokenizer_step(preprocessor).tokenizer
    learned = types[0][mask[0]].tolist()
    assert learned == [TokenType.ANSWER] * 2 + [TokenType.ACTION] * tokenizer.action_tokenizer.max_codes
    codes = tokenizer.action_vocabulary.to_codes(ids[1][types[1] == TokenType.ACTION])
    normalised = batch[ACTION][2].numpy()  # the step stands behind the normaliser
    assert codes.tolist() == tokenizer.action_tokenizer.encode(normalised).tolist()
    assert ids[1][-1] == 0  # the shorter row is padded on the right
    text = tokenizer.prompt_builder.tokenizer.decode(ids[0].tolist())
    assert "In which direction is the red cube relative to the robot? right" in text


def test_without_an_action_there_are_prompts(trained: Path) -> None:
    config = PreTrainedConfig.from_pretrained(find(trained))
    batch = demonstrations(config)
    del batch[ACTION]
    prompts = loaded(find(trained))(batch)[DIALOGUES]
    assert [dialogue.mentions for dialogue in prompts] == [("the red cube", "the blue plate")] * 2 + [
        ("the top drawer of the cabinet",)
    ]
    assert all(answer is None for dialogue in prompts for answer in dialogue.answers)
    with pytest.raises(InspireError, match="no instruction, 'task'"):
        loaded(find(trained))({key: value for key, value in batch.items() if key != "task"})


@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_preprocessor_alone_makes_the_tokens_of_the_policy(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    checkpoint = make(kind, tmp_path_factory)
    policy = load_policy(checkpoint).policy
    preprocessor = loaded(checkpoint)
    batch = preprocessor(demonstrations(policy.config, size=28))
    expected = policy.tokenizer(batch)
    assert tokenizer_step(preprocessor).tokenizer is not policy.tokenizer
    for key in (TOKEN_IDS, TOKEN_TYPES, LOSS_MASK, ANSWER_LABELS, ROWS):
        assert torch.equal(batch[key], expected[key]), key


def test_saving_what_was_loaded_changes_no_byte(trained: Path, tmp_path: Path) -> None:
    folder = find(trained)
    unused = PolicyProcessorPipeline.from_pretrained(folder, config_filename=PREPROCESSOR)
    unused.save_pretrained(tmp_path / "unused")
    used = loaded(folder)
    used(demonstrations(PreTrainedConfig.from_pretrained(folder)))
    used.save_pretrained(tmp_path / "used")
    load_policy(folder).preprocessor.save_pretrained(tmp_path / "policy")
    for place in ("unused", "used", "policy"):
        for file in (tmp_path / place).iterdir():
            assert file.read_bytes() == (folder / file.name).read_bytes(), (place, file.name)


def test_the_step_takes_the_settings_of_the_policy_that_it_is_used_with(
    trained: Path, labelled_dataset: Path, tmp_path: Path
) -> None:
    """As with bare `lerobot-train --policy.path=… --policy.reasoning.…`, which does not tell the preprocessor."""
    config = PreTrainedConfig.from_pretrained(find(trained))
    assert isinstance(config, InspireVLAConfig)
    config.pretrained_path, config.reasoning.question_position = find(trained), "after"
    policy = make_policy(config, ds_meta=LeRobotDatasetMetadata("local/tiny", root=labelled_dataset))
    preprocessor, _ = make_pre_post_processors(config, pretrained_path=str(config.pretrained_path))
    first = preprocessor(demonstrations(config))
    assert TOKEN_IDS not in first
    loss = policy.forward(first)[0]
    second = preprocessor(demonstrations(config))
    assert policy.forward(second)[0].item() == loss.item()
    as_saved = loaded(find(trained))(demonstrations(config))
    assert not torch.equal(as_saved[TOKEN_IDS], second[TOKEN_IDS])
    assert tokenizer_step(preprocessor).tokenizer is policy.tokenizer
    preprocessor.save_pretrained(tmp_path)
    assert tokenizer_step(loaded(tmp_path)).tokenizer.reasoning.question_position == "after"
    prompt = {key: value for key, value in demonstrations(config).items() if key != ACTION}
    assert preprocessor(prompt)[DIALOGUES][0].question_position == "after"


def test_forward_builds_no_text(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = load_policy(trained)
    batch = agent.preprocessor(demonstrations(agent.config))
    monkeypatch.setattr(type(agent.policy.tokenizer), "__call__", None)
    monkeypatch.setattr(type(agent.policy.tokenizer), "training_sequences", None)
    loss, log = agent.policy.forward(batch)
    assert loss.item() > 0
    assert log["unlabelled_rows"] == 1


def test_answer_accuracies_are_counted_by_question_and_answer(trained: Path) -> None:
    policy = load_policy(trained).policy
    types = torch.tensor([[1, 2, 2, 1, 2, 3, 4], [1, 2, 3, 4, 0, 0, 0]])
    mask = (types == 2) | (types == 4)
    labels = torch.tensor([[0, 3, -1], [0, -1, -1]])
    correct = torch.tensor(
        [True, False, True, False, True, True]
    )  # (right, wrong), right, action; right, action
    found = policy._log.accuracies(correct, types, mask, labels)
    assert found == {
        "answer_accuracy/object_0": 0.5,
        "answer_accuracy/object_1": 1.0,
        "answer_accuracy/right": 0.5,
        "answer_accuracy/down": 1.0,
    }


def test_a_preprocessor_needs_its_policy() -> None:
    with pytest.raises(InspireError, match="Make the policy first"):
        make_inspire_vla_pre_post_processors(InspireVLAConfig())
