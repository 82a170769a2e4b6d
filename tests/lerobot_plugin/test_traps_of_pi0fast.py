"""What goes wrong in LeRobot's own pi0_fast, each shown not to go wrong here."""

import json
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.utils.constants import ACTION
from safetensors.torch import load_file, save_file
from tests.lerobot_plugin import sources
from tests.lerobot_plugin.families import TASK, load, make
from tests.lerobot_plugin.test_memory_options import batch

from inspire_vla.backbones.attention import PREFIX, make_attention_mask
from inspire_vla.dialogue import TokenType, render
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin import modeling_inspire_vla
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.convert import convert
from inspire_vla.lerobot_plugin.losses import Losses
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.tokenizer import LOSS_MASK, TOKEN_IDS, TOKEN_TYPES


@pytest.fixture(scope="module")
def pi0fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("pi0fast", tmp_path_factory)


def test_taking_fewer_steps_does_not_compress_the_chunk(pi0fast: Path) -> None:
    """There the decoder's horizon is n_action_steps, so that a smaller one squeezes four actions into two."""
    whole, cut = load(pi0fast, n_action_steps=4), load(pi0fast, n_action_steps=2)
    chunks = [policy.predict_action_chunk(batch(policy)) for policy in (whole, cut)]
    assert chunks[0].shape == (2, 4, 7)
    assert torch.equal(chunks[0], chunks[1])
    taken = [cut.select_action(batch(cut)) for _ in range(2)]
    assert torch.equal(torch.stack(taken, 1), chunks[0][:, :2])


def test_bos_is_masked_in_acting_as_in_training(pi0fast: Path) -> None:
    """There it is both-ways while acting and causal in training: here one function makes both masks."""
    policy = load(pi0fast)
    policy.config.reasoning.enabled = False
    rendered = render(
        policy.tokenizer.prompt_builder.prompt(TASK, "1 2"), policy.tokenizer.prompt_builder.tokenizer
    )
    prompt = torch.tensor([[PREFIX] * 4 + rendered.token_types.tolist()])
    training = torch.tensor([[*prompt[0].tolist(), *[TokenType.ACTION] * 3]])
    acting, trained = (
        make_attention_mask(token_types, bidirectional_prefix=True)[0] for token_types in (prompt, training)
    )
    count = prompt.shape[1]
    assert torch.equal(trained[:count, :count], acting)
    assert trained[0, 4]  # the first image sees <bos>, which comes after it


def test_a_broken_code_sequence_is_never_the_mean_action(pi0fast: Path) -> None:
    """There it gives zeros, which the robot takes for the mean action. Here the grammar admits no such sequence."""
    policy = load(pi0fast)
    decisions = policy.act(batch(policy))
    assert all(decision.decodable for decision in decisions)
    assert policy.grammar.actions((0,)) is None


def test_what_does_not_begin_with_action_crashes_no_batch(pi0fast: Path) -> None:
    """There the words "Action: " are for the model to say, and a row that says otherwise ends the batch.

    Here they are part of the prompt, so that not even a model of noise can say otherwise; it is asked in a batch.
    """
    policy = load(pi0fast)
    with torch.no_grad():
        for parameter in policy.backbone.decoder.parameters():
            torch.nn.init.normal_(parameter, std=3.0)
    told = policy.tokenizer.prompt_builder.prompt(TASK, "1 2")
    assert (
        "".join(s.text or "" for s in told.segments if s.token_type is TokenType.TEXT).count("Action: ") == 1
    )
    decisions = policy.act(batch(policy, rows=3))
    assert [decision.decodable for decision in decisions] == [True] * 3
    low, high = policy.tokenizer.action_vocabulary.id_range
    answers = sum(len(policy.answer_set.token_ids_of[w]) for w in decisions[0].answers)
    assert all(low <= token < high for token in decisions[0].token_ids[answers:])


