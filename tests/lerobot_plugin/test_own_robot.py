"""A robot of one's own: joints in degrees, two cameras of different sizes. It trains, acts and is served."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot.datasets import LeRobotDataset
from tests.lerobot_plugin.families import finetune, load, make
from tests.lerobot_plugin.tiny_runs import TINY, TINY_FLOW
from tests.serving.toy_server import serve

from inspire_vla.errors import InspireError
from inspire_vla.instruction import find_mentions
from inspire_vla.labels.columns import LabelInfo, ModeRule, answer_column, answer_feature, write_labels
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.frame_cache import resized
from inspire_vla.lerobot_plugin.training import train
from inspire_vla.policies import describe
from inspire_vla.serving.client import PolicyClient, ServerError
from inspire_vla.serving.observations import ObservationReader

TASK = "Pick up the red screwdriver."
SIZES = {"front": (54, 96), "wrist": (48, 64)}
LOW, HIGH = np.array([-90, -60, 10, -45, -90, 0]), np.array([90, 60, 120, 45, 90, 100])
"""Degrees, the gripper in percent."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("own") / "data", np.random.default_rng(0)
    joints = [f"joint_{i}.pos" for i in range(5)] + ["gripper.pos"]
    features = {
        f"observation.images.{camera}": {
            "dtype": "image", "shape": (*size, 3), "names": ["height", "width", "channels"]
        }
        for camera, size in SIZES.items()
    } | {
        key: {"dtype": "float32", "shape": (6,), "names": joints} for key in ("observation.state", "action")
    } | {answer_column("direction"): answer_feature(1)}  # fmt: skip
    dataset = LeRobotDataset.create("local/own", fps=10, root=root, features=features, use_videos=False)
    for _ in range(3):
        for _ in range(12):
            joint = rng.uniform(LOW, HIGH).astype(np.float32)
            images = {
                f"observation.images.{camera}": rng.integers(0, 255, (*size, 3), dtype=np.uint8)
                for camera, size in SIZES.items()
            }
            label = {answer_column("direction"): np.array([rng.integers(7)], np.int16)}
            dataset.add_frame({**images, "observation.state": joint, "action": joint, "task": TASK, **label})
        dataset.save_episode()
    dataset.finalize()
    info = LabelInfo(
        "robot",
        modes={"direction": ModeRule()},
        tasks={TASK: find_mentions(TASK)},
        max_objects=1,
        labeller="noise",
    )
    write_labels(root, info)
    return root


def run(dataset: Path, out: Path, *more: str, recipe: str = "nano_own") -> Path:
    arguments = [
        f"--dataset.root={dataset}",
        f"--output_dir={out}",
        *(TINY if recipe == "nano_own" else TINY_FLOW),
        "--steps=2",
        "--policy.chunk_size=4",
    ]
    train([*arguments, "--policy.n_action_steps=4", *more], recipe=recipe)
    return out


