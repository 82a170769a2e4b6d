"""Several cameras and a history of images: all cameras at t-1, then all at t, in training as in acting."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.utils.constants import ACTION
from tests.lerobot_plugin import sources
from tests.lerobot_plugin.families import TASK, finetune, load
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.cli import main
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import Agent, load_policy
from inspire_vla.lerobot_plugin.convert import convert
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.observation_history import ObservationHistory

CAMERAS = ("observation.images.image", "observation.images.image2")


@pytest.fixture(scope="module")
def minivla(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniVLA with agent view and wrist, two of each: four images."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out") / "minivla"
    options = sources.minivla(source, images=4, wrist=True)
    convert("minivla", source / "run", out, options=options)
    return out


def listening(policy: InspireVLAPolicy) -> list[torch.Tensor]:
    """The images that the backbone is shown, call by call."""
    shown: list[torch.Tensor] = []
    observe = policy.backbone.encode_observation

    def listen(images: torch.Tensor, state: Any) -> torch.Tensor:
        shown.append(images)
        return observe(images, state)

    policy.backbone.encode_observation = listen  # type: ignore[method-assign]
    return shown


def frames(policy: InspireVLAPolicy, count: int) -> torch.Tensor:
    """(time, camera, 3, 28, 28), each image of one grey."""
    grey = torch.arange(count * 2).view(count, 2, 1, 1, 1) / 20
    return grey.expand(-1, -1, 3, 28, 28).clone()


def test_images_come_in_the_order_of_the_original(minivla: Path) -> None:
    policy = load(minivla)
    assert policy.backbone.num_images == 4
    assert policy.config.observation_delta_indices == [-1, 0]
    shown, seen = listening(policy), frames(policy, 2)
    training = {
        "task": [TASK], ACTION: torch.zeros(1, policy.config.chunk_size, 7),
        "observation.answers.direction": torch.tensor([[[1, 1, -1], [0, 3, -1]]]),  # with history come labels of then
    }  # fmt: skip
    training |= {camera: seen[None, :, number] for number, camera in enumerate(CAMERAS)}
    policy.forward(training)
    assert torch.equal(shown[-1][0], torch.stack([seen[0, 0], seen[0, 1], seen[1, 0], seen[1, 1]]))


def test_acting_remembers_the_image_before(minivla: Path) -> None:
    policy = load(minivla, n_action_steps=1)
    shown, seen = listening(policy), frames(policy, 3)

    def step(time: int) -> torch.Tensor:
        return policy.select_action(
            {"task": [TASK]} | {camera: seen[[time], number] for number, camera in enumerate(CAMERAS)}
        )

    for time, before in (
        (0, 0),
        (1, 0),
        (2, 1),
    ):  # where an episode begins, the image stands for the one before
        step(time)
        assert torch.equal(shown[-1][0], torch.cat([seen[before], seen[time]]))
    policy.reset()
    step(2)
    assert torch.equal(shown[-1][0], torch.cat([seen[2], seen[2]]))


def test_a_batch_with_history_equals_its_rows(minivla: Path) -> None:
    policy = load(minivla)
    torch.manual_seed(0)
    images = torch.rand(3, 2, 2, 3, 28, 28)
    tasks = [TASK, "open the top drawer of the cabinet", "close the drawer"]

    def rows(*which: int) -> dict[str, Any]:
        chosen = list(which)
        return {"task": [tasks[i] for i in chosen]} | {
            camera: images[chosen][:, :, number] for number, camera in enumerate(CAMERAS)
        }

    together = policy.act(rows(0, 1, 2))
    for number, decision in enumerate(together):
        (alone,) = policy.act(rows(number))
        assert alone.token_ids == decision.token_ids


@pytest.mark.parametrize("command", ["lerobot-train", "inspire train"])
def test_a_training_sees_the_history_of_a_dataset(
    command: str,
    labelled_dataset: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out") / "minivla"
    convert("minivla", source / "run", out, options=sources.minivla(source))
    shown: list[torch.Tensor] = []
    forward = InspireVLAPolicy.forward

    def listen(self: InspireVLAPolicy, batch: dict[str, Any]) -> Any:
        shown.append(batch[CAMERAS[0]])
        return forward(self, batch)

    monkeypatch.setattr(InspireVLAPolicy, "forward", listen)
    run = tmp_path_factory.mktemp("run") / "out"
    if command == "lerobot-train":
        finetune(out, labelled_dataset, run, "--steps=1")
    else:
        line = f"train --dataset {labelled_dataset} --out {run} --from {out} --steps 1 --batch-size 2 --reasoning"
        assert main(line.split()) == 0
    assert load(run / "checkpoints" / "last" / "pretrained_model").config.n_obs_steps == 2
    (images,) = shown
    assert images.shape[:3] == (2, 2, 3)
    assert not torch.equal(images[:, 0], images[:, 1])  # noise: no two frames are alike


def test_an_agent_is_shown_what_select_action_remembers(minivla: Path) -> None:
    """The same three control steps through LeRobot's way and through ours: the backbone sees the same images."""
    policy, agent = load(minivla, n_action_steps=1), load_policy(minivla)
    by_lerobot, by_agent = listening(policy), listening(agent.policy)
    rng, history = np.random.default_rng(0), ObservationHistory(agent.n_obs_steps)
    for _ in range(3):
        pixels = {c: rng.integers(0, 256, (28, 28, 3), dtype=np.uint8) for c in ("image", "image2")}
        observation = history.stack_observation({"pixels": pixels, "agent_pos": np.zeros(8, np.float32)})
        now = {
            f"observation.images.{camera}": torch.from_numpy(image).permute(2, 0, 1)[None] / 255
            for camera, image in pixels.items()
        }
        policy.select_action({"task": [TASK]} | now)
        agent.act([observation], [TASK])
        assert by_agent[-1].shape[1] == 4
        assert torch.equal(by_agent[-1], by_lerobot[-1])


