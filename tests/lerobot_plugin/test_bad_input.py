"""Bad input to a policy of published weights: each error says what was found and what is possible."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.lerobot_plugin.families import TASK, load, make
from tests.lerobot_plugin.test_memory_options import batch

from inspire_vla.errors import InspireError
from inspire_vla.instruction import NoObjectFound
from inspire_vla.lerobot_plugin.agent import Agent, load_policy
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.convert import KINDS


@pytest.fixture(scope="module", params=KINDS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(request.param, tmp_path_factory)


def observed(**cameras: Any) -> dict[str, Any]:
    blank = np.zeros((28, 28, 3), dtype=np.uint8)
    return {"pixels": dict.fromkeys(cameras or ("image",), blank), "agent_pos": np.zeros(8)}


def test_another_number_of_images_is_told(checkpoint: Path) -> None:
    policy = load(checkpoint)
    wanted = policy.backbone.num_images
    with pytest.raises(InspireError, match=f"takes {wanted} image.*found 3"):
        policy.backbone.encode_observation(torch.rand(1, 3, 3, 28, 28), None)
    agent = load_policy(checkpoint)
    with pytest.raises(InspireError, match=r"needs camera 'image'; found \['front'\]"):
        agent.act([observed(front=0)], [TASK])
    lacking = {key: value for key, value in batch(policy).items() if "images" not in key}
    with pytest.raises(InspireError, match=r"needs \['observation.images.image'\]"):
        policy.act(lacking)


def test_an_instruction_without_objects_is_told(checkpoint: Path) -> None:
    policy = load(checkpoint)
    agent: Agent = load_policy(checkpoint)
    with pytest.raises(NoObjectFound, match="do it again"):
        policy.act(batch(policy) | {"task": ["do it again"] * 2})
    with pytest.raises(NoObjectFound, match="do it again"):
        policy.forward(batch(policy) | {"task": ["do it again"] * 2})
    assert agent.act([observed()], ["do it again"])[0].mentions == ()  # the base model asks about nothing


def test_missing_or_impossible_labels_are_told(checkpoint: Path) -> None:
    policy = load(checkpoint)
    unlabelled = {key: value for key, value in batch(policy).items() if "answers" not in key}
    with pytest.raises(InspireError, match=r"batch has none.*reasoning.enabled=false"):
        policy.forward(unlabelled)
    labels = torch.tensor([0, -1, -1]).expand_as(batch(policy)["observation.answers.direction"])
    loss, log = policy.forward(batch(policy) | {"observation.answers.direction": labels})
    assert (loss.item(), log["unlabelled_rows"]) == (0.0, 2.0)
    with pytest.raises(InspireError, match=r"asks about .*labels are \[0, -1, -1\]"):
        policy.tokenizer.prompt_builder.demonstration(TASK, np.array([0, -1, -1]))


def test_unknown_names_say_what_there_is() -> None:
    for field, value, told in (
        ("backbone", "pi0_fast", "Did you mean 'pi0fast'"),
        ("action_tokenizer", "fats", "Did you mean 'fast'"),
        ("dtype", "bfloat", "Did you mean 'bfloat16'"),
        ("weights_dtype", "float", "Did you mean 'float32'"),
        ("n_obs_steps", 0, "from 1 to 1024, found 0"),
        ("n_action_steps", 9, "between 1 and chunk_size 4, found 9"),
    ):
        with pytest.raises(InspireError, match=told):
            InspireVLAConfig(**{field: value})