def test_settings_survive_saving(pi0fast: Path, tmp_path: Path) -> None:
    """There fast_skip_tokens is lost on saving; here the place of the codes follows from what is saved."""
    agent = load_policy(pi0fast)
    policy = agent.policy
    agent.save_pretrained(tmp_path)
    again = InspireVLAPolicy.from_pretrained(tmp_path)
    assert again.tokenizer.action_vocabulary == policy.tokenizer.action_vocabulary
    assert again.config.paligemma == policy.config.paligemma
    assert again.tokenizer.action_tokenizer.horizon == policy.config.chunk_size == 4


def test_broken_weights_are_an_error_not_random_ones(pi0fast: Path, tmp_path: Path) -> None:
    """There a load error is printed and random weights are returned."""
    load_policy(pi0fast).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(Exception, match=r"(?i)header|safetensor|deserial"):
        load_policy(tmp_path)


def test_weights_that_lack_a_tensor_are_an_error(pi0fast: Path, tmp_path: Path) -> None:
    load_policy(pi0fast).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["backbone.projector.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(InspireError, match=r"projector\.weight"):
        InspireVLAPolicy.from_pretrained(tmp_path)


@pytest.mark.parametrize("mode", ["MEAN_STD", "QUANTILES"])
def test_normalisation_is_the_checkpoints(mode: str, tmp_path: Path) -> None:
    """There z-scores are the default where openpi trained on quantiles; a mix-up takes the success rate to nothing."""
    options = sources.pi0fast(tmp_path)
    run = tmp_path / "run"
    said = json.loads((run / "policy_preprocessor.json").read_text())
    step = said["steps"][0]
    step["config"]["norm_map"] = {"STATE": mode, "ACTION": mode}
    (run / "policy_preprocessor.json").write_text(json.dumps(said))
    statistics = load_file(run / step["state_file"])
    for key, dim in (("action", 7), ("observation.state", 8)):
        statistics |= {f"{key}.q01": torch.full((dim,), -3.0), f"{key}.q99": torch.full((dim,), 5.0)}
    save_file(statistics, run / step["state_file"])
    convert("pi0fast", run, tmp_path / "out", options=options)
    agent = load_policy(tmp_path / "out")
    assert {agent.config.normalization_mapping[k].value for k in ("STATE", "ACTION")} == {mode}
    normalised = torch.full((1, 7), 0.5)
    expected = 0.5 * 2.0 + 0.5 if mode == "MEAN_STD" else 3.0  # std and mean; 1.5 / 2 of the way from -3 to 5
    torch.testing.assert_close(agent.postprocessor(normalised), torch.full((1, 7), expected))


def test_the_first_code_has_its_term_in_the_loss(pi0fast: Path) -> None:
    """There the loss has none for an action's first token."""
    policy = load(pi0fast)
    one = batch(policy, rows=1)
    codes = policy.tokenizer.action_tokenizer.encode(one[ACTION].numpy())[0]
    one |= policy.tokenizer(one)
    ids, types, mask = one[TOKEN_IDS], one[TOKEN_TYPES], one[LOSS_MASK]
    with patch.object(modeling_inspire_vla, "Losses", wraps=Losses) as losses:
        _, log = policy.forward(one)
    logits = losses.call_args.args[0]
    acts = types[mask] == TokenType.ACTION
    assert ids[mask][acts].tolist() == policy.tokenizer.action_vocabulary.to_ids(codes).tolist()
    each = torch.nn.functional.cross_entropy(logits, ids[mask], reduction="none")
    behind = int(acts.nonzero()[0])  # the codes, and the end of what was said
    assert log["action_loss"] == pytest.approx(each[behind:].mean().item(), rel=1e-5)
    assert log["action_loss"] != pytest.approx(
        each[behind + 1 :].mean().item(), rel=1e-3
    )  # without the first code


def test_the_state_is_that_of_the_prompt(pi0fast: Path) -> None:
    policy = load(pi0fast)
    assert PreTrainedConfig.from_pretrained(pi0fast).use_state
    assert "State: 1 2;" in "".join(
        s.text or "" for s in policy.tokenizer.prompt_builder.prompt(TASK, "1 2").segments
    )
