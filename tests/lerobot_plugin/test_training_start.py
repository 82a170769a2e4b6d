"""A training that contradicts what it starts from is refused by name, before LeRobot is loaded."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from lerobot.common.train_utils import should_save_checkpoint
from lerobot.configs.train import TrainPipelineConfig
from lerobot.scripts import lerobot_train

from inspire_vla.errors import InspireError
from inspire_vla.labels import LabelsMissing
from inspire_vla.lerobot_plugin.checkpoints import SHIPPED
from inspire_vla.lerobot_plugin.policy_kinds import ACTION_HEADS
from inspire_vla.lerobot_plugin.training_start import asked_for, check_options, check_saved, check_start
from inspire_vla.recipes import RECIPES


def checkpoint(folder: Path, **settings: Any) -> Path:
    """The shipped base policy with other settings in its config.json."""
    shutil.copytree(SHIPPED / "nano_base", folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | settings), encoding="utf-8")
    return folder


@pytest.mark.parametrize("family", [name for name in ACTION_HEADS if name != "nano"])
def test_a_family_of_published_weights_needs_a_converted_checkpoint(family: str) -> None:
    told = re.escape(f"`inspire convert --from {family} WEIGHTS")
    for words in ([f"--policy.backbone={family}"], ["--policy.backbone", family]):
        with pytest.raises(InspireError, match=told):
            check_start(words, "nano_tabletop", chosen=False)
    if family in RECIPES:
        with pytest.raises(InspireError, match=told):
            check_start([], family, chosen=True)


def test_a_folder_whose_name_is_a_number_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint(Path("007"))
    for words in (["--policy.path=007"], ["--policy.pretrained_path", "007"]):
        check_start([*words, "--policy.reasoning.enabled=false"], "nano_tabletop", chosen=False)
    with pytest.raises(InspireError, match="012"):
        check_start(["--policy.path=012"], None, chosen=False)
    check_start(["--resume=true"], None, chosen=False)  # LeRobot asks for its --config_path
    check_start(["--policy.path=null", "--policy.reasoning.enabled=false"], None, chosen=False)


@pytest.mark.parametrize(("words", "told"), [
    (["--", "--policy.backbone=smolvla"], "inspire convert --from smolvla"),
    ([], "data is no LeRobot dataset"),
    (["--", "--stepz=3"], "Unknown option --stepz. Did you mean '--steps'?"),
    (["--", "--policy.reasoning.enabeld=false"], "Did you mean '--policy.reasoning.enabled'?"),
    (["--", "--batch_size=2", "steps=3"], "'steps=3' after -- is no option of lerobot-train. Write --steps=3."),
    (["--", "--steps=abc"], "--steps=abc: it takes a whole number."),
])  # fmt: skip
def test_the_refusal_comes_before_lerobot_is_loaded(words: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    command = [sys.executable, "-X", "importtime", "-m", "inspire_vla", "train", "--dataset", "data"]
    done = subprocess.run(
        [*command, "--out", "out", *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert told in done.stderr
    assert not re.search(r"\| +(torch|lerobot)$", done.stderr, re.MULTILINE)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("word", "told"), [
    ("--steps=2.5", "--steps=2.5: it takes a whole number."),
    ("--steps=null", "--steps=null: it takes a whole number."),
    ("--steps=0", "--steps=0: it takes a whole number of at least 1."),
    ("--batch_size=-2", "--batch_size=-2: it takes a whole number of at least 1."),
    ("--num_workers=-1", "--num_workers=-1: it takes a whole number of at least 0."),
    ("--prefetch_factor=0", "--prefetch_factor=0: it takes a whole number of at least 1."),
    ("--seed=4294967296", "--seed=4294967296: it takes a whole number from 0 to 4294967295."),
    ("--tolerance_s=x", "--tolerance_s=x: it takes a number."),
    ("--policy.vision_lr=x", "--policy.vision_lr=x: it takes a number or null."),
    ("--policy.use_state=yes", "--policy.use_state=yes: it takes true or false."),
    ("--policy.image_size=64", "--policy.image_size=64: it takes a list such as [1, 2] or null."),
    ("--dataset.episodes=[0", "--dataset.episodes=[0: it takes a list such as [1, 2] or null."),
    ("--rename_map={a: b}", '--rename_map={a: b}: it takes names and values such as {"a": "b"}.'),
    ("--dataset=mine", '--dataset=mine: it takes names and values such as {"a": "b"} or null.'),
    ("--output_dir=mine", "--output_dir is not given after --: write --out before it."),
    ("--dataset.root=mine", "--dataset.root is not given after --: write --dataset before it."),
    ("--resume=true", "--resume is not given after --: write --resume before it."),
    ("--job.target=a10g", "--job.target=a10g: `inspire train` trains on this machine; leave it out."),
])  # fmt: skip
def test_a_value_that_an_option_does_not_take_is_named(word: str, told: str) -> None:
    with pytest.raises(InspireError, match=f"^{re.escape(told)}$"):
        check_options([word])
    with pytest.raises(InspireError, match=f"^{re.escape(told)}$"):
        check_options(word.split("=", 1))


def test_values_that_options_take() -> None:
    check_options(
        ["--steps=20", "--batch_size", "4", "--num_workers=0", "--seed=null", "--policy.optimizer_lr=1e-4"]
    )
    check_options(
        ["--tolerance_s=1", "--policy.vision_lr=null", "--policy.use_state", "false", "--peft=null"]
    )
    check_options(['--rename_map={"a": "b"}', "--policy.image_size=[64,64]", "--dataset.episodes=[0, 1]"])


def test_options_that_only_lerobot_knows_are_left_to_it() -> None:
    check_options(["--env.type=made_up", "--env.size", "3", "--dataset.image_transforms.enabled=true", "-h"])
    check_options(
        ["--policy.discover_packages_path=mine", "--policy.path=somewhere", "--optimizer.made_up=1"]
    )
    check_options(["--policy.type=act", "--policy.dim_model=8"])
    with pytest.raises(InspireError, match=r"^Unknown option --policy\.dim_model\."):
        check_options(["--policy.dim_model=8"])


def test_a_dataset_without_labels_is_refused_before_lerobot_is_loaded(
    unlabelled_dataset: Path, tmp_path: Path
) -> None:
    root = tmp_path / "007"  # a name that YAML reads as a number
    root.symlink_to(unlabelled_dataset)
    words, off = [f"--dataset.root={root.name}"], "--policy.reasoning.enabled=false"
    with contextlib.chdir(tmp_path):
        for start in ([], [f"--policy.path={SHIPPED / 'nano_inspire'}"]):
            with pytest.raises(LabelsMissing, match="007 has no direction labels"):
                check_start([*words, *start], "nano_own", chosen=not start)
            check_start([*words, *start, off], "nano_own", chosen=not start)
        check_start([*words, f"--policy.path={SHIPPED / 'nano_base'}"], "nano_tabletop", chosen=False)


@pytest.mark.parametrize(
    ("kind", "family"), [("smolvla", "smolvla"), ("pi05", "pi05"), ("pi0_fast", "pi0fast")]
)
def test_a_policy_of_lerobot_has_to_be_converted(kind: str, family: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "published", type=kind)
    told = re.escape(f"`inspire convert --from {family} {folder} --to runs/{family}`")
    with pytest.raises(InspireError, match=told):
        check_start([f"--policy.pretrained_path={folder}"], None, chosen=False)


@pytest.mark.parametrize("way", ["path", "pretrained_path"])
@pytest.mark.parametrize(("recipe", "told"), [
    ("nano_tabletop_flow", "action_head is 'tokens' there, 'flow' by the recipe nano_tabletop_flow"),
    ("smolvla", "backbone is 'nano' there, 'smolvla' by the recipe smolvla"),
    ("nano_own", r"image_size is (None|\[96, 96\]) there, \[96, 128\] by the recipe nano_own"),
])  # fmt: skip
def test_a_recipe_that_contradicts_the_checkpoint_is_refused(way: str, recipe: str, told: str) -> None:
    with pytest.raises(InspireError, match=told):
        check_start([f"--policy.{way}={SHIPPED / 'nano_base'}"], recipe, chosen=True)


def test_a_recipe_that_fits_is_taken(tmp_path: Path) -> None:
    base, flow = (
        SHIPPED / "nano_base",
        checkpoint(tmp_path / "flow", action_head="flow", action_tokenizer=None),
    )
    for way in ("path", "pretrained_path"):
        check_start([f"--policy.{way}={base}"], "nano_tabletop", chosen=True)
    check_start([f"--policy.path={flow}"], "nano_tabletop", chosen=False)  # the default recipe gives way
    check_start([f"--policy.pretrained_path={flow}"], "nano_tabletop_flow", chosen=True)
    with pytest.raises(
        InspireError, match=r"'tokens' by the recipe nano_tabletop.*Recipes that fit: nano_tabletop_flow\."
    ):
        check_start([f"--policy.pretrained_path={flow}"], "nano_tabletop", chosen=False)


def test_a_chosen_recipe_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    """With --policy.path LeRobot takes nothing of a recipe's policy."""
    other = checkpoint(tmp_path / "other", optimizer_lr=0.5)
    with pytest.raises(InspireError, match=r"optimizer_lr is 0.5 there, 0.001 by .*policy.pretrained_path="):
        check_start([f"--policy.path={other}"], "nano_tabletop", chosen=True)
    words = [f"--policy.path={other}", "--policy.optimizer_lr=0.25"]  # overrules both
    check_start(words, "nano_tabletop", chosen=True)
    check_start([f"--policy.pretrained_path={other}"], "nano_tabletop", chosen=True)


