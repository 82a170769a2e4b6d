"""Training is lerobot-train: it runs, it resumes to the same weights, its checkpoints load and act."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import LabelMismatch, LabelsMissing
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.training import train
from inspire_vla.spatial import canonical_answers


def weights(out: Path, step: str = "last") -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoints" / step / "pretrained_model" / "model.safetensors")


def test_a_checkpoint_acts_and_says_why(trained: Path) -> None:
    agent = load_policy(trained)
    rng = np.random.default_rng(1)
    seen = [
        {"pixels": {"image": rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)}, "agent_pos": np.zeros(8)}
        for _ in range(2)
    ]
    orders = ["pick up the red cube and place it on the blue plate", "open the top drawer of the cabinet"]
    plate, drawer = agent.act(seen, orders)
    assert set(agent.config.input_features) == {"observation.images.image", "observation.state"}  # no labels
    assert plate.mentions == ("the red cube", "the blue plate")
    assert drawer.mentions == ("the top drawer of the cabinet",)
    assert plate.actions.shape == (4, 7)
    assert np.isfinite(plate.actions).all()
    assert all(0 < c <= 1 for c in plate.confidences)
    dice = np.random.default_rng
    warm = [agent.act(seen, orders, temperature=50.0, generator=dice(seed)) for seed in (0, 0, 1)]
    tokens = [[decision.token_ids for decision in decisions] for decisions in warm]
    assert tokens[0] == tokens[1] != tokens[2]
    (steered, _) = agent.act(seen, orders, overrides=[{"the red cube": "up"}, None])
    assert steered.answers[0] == "up"
    assert steered.overridden == (True, False)


def test_a_seed_in_the_place_of_a_generator_is_refused() -> None:
    agent = load_policy("nano_base")
    with pytest.raises(InspireError, match=r"such as numpy.random.default_rng\(3\); found 3"):
        agent.act({}, "open it", generator=3)


def test_a_training_is_evaluated_on_the_way_where_that_is_asked_for(
    labelled_dataset: Path, tmp_path: Path
) -> None:
    """By lerobot-train itself, in an environment of LeRobot or of a plug-in."""
    out = run(
        labelled_dataset, tmp_path / "out", "--steps=1", "--save_checkpoint=false", "--env.type=inspire_tabletop",
        "--env.task=tabletop_goal", "--env.task_ids=[0]", "--env.image_size=32", "--env.episode_length=2",
        "--env_eval_freq=1", "--eval.n_episodes=1", "--eval.batch_size=1",
    )  # fmt: skip
    assert list((out / "eval" / "videos_step_000001").rglob("*.mp4"))


def test_answers_weigh_what_the_configuration_says(trained: Path) -> None:
    policy = load_policy(trained).policy
    batch = {
        "task": ["open the top drawer of the cabinet"] * 2,
        "observation.images.image": torch.rand(2, 3, 32, 32), "observation.state": torch.randn(2, 8),
        "action": torch.rand(2, 4, 7) * 2 - 1, "observation.answers.direction": torch.tensor([[0, -1, -1]] * 2),
    }  # fmt: skip
    for weight in (0.0, 0.25, 1.0):
        policy.config.reasoning.answer_loss_weight = weight
        loss, log = policy.forward(batch)
        assert loss.item() == pytest.approx(log["action_loss"] + weight * log["answer_loss"], rel=1e-6)


def test_weight_decay_is_on_matrices_only(trained: Path) -> None:
    """Norms and biases shrunk towards zero would be another model; every trained parameter is in one group."""
    policy = load_policy(trained).policy
    decayed, plain = policy.get_optim_params()
    assert "weight_decay" not in decayed  # the optimizer's own
    assert plain["weight_decay"] == 0.0
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert plain["params"]
    assert all(p.ndim < 2 for p in plain["params"])
    given = [id(p) for group in (decayed, plain) for p in group["params"]]
    assert sorted(given) == sorted(id(p) for p in policy.parameters() if p.requires_grad)


def test_weights_of_nano_in_bfloat16_are_refused() -> None:
    """Mixed precision by LeRobot's autocast is not: tests/lerobot_plugin/test_resuming.py trains so."""
    with pytest.raises(InspireError, match="weights are float32"):
        InspireVLAConfig(backbone="nano", weights_dtype="bfloat16")
    assert InspireVLAConfig(backbone="nano", dtype="bfloat16").dtype == "bfloat16"
    InspireVLAConfig(backbone="openvla", weights_dtype="bfloat16")