@pytest.fixture(scope="module")
def trained(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(own, tmp_path_factory.mktemp("run") / "own", "--policy.image_size=[32,48]")


def test_actions_come_out_in_the_units_that_went_in(own: Path, trained: Path) -> None:
    """The ends that the tokenizer clips to, −1 and 1, are the ends of the demonstrations, in degrees."""
    agent = load_policy(trained)
    ends = agent.postprocessor(torch.tensor([[-1.0] * 6, [1.0] * 6])).numpy()
    actions, _ = LeRobotFiles.open(own).column("action")
    np.testing.assert_allclose(ends, [actions.min(0), actions.max(0)], rtol=1e-4, atol=1e-4)
    images = {camera: np.zeros((*size, 3), np.uint8) for camera, size in SIZES.items()}
    decision = agent.act([{"pixels": images, "agent_pos": np.zeros(6)}], [TASK])[0]
    assert decision.actions.shape == (4, 6)
    assert np.abs(decision.actions).max() > 1.5


def test_a_flow_expert_makes_the_actions_of_an_own_robot(own: Path, tmp_path: Path) -> None:
    agent = load_policy(run(own, tmp_path / "own", "--policy.image_size=[32,48]", recipe="nano_own_flow"))
    scale = agent.postprocessor(torch.tensor([[0.0] * 6, [1.0] * 6])).numpy()
    actions, _ = LeRobotFiles.open(own).column("action")
    np.testing.assert_allclose(
        scale, [actions.mean(0), actions.mean(0) + actions.std(0)], rtol=1e-3, atol=1e-3
    )
    images = {camera: np.zeros((*size, 3), np.uint8) for camera, size in SIZES.items()}
    decision = agent.act([{"pixels": images, "agent_pos": np.zeros(6)}], [TASK])[0]
    assert decision.actions.shape == (4, 6)
    assert set(decision.answers_by_mention) == set(find_mentions(TASK))


def test_a_server_takes_each_camera_in_its_own_size(trained: Path) -> None:
    message = {f"observation/{c}": np.zeros((*size, 3), np.uint8) for c, size in SIZES.items()}
    message |= {"observation/state": np.zeros(6), "prompt": TASK}
    with serve(load_policy(trained)) as server, PolicyClient(server.url) as client:
        assert client.metadata["image_sizes"] == {camera: list(size) for camera, size in SIZES.items()}
        assert client.infer(message).actions.shape == (4, 6)
        with pytest.raises(ServerError, match="54 × 96"):
            client.infer(message | {"observation/front": np.zeros((48, 64, 3), np.uint8)})


def test_what_is_felt_is_checked_by_name(trained: Path) -> None:
    agent = load_policy(trained)
    pixels = {camera: np.zeros((*size, 3), np.uint8) for camera, size in SIZES.items()}
    with pytest.raises(InspireError, match=r"must be 6 numbers, found an array \(7,\)"):
        agent.act([{"pixels": pixels, "agent_pos": np.zeros(7)}], [TASK])
    with pytest.raises(InspireError, match=r"needs 6 numbers, 'agent_pos'; found \['pixels'\]"):
        agent.act([{"pixels": pixels}], [TASK])


@pytest.mark.parametrize("tokenizer", ["residual_vq", "uniform_bins"])
def test_actions_that_would_be_clipped_are_refused_by_name(own: Path, tmp_path: Path, tokenizer: str) -> None:
    unscaled = '--policy.normalization_mapping={"VISUAL":"IDENTITY","STATE":"MEAN_STD","ACTION":"IDENTITY"}'
    with pytest.raises(InspireError, match=r"joint_0\.pos -\d.*MIN_MAX brings them there"):
        run(own, tmp_path / "out", f"--policy.action_tokenizer={tokenizer}", unscaled)


def test_the_shipped_eyes_say_what_else_there_is(own: Path, tmp_path: Path) -> None:
    more = [
        "--policy.pretrained_init=nano_grounding",
        '--policy.normalization_mapping={"ACTION":"QUANTILES"}',
    ]
    with pytest.raises(InspireError, match="--recipe nano_own"):
        run(own, tmp_path / "out", *more)


def test_scaling_keeps_what_is_even_and_every_leading_axis() -> None:
    images = torch.full((2, 3, 3, 48, 64), 0.25)
    small = resized(images, (24, 16))
    assert small.shape == (2, 3, 3, 24, 16)
    torch.testing.assert_close(small, torch.full_like(small, 0.25))
    assert resized(images, None) is images
    assert resized(images, (48, 64)) is images


def test_the_size_is_part_of_the_checkpoint(trained: Path) -> None:
    config = json.loads((trained / "checkpoints" / "last" / "pretrained_model" / "config.json").read_text())
    assert config["image_size"] == [32, 48]
    assert load_policy(trained).config.model_image_size == (32, 48)


def test_a_finetuned_policy_reads_images_of_its_new_size(
    labelled_dataset: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    checkpoint = make("image_text", tmp_path_factory)
    before = ObservationReader.of(load(checkpoint).config)
    after = ObservationReader.of(load(finetune(checkpoint, labelled_dataset, tmp_path / "run")).config)
    assert set(before.sizes.values()) != {(32, 32)}
    assert after.sizes == {"image": (32, 32)}


def test_a_policy_with_cameras_of_different_sizes_is_described_for_serving(trained: Path) -> None:
    """`inspire serve` reads the description before it loads the policy."""
    found = describe(trained)
    assert found["image_sizes"] == {camera: list(size) for camera, size in SIZES.items()}
    assert found["image_size"] is None  # no simulator here draws them