@pytest.mark.parametrize("option", [
    "backbone=smolvla", "action_head=flow", "nano.layers=9", "nano.vision=efficientnet_lite0", "n_obs_steps=2",
    "use_state=false", "image_size=[64,64]", "vq.levels=3", "vq.codes_per_level=64",
])  # fmt: skip
def test_an_option_that_the_weights_do_not_allow_is_refused(option: str, tmp_path: Path) -> None:
    start = checkpoint(tmp_path / "start", nano={"layers": 4, "vision": "stem"}, use_state=True)
    name, _, value = option.partition("=")
    for words in ([f"--policy.{option}"], [f"--policy.{name}", value]):
        with pytest.raises(
            InspireError, match=rf"{re.escape(name)} is .* Leave out --policy\.{re.escape(name)}"
        ):
            check_start([f"--policy.path={start}", *words], "nano_tabletop", chosen=False)


def test_options_that_the_weights_allow_are_taken(tmp_path: Path) -> None:
    for option in ("optimizer_lr=0.1", "reasoning.enabled=true", "chunk_size=8", "vq.gripper_weight=8"):
        check_start(
            [f"--policy.path={SHIPPED / 'nano_base'}", f"--policy.{option}"], "nano_tabletop", chosen=False
        )
    swapped = ["--policy.vq.levels=4", "--policy.vq.codes_per_level=128"]  # as many codes
    check_start([f"--policy.path={SHIPPED / 'nano_base'}", *swapped], "nano_tabletop", chosen=False)
    flow = checkpoint(tmp_path / "flow", action_head="flow", action_tokenizer=None)
    with pytest.raises(InspireError, match="chunk_size is 4 there, 8 by"):  # nano's expert
        check_start([f"--policy.path={flow}", "--policy.chunk_size=8"], "nano_tabletop", chosen=False)


