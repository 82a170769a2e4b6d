"""Published weights become checkpoints of ours that act and train, base and InSpire, by the same command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.lerobot_plugin import sources

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.convert import KINDS, Options, convert
from inspire_vla.lerobot_plugin.training import train

TASK = "pick up the red cube and place it on the blue plate"


@pytest.fixture(scope="module", params=KINDS)
def converted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Path, Options]:
    kind = request.param
    source, out = tmp_path_factory.mktemp(kind), tmp_path_factory.mktemp("out") / kind
    options = getattr(sources, kind)(source)
    path = source / "run" if (source / "run").is_dir() else source
    report = convert(kind, path, out, options=options)
    assert report.complete
    assert report.matched > 20
    return kind, path, out, options


def observation(size: int = 32) -> dict:
    rng = np.random.default_rng(0)
    return {
        "pixels": {"image": rng.integers(0, 255, (size, size, 3), dtype=np.uint8)},
        "agent_pos": np.zeros(8),
    }


def test_it_acts(converted) -> None:
    kind, _, out, _ = converted
    agent = load_policy(out)
    first, second = agent.act([observation(), observation()], [TASK, TASK])
    horizon = {"openvla": 1, "image_text": 2}.get(kind, 4)
    assert first.actions.shape == (horizon, 7)
    assert np.isfinite(first.actions).all()
    assert first.token_ids == second.token_ids
    assert first.mentions == ()


def train_on(out: Path, data: Path, run: Path, *more: str) -> Path:
    train(
        [f"--dataset.root={data}", "--dataset.repo_id=local/tiny", f"--output_dir={run}", f"--policy.path={out}",
         "--policy.push_to_hub=false", "--policy.device=cpu", "--batch_size=2", "--num_workers=0", "--steps=2",
         "--wandb.enable=false", *more],
        frames_in_memory=False,
    )  # fmt: skip
    return run / "checkpoints" / "last" / "pretrained_model"


def test_base_and_inspire_train_by_the_same_command(
    converted, labelled_dataset: Path, tmp_path: Path
) -> None:
    _, _, out, _ = converted
    before = load_file(out / "model.safetensors")
    for reasoning in ("false", "true"):
        checkpoint = train_on(
            out, labelled_dataset, tmp_path / reasoning, f"--policy.reasoning.enabled={reasoning}"
        )
        after = load_file(checkpoint / "model.safetensors")
        assert after.keys() == before.keys()
        assert any(not torch.equal(after[k], before[k]) for k in before)
        (decision,) = load_policy(checkpoint).act([observation()], [TASK])
        assert len(decision.mentions) == (2 if reasoning == "true" else 0)
        assert decision.decodable


def test_the_weights_are_those_of_the_source(converted) -> None:
    kind, path, out, _ = converted
    if kind == "openvla":
        state = {k: v for f in path.glob("*.safetensors") for k, v in load_file(f).items()}
        ours = load_file(out / "model.safetensors")
        theirs = state["language_model.model.layers.1.mlp.up_proj.weight"]
        assert torch.equal(ours["backbone.decoder.layers.1.mlp.up_proj.weight"], theirs)
    report = json.loads((out / "conversion.json").read_text())
    assert report["missing"] == report["unexpected"] == []
    assert "converted from" in (out / "README.md").read_text()


def test_the_machine_that_converts_does_not_choose_the_device(converted) -> None:
    """It often has no GPU. `lerobot-train --policy.path` trains on the device that config.json names."""
    _, _, out, _ = converted
    assert json.loads((out / "config.json").read_text())["device"] == "cuda"
    assert load_policy(out).config.device == ("cuda" if torch.cuda.is_available() else "cpu")


def test_action_ids_are_the_originals(converted) -> None:
    kind, _, out, _ = converted
    policy = load_policy(out).policy
    vocabulary, text = policy.tokenizer.action_vocabulary, policy.backbone.text_tokenizer
    if kind in ("smolvla", "pi05"):  # a flow expert makes the actions
        assert vocabulary is None
        assert policy.expert.horizon == policy.config.chunk_size == 4
    elif kind == "minivla":  # libero_vq_extra_action_tokenizer: len(tokenizer) − 1 − code
        assert vocabulary.to_ids([0, 3]).tolist() == [len(text) - 1, len(text) - 4]
        assert policy.config.n_obs_steps == 2
    elif kind == "openvla":  # the vocabulary without its padding: size − digit, digit = code + 1
        end = policy.backbone.vocabulary_size - 8
        assert vocabulary.to_ids([0, 255]).tolist() == [end - 1, end - 256]
    elif kind == "pi0fast":  # 128 skipped
        assert vocabulary.to_ids(0) == policy.backbone.vocabulary_size - 1 - 128
        assert policy.config.chunk_size == 4
        assert policy.grammar.action_tokenizer.horizon == 4  # of the chunk, not of the steps that are taken
    else:
        assert vocabulary.to_ids(0) == len(text)


def test_statistics_come_along(converted) -> None:
    kind, _, out, _ = converted
    agent = load_policy(out)
    actions = agent.postprocessor(torch.tensor([[1.0] * 7])).flatten()
    if kind in ("openvla", "minivla"):
        torch.testing.assert_close(
            actions, torch.tensor([0.5] * 6 + [1.0])
        )  # the masked gripper is left alone
    elif kind == "pi0fast":
        torch.testing.assert_close(actions, torch.tensor([2.5] * 7))  # z-scores, as that checkpoint says


@pytest.mark.parametrize("kind", ["openvla", "minivla"])
def test_the_gripper_can_be_turned_to_liberos_sign(kind: str, tmp_path: Path) -> None:
    """The codes keep meaning what they do when LeRobot puts a dataset's statistics in place of the checkpoint's."""
    options = getattr(sources, kind)(tmp_path / "source" if kind == "minivla" else tmp_path)
    source = tmp_path / "source" / "run" if kind == "minivla" else tmp_path
    told = {}
    for gripper in ("as_trained", "libero"):
        convert(kind, source, tmp_path / gripper, options=replace(options, gripper=gripper))
        told[gripper] = load_policy(tmp_path / gripper)
        post = told[gripper].postprocessor  # which says nothing of it
        assert post(torch.tensor([[0.0] * 6 + [0.3]])).flatten()[-1] == pytest.approx(0.3)
    plain, turned = (told[gripper].policy.tokenizer.action_tokenizer for gripper in ("as_trained", "libero"))
    codes = plain.encode(np.full((plain.horizon, 7), 0.25))
    np.testing.assert_array_equal(plain.decode(codes)[..., :-1], turned.decode(codes)[..., :-1])
    np.testing.assert_allclose(turned.decode(codes)[..., -1], 1 - 2 * plain.decode(codes)[..., -1], atol=1e-6)
    for trained, libero in ((0.0, 1.0), (1.0, -1.0)):
        chunk = np.full((plain.horizon, 7), 0.1)
        np.testing.assert_array_equal(
            plain.encode(np.where(np.arange(7) == 6, trained, chunk)),
            turned.encode(np.where(np.arange(7) == 6, libero, chunk)),
        )
    with pytest.raises(InspireError, match="Did you mean 'libero'"):
        replace(options, gripper="libro")


def test_reserved_actions_take_no_id_that_means_something(tmp_path: Path) -> None:
    options = sources.image_text(tmp_path)
    with pytest.raises(InspireError, match="Did you mean 'reserved'"):
        convert("image_text", tmp_path, tmp_path / "out", options=replace(options, action_tokens="reserve"))
    convert("image_text", tmp_path, tmp_path / "out", options=replace(options, action_tokens="reserved"))
    agent = load_policy(tmp_path / "out")
    text, vocabulary = agent.policy.backbone.text_tokenizer, agent.policy.tokenizer.action_vocabulary
    assert vocabulary.size == 256
    assert not vocabulary.holds(text.all_special_ids).any()
    assert vocabulary.id_range[1] == text.convert_tokens_to_ids("<image>")  # the first of those at the end
    assert agent.act([observation()], [TASK])[0].decodable


def test_unmatched_tensors_are_an_error_unless_allowed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    options = sources.openvla(source)
    shard = source / "model-00001-of-00002.safetensors"
    state = load_file(shard)
    removed = next(k for k in state if "up_proj" in k)
    state["language_model.model.extra.weight"] = state.pop(removed)
    save_file(state, shard)
    with pytest.raises(InspireError, match=r"missing: 1, e\.g\. decoder.*up_proj(.|\n)*unexpected: 1"):
        convert("openvla", source, tmp_path / "a", options=options)
    assert not (tmp_path / "a").exists()
    report = convert("openvla", source, tmp_path / "a", options=options, allow_partial=True)
    assert len(report.missing) == len(report.unexpected) == 1