def test_images_as_numbers_from_0_to_1_are_those_as_bytes(trained: Path) -> None:
    """Divided by 255, as bytes are, they would be images that are nearly black."""
    agent = load_policy(trained)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    given = [{"pixels": {"image": pixels}, "agent_pos": np.zeros(8)} for pixels in (image, image / 255)]
    as_bytes, as_floats = (agent.act([one], ["open the top drawer of the cabinet"])[0] for one in given)
    np.testing.assert_allclose(as_floats.confidences, as_bytes.confidences, atol=1e-5)
    assert as_floats.answers == as_bytes.answers
    with pytest.raises(InspireError, match="uint8"):
        agent.act([{"pixels": {"image": image.astype(np.float32)}, "agent_pos": np.zeros(8)}], ["open it"])


def test_a_checkpoint_knows_what_it_was_trained_on(trained: Path) -> None:
    assert load_policy(trained).policy.tokenizer.parts.training_suites == {"noise": None}


def test_an_episode_starts_with_the_most_frequent_first_answers(
    trained: Path, labelled_dataset: Path
) -> None:
    policy = load_policy(trained).policy
    table = pq.read_table(next((labelled_dataset / "data").rglob("*.parquet"))).to_pydict()
    first = [
        a for a, f in zip(table["observation.answers.direction"], table["frame_index"], strict=True) if f == 0
    ]
    for slot, word in enumerate(policy.tokenizer.parts.initial_draft):
        counts = Counter(codes[slot] for codes in first if codes[slot] >= 0)
        assert counts[canonical_answers("direction").index(word)] == max(counts.values())
    assert len(policy.tokenizer.parts.initial_draft) == 2  # no instruction here names a third object


def test_the_base_model_differs_in_the_flag_alone(
    trained: Path, unlabelled_dataset: Path, tmp_path: Path
) -> None:
    out = run(unlabelled_dataset, tmp_path / "base", "--steps=2", "--policy.reasoning.enabled=false")
    base, inspire = weights(out), weights(trained)
    assert {k: v.shape for k, v in base.items()} == {k: v.shape for k, v in inspire.items()}
    agent = load_policy(out)
    assert not agent.reasoning_enabled
    seen = {"pixels": {"image": np.zeros((32, 32, 3), dtype=np.uint8)}, "agent_pos": np.zeros(8)}
    (decision,) = agent.act([seen], ["open the top drawer of the cabinet"])
    assert decision.mentions == ()
    assert decision.actions.shape == (4, 7)


def test_reasoning_without_labels_is_refused(unlabelled_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(LabelsMissing):
        run(unlabelled_dataset, tmp_path / "out", "--steps=1")


def test_labels_of_another_frame_are_refused(labelled_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(LabelMismatch, match="official_libero"):
        run(labelled_dataset, tmp_path / "out", "--steps=1", "--policy.reasoning.frame=official_libero")


@pytest.mark.parametrize(("kind", "settings", "message"), [
    ("RandomCrp", {}, "cannot be made: Transform 'RandomCrp' is not valid"),
    ("RandomCrop", {"siz": 5}, "cannot be made: .*unexpected keyword argument 'siz'"),
    ("RandomCrop", {"size": [900, 20]}, "'change' .* fails on images of .*crop size"),
    ("RandomCrop", {"size": [16, 16]}, "'change' .* makes images of 16 × 16 pixels, but the policy takes"),
])  # fmt: skip
def test_an_augmentation_that_fails_is_refused_before_the_first_step(
    labelled_dataset: Path, tmp_path: Path, kind: str, settings: dict[str, object], message: str
) -> None:
    change = json.dumps({"change": {"type": kind, "kwargs": settings}})
    options = ["--dataset.image_transforms.enable=true", f"--dataset.image_transforms.tfs={change}"]
    with pytest.raises(InspireError, match=message):
        run(labelled_dataset, tmp_path / "out", *options)
    assert not list((tmp_path / "out").glob("checkpoints/*"))


def test_a_folder_that_is_no_dataset_or_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InspireError, match="no LeRobot dataset"):
        run(tmp_path, tmp_path / "out")
    with pytest.raises(InspireError, match=r"no config\.json"):
        load_policy(tmp_path)
    with pytest.raises(InspireError, match="neither a folder here nor a hub name"):
        load_policy("nowhere")
    with pytest.raises(InspireError, match="Unknown recipe"):
        train([], recipe="nanno_tabletop")
    with pytest.raises(InspireError, match="'nano_grounding' is a recipe of `inspire pretrain`") as error:
        train([], recipe="nano_grounding")
    assert "nano_grounding_libero" not in str(error.value)