def test_rows_whose_episodes_have_just_begun_join_those_that_go_on(minivla: Path) -> None:
    agent = load_policy(minivla)
    shown, rng = listening(agent.policy), np.random.default_rng(0)
    two = rng.integers(0, 256, (2, 28, 28, 3), dtype=np.uint8)

    def observation(images: np.ndarray) -> dict[str, Any]:
        return {"pixels": {"image": images, "image2": images}, "agent_pos": np.zeros(8, np.float32)}

    agent.act([observation(two), observation(two[:1]), observation(two[1])], [TASK] * 3)
    first, last = (torch.from_numpy(image).permute(2, 0, 1) / 255 for image in two)
    expected = [(first, first, last, last), (first,) * 4, (last,) * 4]
    assert torch.equal(shown[-1], torch.stack([torch.stack(row) for row in expected]))
    with pytest.raises(InspireError, match=r"2 images of camera 'image'; found an array \(3, 28, 28, 3\)"):
        agent.act([observation(two[[0, 0, 1]])], [TASK])


def test_the_oldest_of_too_few_images_stands_for_those_before_it() -> None:
    two = np.stack([np.full((4, 4, 3), grey, np.uint8) for grey in (10, 20)])
    agent = Agent(SimpleNamespace(config=SimpleNamespace(n_obs_steps=3)), None, None)
    assert agent._with_history(two)[:, 0, 0, 0].tolist() == [10, 10, 20]
    assert agent._with_history(two[1])[:, 0, 0, 0].tolist() == [20, 20, 20]


def test_a_nano_learns_and_acts_with_a_history(labelled_dataset: Path, tmp_path: Path) -> None:
    out = run(labelled_dataset, tmp_path / "out", "--steps=1", "--policy.n_obs_steps=2")
    policy = load_policy(out).policy
    torch.manual_seed(0)
    shown, images = listening(policy), torch.rand(2, 3, 32, 32)
    for image in images:
        policy._queue.clear()
        policy.select_action(
            {"task": [TASK], CAMERAS[0]: image[None], "observation.state": torch.zeros(1, 8)}
        )
    assert torch.equal(shown[-1][0], images)