def test_a_resumed_training_stays_the_same_policy() -> None:
    config = SHIPPED / "nano_base" / "train_config.json"
    resumed = [f"--config_path={config}", "--resume=true"]
    taken = (
        "--steps=9", "--batch_size=4", "--optimizer.grad_clip_norm=2", "--policy.gradient_checkpointing=true",
        "--policy.n_action_steps=2", "--policy.optimizer_lr=1e-3", "--policy.dtype=float32",
        "--policy.no_such_option=3",  # LeRobot refuses it
    )  # fmt: skip
    check_start([*resumed, *taken], None, chosen=False)
    for option in (
        "policy.reasoning.enabled=true", "policy.reasoning.mode=distance", "policy.chunk_size=8",
        "policy.nano.layers=9", "policy.dtype=bfloat16", "policy.action_tokenizer=fast", "policy.flow.insulate=true",
        "policy.optimizer_lr=1e-5", "optimizer.lr=1e-5", "peft.r=8", "dataset.episodes=[0]", "rename_map={a: b}",
        "policy.path=runs/other", "policy.pretrained_path=runs/other",
    ):  # fmt: skip
        with pytest.raises(
            InspireError, match=f"A resumed training .*--{re.escape(option.partition('=')[0])}"
        ):
            check_start([*resumed, f"--{option}"], None, chosen=False)


