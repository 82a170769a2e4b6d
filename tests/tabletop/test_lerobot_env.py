"""The tabletop through LeRobot's evaluation."""

import numpy as np
import pytest
import torch
from lerobot.envs.configs import EnvConfig
from lerobot.envs.factory import make_env, make_env_config
from lerobot.envs.utils import close_envs, env_to_policy_features, preprocess_observation
from lerobot.processor import PolicyProcessorPipeline
from lerobot.scripts.lerobot_eval import rollout

from inspire_vla.errors import InspireError
from inspire_vla.tabletop.expert import Expert
from inspire_vla.tabletop.lerobot_env import InspireTabletopEnv
from inspire_vla.tabletop.suites import SUITES


class ExpertPolicy(torch.nn.Module):
    """The scripted expert behind a policy's interface. It reads the state of the environments."""

    def __init__(self, vector_env) -> None:
        super().__init__()
        self.seen: list[dict] = []
        self._environments = [env.unwrapped for env in vector_env.envs]

    def reset(self) -> None:
        pass

    def select_action(self, batch):
        self.seen.append(batch)
        return torch.from_numpy(np.stack([Expert(env).action() for env in self._environments]))


def test_registered_by_name():
    assert EnvConfig.get_choice_class("inspire_tabletop") is InspireTabletopEnv
    config = make_env_config("inspire_tabletop", task="tabletop_seen", task_ids=[0])
    assert config.type == "inspire_tabletop"


def test_features_are_those_of_the_dataset():
    shapes = {
        key: tuple(feature.shape)
        for key, feature in env_to_policy_features(InspireTabletopEnv(wrist=True)).items()
    }
    assert shapes == {
        "observation.images.image": (3, 96, 96),
        "observation.images.image2": (3, 96, 96),
        "observation.state": (8,),
        "action": (7,),
    }


def test_observations_carry_the_features():
    config = InspireTabletopEnv(task_ids=[0], image_size=32)
    envs = make_env(config, n_envs=2)
    observation, _ = envs["tabletop_seen"][0].reset(seed=[1, 2])
    prepared = preprocess_observation(observation)
    for key, feature in env_to_policy_features(config).items():
        if key != "action":
            assert tuple(prepared[key].shape) == (2, *feature.shape)
    close_envs(envs)


def test_lerobot_evaluates_it():
    """LeRobot's own rollout, driven by the expert: it succeeds, sees the instruction, and ends."""
    config = InspireTabletopEnv(task_ids=[0], image_size=32)
    envs = make_env(config, n_envs=2)
    env = envs["tabletop_seen"][0]
    policy = ExpertPolicy(env)
    pipelines = [PolicyProcessorPipeline(steps=[]) for _ in range(3)]
    result = rollout(env, policy, *pipelines, lambda action: action, seeds=[1000, 1001])
    assert result["success"].any(dim=1).tolist() == [True, True]
    assert policy.seen[0]["task"] == [SUITES["tabletop_seen"][0].instruction] * 2
    assert 10 < len(policy.seen) < SUITES["tabletop_seen"][0].max_steps
    assert env.call("render")[0].shape == (256, 256, 3)
    close_envs(envs)


def test_several_suites_and_task_numbers():
    suites = list(SUITES)[:2]
    envs = InspireTabletopEnv(task=",".join(suites), task_ids=[0, 2]).create_envs(1)
    assert {suite: list(tasks) for suite, tasks in envs.items()} == {suite: [0, 2] for suite in suites}
    assert envs[suites[0]][2].call("task") == (SUITES[suites[0]][2].name,)
    close_envs(envs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "tabletop_sen"}, "Did you mean 'tabletop_seen'"),
        ({"task": ""}, "must name a suite"),
        ({"task_ids": [99]}, "no task number 99"),
        ({"fps": 30}, "10 Hz"),
        ({"image_size": 8}, "image_size must be between 16 and 640 pixels, not 8"),
        ({"render_size": 8}, "render_size must be between 16 and 640 pixels, not 8"),
        ({"layout_randomness": 2.0}, "layout_randomness is a probability"),
        ({"episode_length": 0}, "episode_length must be at least 1 step"),
    ],
)
def test_bad_input_is_said_with_the_options_and_not_when_a_training_first_evaluates(settings, message):
    with pytest.raises(InspireError, match=message):
        InspireTabletopEnv(**settings)
