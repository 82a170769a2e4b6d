"""push_to_hub and from_pretrained as LeRobot's policies do them, with a folder in place of the hub."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.utils import filter_repo_objects
from lerobot.configs import PreTrainedConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.policies import pretrained
from lerobot.utils import hub as lerobot_hub
from tests.lerobot_plugin import tiny_runs
from tests.lerobot_plugin.families import TASK, finetune, load, make

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.training import train

NAME = "somebody/robot"


@pytest.fixture
def hub(tmp_path: Path):
    """A hub of one folder: what is uploaded to NAME is what is downloaded from it."""
    place = tmp_path / "hub" / NAME

    class Api:
        def __init__(self, token: str | None = None):
            assert token is None

        def create_repo(self, repo_id: str, **_):
            assert repo_id == NAME
            place.mkdir(parents=True, exist_ok=True)
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, repo_id: str, folder_path: str | Path, allow_patterns=None, **_):
            assert repo_id == NAME
            files = [p.relative_to(folder_path) for p in Path(folder_path).rglob("*") if p.is_file()]
            for file in filter_repo_objects(map(str, files), allow_patterns=allow_patterns):
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(folder_path) / file, place / file)
            return SimpleNamespace(repo_url=SimpleNamespace(url=NAME))

    def snapshot(repo_id: str, **_) -> str:
        assert repo_id == NAME
        return str(place)

    with (
        patch.object(pretrained, "HfApi", Api),
        patch.object(lerobot_hub, "HfApi", Api),  # of the processors
        patch("huggingface_hub.snapshot_download", snapshot),
        patch("huggingface_hub.whoami"),
        patch.object(ModelCard, "validate", lambda self, **_: None),  # asks the hub
    ):
        yield place


@pytest.mark.parametrize("kind", ["pi0fast", "image_text"])
def test_what_is_pushed_comes_back_whole(
    kind: str, hub: Path, labelled_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    trained = finetune(
        make(kind, tmp_path_factory),
        labelled_dataset,
        tmp_path_factory.mktemp("run") / "out",
        "--steps=1",
    )
    agent = load_policy(trained)
    agent.policy.config.repo_id = NAME
    agent.policy.push_model_to_hub(TrainPipelineConfig.from_pretrained(trained))
    for pipeline in (agent.preprocessor, agent.postprocessor):
        pipeline.save_pretrained(hub)  # LeRobot pushes them beside the policy
    again = InspireVLAPolicy.from_pretrained(NAME)
    mine, theirs = agent.policy.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert again.tokenizer.action_vocabulary == agent.policy.tokenizer.action_vocabulary
    assert again.tokenizer.parts.initial_draft == agent.policy.tokenizer.parts.initial_draft
    assert again.backbone.template == agent.policy.backbone.template
    observation = {
        "pixels": {"image": torch.zeros(28, 28, 3, dtype=torch.uint8).numpy()}, "agent_pos": torch.zeros(8).numpy()
    }  # fmt: skip
    one, two = agent.act([observation], [TASK]), load_policy(NAME).act([observation], [TASK])
    assert one[0].token_ids == two[0].token_ids
    card = (hub / "README.md").read_text()
    assert "inspire_vla" in card


def test_a_training_that_pushes_leaves_a_policy_on_the_hub(
    hub: Path, labelled_dataset: Path, tmp_path: Path
) -> None:
    """`inspire train … -- --policy.push_to_hub=true --policy.repo_id=user/name`, then `load_policy("user/name")`."""
    pushed = ("--policy.push_to_hub=true", f"--policy.repo_id={NAME}", "--steps=1", "--policy.device=cpu")
    tiny_runs.run(labelled_dataset, tmp_path / "out", *pushed, frames_in_memory=False)
    written = tmp_path / "out/checkpoints/last/pretrained_model"
    kept = {file.name for file in written.iterdir()} | {"README.md"}
    assert {file.name for file in hub.iterdir() if file.is_file()} >= kept
    size = load_policy(written).config.image_features["observation.images.image"].shape[-1]
    observation = {"pixels": {"image": np.zeros((size, size, 3), np.uint8)}, "agent_pos": np.zeros(8)}
    one, two = (load_policy(place).act(observation, TASK) for place in (written, NAME))
    assert (one.token_ids, one.answers) == (two.token_ids, two.answers)


def test_a_checkpoint_of_another_policy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"type": "act"}')
    with pytest.raises(Exception, match="policy of type 'act', not 'inspire_vla'"):
        InspireVLAPolicy.from_pretrained(tmp_path)


def test_sizes_come_from_the_checkpoint_where_none_are_given(
    tmp_path_factory: pytest.TempPathFactory, labelled_dataset: Path
) -> None:
    """`--policy.type=inspire_vla --policy.backbone=openvla --policy.pretrained_path=…`, as LeRobot reads it."""
    base = make("openvla", tmp_path_factory)
    out = tmp_path_factory.mktemp("run") / "out"
    command = [
        f"--dataset.root={labelled_dataset}", "--dataset.repo_id=local/tiny", f"--output_dir={out}",
        "--policy.type=inspire_vla", f"--policy.pretrained_path={base}", "--policy.push_to_hub=false",
        "--policy.device=cpu", "--policy.use_state=false", "--batch_size=2", "--num_workers=0", "--steps=1",
        "--policy.vq.codes_per_level=8",
    ]  # fmt: skip
    with pytest.raises(InspireError, match="backbone is 'openvla', the configuration asks for 'minivla'"):
        train([*command, "--policy.backbone=minivla"], frames_in_memory=False)
    shutil.rmtree(out, ignore_errors=True)
    train([*command, "--policy.backbone=openvla"], frames_in_memory=False)
    trained = PreTrainedConfig.from_pretrained(out / "checkpoints" / "last" / "pretrained_model")
    assert trained.prismatic.language == load(base).config.prismatic.language
    assert trained.reasoning.enabled