def test_bare_lerobot_train_refuses_the_same(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    shutil.copytree(trained, out, symlinks=True)
    config = out / "checkpoints" / "last" / "pretrained_model" / "train_config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    del settings["policy"]["weights_dtype"]  # written before there was this setting
    config.write_text(json.dumps(settings), encoding="utf-8")
    resumed = [
        "lerobot-train",
        f"--config_path={config}",
        "--resume=true",
        f"--output_dir={out}",
        "--steps=9",
    ]
    for option, began in (("reasoning.mode=distance", "direction"), ("weights_dtype=float32", "None")):
        monkeypatch.setattr(sys, "argv", [*resumed, f"--policy.{option}"])
        with pytest.raises(InspireError, match=rf"--policy\.{option}, but it began with {began}"):
            lerobot_train.train()


def test_what_lerobot_does_not_tell_a_policy_is_read_as_lerobot_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("resume: true\nrename_map: {a: b}\npeft: null\nsteps: 3\n", encoding="utf-8")
    words = ["lerobot-train", f"--config_path={config}", "--steps", "9", "--dataset.episodes=[0]"]
    monkeypatch.setattr(sys, "argv", words)
    found = [
        asked_for(name) for name in ("resume", "rename_map", "peft", "peft.r", "steps", "dataset.episodes")
    ]
    assert found == [True, {"a": "b"}, None, None, 9, [0]]
    monkeypatch.setattr(sys, "argv", [*words, "--resume=false", "--peft.r=8"])
    assert (asked_for("resume"), asked_for("peft"), asked_for("eval")) == (False, {"r": 8}, None)


def test_a_recipe_of_the_pre_training_is_no_recipe_of_a_policy() -> None:
    with pytest.raises(InspireError, match=r"inspire pretrain.*nano_tabletop"):
        check_start([], "nano_grounding", chosen=True)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("steps: 10\nsave_freq: 4", []),
        ("steps: 10\nsave_freq: 4", ["--steps=12", "--save_freq", "5"]),
        ("steps: 10", ["--save_freq=0"]),
        ("", []),
    ],
)
def test_a_training_saves_the_checkpoints_that_lerobot_saves(
    recipe: str, words: list[str], tmp_path: Path
) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text(recipe, encoding="utf-8")
    settings = {"steps": TrainPipelineConfig.steps, "save_freq": TrainPipelineConfig.save_freq}
    settings |= yaml.safe_load(recipe) or {}
    if "--steps=12" in words:
        settings = {"steps": 12, "save_freq": 5}
    elif words:
        settings["save_freq"] = 0
    for step in (1, 4, 5, 8, 10, 12, 15, 20_000, 50_000, 100_000, 120_000):
        saves = step <= settings["steps"] and should_save_checkpoint(
            step, settings["save_freq"], settings["steps"]
        )
        refused = contextlib.nullcontext() if saves else pytest.raises(InspireError, match="No checkpoint")
        for amended, file in (
            (words, config),
            ([*words, f"--config_path={config}"], tmp_path / "other.yaml"),
        ):
            with refused:
                check_saved([step], amended, file)


def test_an_optimizer_that_lerobot_would_pass_over_is_refused() -> None:
    told = r"^--optimizer\.lr would be passed over: a policy chooses its optimizer\. Set --policy\.optimizer_… instead"
    with pytest.raises(InspireError, match=told):
        check_start(["--optimizer.lr=0.1"], "nano_tabletop", chosen=False)
    with pytest.raises(
        InspireError, match=r"^--scheduler\.type would be passed over: .* --policy\.warmup_steps"
    ):
        check_start(["--scheduler.type", "diffuser"], "nano_tabletop", chosen=False)
    check_start(["--optimizer.lr=0.1", "--use_policy_training_preset=false"], "nano_tabletop", chosen=False)
    check_start(["--optimizer.lr=0.1", "--config_path=mine.yaml"], "nano_tabletop", chosen=False)


def test_bare_lerobot_train_does_not_stream(
    labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [
        f"--dataset.root={labelled_dataset}", "--dataset.repo_id=local/tiny", "--dataset.streaming=true",
        f"--output_dir={tmp_path / 'out'}", "--policy.type=inspire_vla", "--policy.push_to_hub=false",
        "--policy.device=cpu",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["lerobot-train", *command])
    with pytest.raises(InspireError, match=r"^--dataset\.streaming=true: a policy reads the whole dataset"):
        lerobot_train.train()
