"""Fine-tuning a converted model: what is logged, and what is done once."""

import json
from pathlib import Path

import pytest
from lerobot.datasets import LeRobotDatasetMetadata
from lerobot.scripts import lerobot_train
from tests.lerobot_plugin import sources
from tests.lerobot_plugin.families import TASK, finetune, load, make
from tests.lerobot_plugin.test_memory_options import batch

from inspire_vla.cli import main
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin import prepare as preparation
from inspire_vla.lerobot_plugin.build_model import make_backbone
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig, load_config
from inspire_vla.lerobot_plugin.dataset_inputs import check_renamed
from inspire_vla.lerobot_plugin.prepare import prepare


@pytest.fixture(scope="module")
def pi0fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("pi0fast", tmp_path_factory)


def test_what_is_logged(pi0fast: Path) -> None:
    policy = load(pi0fast)
    policy.forward(batch(policy))
    loss, log = policy.forward(batch(policy))
    assert loss.item() == pytest.approx(log["action_loss"] + log["answer_loss"], rel=1e-5)
    assert {"answer_accuracy/object_0", "answer_accuracy/object_1"} <= log.keys()
    assert {"answer_accuracy/right", "answer_accuracy/down"} & log.keys()
    assert log["tokens_per_second"] > 0


def test_the_state_is_said_and_the_instruction_parsed_once(pi0fast: Path) -> None:
    policy = load(pi0fast)
    one = policy.tokenizer.prompt_builder.prompt(TASK, "1 2")
    other = policy.tokenizer.prompt_builder.prompt(TASK, "3 4")
    assert "State: 1 2;" in "".join(s.text or "" for s in one.segments)
    assert "State: 3 4;" in "".join(s.text or "" for s in other.segments)
    assert policy.tokenizer.prompt_builder._cached.cache_info().misses == 1
    with pytest.raises(InspireError, match="writes the robot's state"):
        policy.tokenizer.prompt_builder.prompt(TASK)


def test_static_cache_are_a_setting_and_change_nothing_that_is_said(pi0fast: Path) -> None:
    growing, static = load(pi0fast), load(pi0fast, static_cache="eager", static_cache_length=192)
    given = batch(growing)
    said = growing.act(given)
    for drafts in ([{}, {}], [decision.answers_by_mention for decision in said]):
        found = static.act(given, drafts=drafts)
        assert [d.token_ids for d in found] == [d.token_ids for d in said]
    with pytest.raises(InspireError, match="static cache of 32"):
        load(pi0fast, static_cache="eager", static_cache_length=32).act(given)
    with pytest.raises(InspireError, match="Unknown static_cache 'graphs'"):
        InspireVLAConfig(static_cache="graphs")
    with pytest.raises(InspireError, match="nano has no static steps"):
        InspireVLAConfig(static_cache="eager")


def test_a_published_backbone_without_its_weights_says_what_to_do() -> None:
    config = InspireVLAConfig(backbone="openvla", input_features={}, output_features={})
    with pytest.raises(InspireError, match="inspire convert --from openvla"):
        make_backbone(config, None)
    with pytest.raises(InspireError, match="Did you mean 'minivla'"):
        InspireVLAConfig(backbone="mini_vla")


def test_the_command_converts_and_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = tmp_path / "model"
    source.mkdir()
    sources.image_text(source)
    command = [
        "convert",
        "--from",
        "image_text",
        str(source),
        "--to",
        str(tmp_path / "out"),
        "--dtype",
        "float32",
    ]
    assert main(command) == 0
    assert "tensors matched" in capsys.readouterr().out
    assert main(command) == 2
    assert "exists and is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(("key", "feature", "told"), [
    ("observation.images.top", {"type": "VISUAL", "shape": [3, 32, 32]}, "--rename_map=.*'s --cameras"),
    ("observation.state", {"type": "STATE", "shape": [5]}, "a state of 5 numbers.*has 8"),
])  # fmt: skip
def test_inputs_that_the_dataset_lacks_are_refused_before_the_first_step(
    key: str, feature: dict, told: str, tmp_path_factory: pytest.TempPathFactory, labelled_dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    start = make("smolvla", tmp_path_factory)
    config = json.loads((start / "config.json").read_text(encoding="utf-8"))
    if feature["type"] == "VISUAL":
        del config["input_features"]["observation.images.image"]
    config["input_features"][key] = feature
    (start / "config.json").write_text(json.dumps(config), encoding="utf-8")
    out = tmp_path_factory.mktemp("run") / "out"
    with pytest.raises(InspireError, match=told):
        finetune(start, labelled_dataset, out)
    assert not out.exists()
    bare = [f"--policy.path={start}", "--policy.push_to_hub=false", "--policy.device=cpu", "--num_workers=0"]
    data = [f"--dataset.root={labelled_dataset}", "--dataset.repo_id=local/tiny", f"--output_dir={out}"]
    monkeypatch.setattr("sys.argv", ["lerobot-train", *data, *bare])
    with pytest.raises(InspireError, match=told):
        lerobot_train.train()


def test_a_new_name_for_a_camera_that_the_dataset_lacks_is_refused(labelled_dataset: Path) -> None:
    """LeRobot passes over it, so that a mistyped name would rename nothing."""
    columns = LeRobotDatasetMetadata("local/tiny", root=labelled_dataset).features
    check_renamed(columns, {"observation.images.image": "observation.images.front"})
    told = r"no 'observation.images.imgae'. Did you mean 'observation.images.image'\?.*'observation.state'"
    with pytest.raises(InspireError, match=told):
        check_renamed(columns, {"observation.images.imgae": "observation.images.front"})


@pytest.mark.parametrize("env", [[], ["--env.type=inspire_tabletop"]])
def test_a_new_name_may_be_for_a_camera_of_the_environment(
    env: list[str], labelled_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LeRobot renames what the environment shows as well."""
    renamed = '--rename_map={"observation.images.agentview": "observation.images.image"}'
    monkeypatch.setattr("sys.argv", ["lerobot-train", renamed, *env])
    monkeypatch.setattr(preparation, "check_inputs", lambda *_: pytest.fail("not refused"))
    dataset = LeRobotDatasetMetadata("local/tiny", root=labelled_dataset)
    with pytest.raises(pytest.fail.Exception if env else InspireError):
        preparation._check_dataset(InspireVLAConfig(), dataset)


def test_bare_lerobot_train_says_that_rounding_loses_the_steps(
    tmp_path_factory: pytest.TempPathFactory, unlabelled_dataset: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    config = load_config(make("smolvla", tmp_path_factory))
    config.dtype, config.optimizer_lr = "bfloat16", 1e-5
    config.reasoning.enabled = False
    meta = LeRobotDatasetMetadata("local/tiny", root=unlabelled_dataset)
    monkeypatch.setattr("inspire_vla.lerobot_plugin.prepare.check_inputs", lambda *_: pytest.fail("reached"))
    for options, warned in (([], True), (["--peft.r=8"], False)):
        caplog.clear()
        monkeypatch.setattr("sys.argv", ["lerobot-train", *options])
        with pytest.raises(pytest.fail.Exception, match="reached"):
            prepare(config, meta, None)
        assert ("--policy.weights_dtype=float32" in caplog.text) == warned
