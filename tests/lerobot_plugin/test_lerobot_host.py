"""What `lerobot_host` relies on in LeRobot still holds in the installed version.

What PEFT and accelerate ask a policy for is tested in test_lora.py and test_several_processes.py."""

import json
import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import lerobot
import pytest
import torch
from draccus.wrappers.suppressing_argparse import SuppressingArgumentParser
from lerobot.common.train_utils import update_last_checkpoint
from lerobot.configs import PreTrainedConfig
from lerobot.configs import parser as lerobot_parser
from lerobot.policies import make_pre_post_processors
from lerobot.scripts import lerobot_train
from lerobot.utils.logging_utils import AverageMeter, MetricsTracker
from tests.lerobot_plugin.tiny_runs import TINY, run

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin import training_start
from inspire_vla.lerobot_plugin.checkpoints import find, tokenizer_settings
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig, load_config
from inspire_vla.lerobot_plugin.frame_cache import FrameCache
from inspire_vla.lerobot_plugin.lerobot_host import (
    TRAIN_LOG,
    TrainLog,
    _Console,
    _StepClock,
    duration,
    link_last,
)
from inspire_vla.lerobot_plugin.processor_inspire_vla import tokenizer_step


def test_the_host_is_the_version_that_this_was_written_for() -> None:
    assert lerobot.__version__ == "0.6.1"


REPLACED = (
    "init_logging", "make_train_eval_datasets", "make_policy", "cycle", "update_policy", "save_checkpoint",
    "update_last_checkpoint",
)  # fmt: skip


def test_the_training_looks_its_functions_up_by_name(
    labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each replaced function is called once in a training of one step, in the order that `lerobot_host` relies on."""
    called: list[str] = []

    def recorded(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def record(*arguments: Any, **options: Any) -> Any:
            called.append(name)
            return real(*arguments, **options)

        return record

    for name in REPLACED:
        monkeypatch.setattr(lerobot_train, name, recorded(name, getattr(lerobot_train, name)))
    run(labelled_dataset, tmp_path / "out", "--steps=1")
    assert called == list(REPLACED)


OWN_OPTIMIZER = (
    "--use_policy_training_preset=false", "--scheduler.type=vqbet", "--scheduler.num_warmup_steps=0",
    "--scheduler.num_vqvae_training_steps=0",
)  # fmt: skip


def test_an_own_optimizer_is_taken(labelled_dataset: Path, tmp_path: Path) -> None:
    options = (*OWN_OPTIMIZER, "--optimizer.type=adamw", "--optimizer.lr=0.5", "--log_freq=1")
    out = run(labelled_dataset, tmp_path / "out", "--steps=4", *options)
    assert 0.1 < lines(out)[0]["lr"] <= 0.5  # the policy's own is 0.001


def test_the_reason_of_a_refused_configuration_is_told(labelled_dataset: Path, tmp_path: Path) -> None:
    for option, told in (
        ("reasoning.dropout=1.5", "dropout is the share of samples"),
        ("flow.insulate=true", "are those of --policy.action_head=flow"),
        ("backbone=pi0_fast", "Did you mean 'pi0fast'"),
        ("device=tpu", r"^Unknown device tpu\."),
        ("use_peft=true", "is set by a checkpoint of LoRA"),
    ):
        with pytest.raises(InspireError, match=told):
            run(labelled_dataset, tmp_path / "out", "--steps=1", f"--policy.{option}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_another_put_in_place_of_the_output_folder_is_kept(
    kind: str, labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LeRobot looks at the start only, and loading takes minutes."""
    out, theirs = tmp_path / "out", tmp_path / "theirs"
    theirs.write_text("theirs", encoding="utf-8")
    real = lerobot_train.make_policy

    def make_policy(**options: Any) -> Any:
        if kind == "folder":
            out.mkdir()
            shutil.copy(theirs, out)
        elif kind == "file":
            shutil.copy(theirs, out)
        else:
            out.symlink_to("nowhere")
        return real(**options)

    monkeypatch.setattr(lerobot_train, "make_policy", make_policy)
    with pytest.raises(InspireError, match=r"out exists\. Give another output folder\.$"):
        run(labelled_dataset, out, "--steps=1")
    assert out.is_symlink() or (out / "theirs" if kind == "folder" else out).read_text() == "theirs"


def test_a_refused_training_has_no_file_open_in_its_folder(
    labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows removes no open file. A folder that cannot be removed does not hide why the training was refused."""
    files: list[logging.FileHandler] = []
    real = logging.FileHandler.close

    def close(handler: logging.FileHandler) -> None:
        files.append(handler)
        real(handler)

    def refuse(path: Path) -> None:
        assert [Path(handler.baseFilename) for handler in files] == [path / "train.log"]
        assert not {*files} & {*logging.getLogger().handlers}
        raise PermissionError("in use")

    monkeypatch.setattr(logging.FileHandler, "close", close)
    monkeypatch.setattr("inspire_vla.lerobot_plugin.lerobot_host.remove", refuse)
    monkeypatch.setattr(FrameCache, "__getitem__", lambda *_: (_ for _ in ()).throw(InspireError("Damaged.")))
    with pytest.raises(InspireError, match="Damaged"):
        run(labelled_dataset, tmp_path / "out", "--steps=1")
    assert (tmp_path / "out" / "train.log").is_file()


@pytest.mark.parametrize(("option", "told"), [
    ("--policy.flow.insulate=yess", r"^--policy\.flow\.insulate: Couldn't parse 'yess' into a bool\.$"),
    ("--policy.chunk_size=four", r"^--policy\.chunk_size: Couldn't parse 'four' into an int\.$"),
    ("--policy.flow.insulat=true", r"^Unknown option --policy\.flow\.insulat\. Did you mean '.*flow\.insulate'\?"),
    ("--policy.flow.noise_samples=0", r"^flow\.noise_samples must be from 1 to 64, found 0\.$"),
])  # fmt: skip
def test_an_option_that_is_none_is_named_in_a_line(
    option: str, told: str, labelled_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """LeRobot prints some 650 lines of usage, or a text that does not name the option."""
    with pytest.raises(InspireError, match=told):
        run(labelled_dataset, tmp_path / "out", "--steps=1", option)
    assert capsys.readouterr() == ("", "")
    assert "error" not in vars(SuppressingArgumentParser)
    assert "print" not in vars(lerobot_parser)


def test_the_options_that_are_read_in_lerobots_source_are_those_of_its_command_line(
    labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: set[str] = set()

    def refuse(parser: Any, message: str) -> None:
        names.update(name.removeprefix("--") for name in parser._option_string_actions)
        raise InspireError(message)

    monkeypatch.setattr("inspire_vla.lerobot_plugin.lerobot_host._refuse_options", refuse)
    with pytest.raises(InspireError):
        run(labelled_dataset, tmp_path / "out", "--made_up=1")
    known, more = training_start._known_options()
    assert known.keys() <= names
    assert (known["steps"], known["seed"], known["policy.reasoning.enabled"]) == ("int", "int | None", "bool")
    more = more | {"policy"}  # the command line has the settings of every policy
    below = {name for name in names - known.keys() if "." in name}
    assert not [name for name in below if not any(name.startswith(f"{group}.") for group in more)]
    of_policy = {name.removeprefix("policy.") for name in known if name.startswith("policy.")}
    assert {name for name in of_policy if "." not in name} == {
        each.name for each in fields(InspireVLAConfig) if each.init
    }


@pytest.mark.parametrize(("options", "told"), [
    (["--dataset.episodes=[-1]"], r"^Episode indices must be non-negative, got: \[-1\]\.$"),
    (["--dataset.episodes=[0, 4]"], r"^--dataset\.episodes=\[0, 4\]: .* has the episodes 0 to 3\."),
    (["--dataset.episodes=[]"], r"Give at least one\.$"),
    (["--eval_steps=1"], r"^eval_steps > 0 requires dataset\.eval_split > 0\.0"),
    (["--sample_weighting.type=rabc"], r"leave out --sample_weighting\.$"),
    (["--dataset.streaming=true"], r"^--dataset\.streaming=true: a policy reads the whole dataset"),
    (["--dataset.repo_type=bucket", "--dataset.streaming=true"], r"^--dataset\.streaming=true"),
    (["--dataset.eval_split=0.9"], r"^eval_split=0\.9 leaves 0 training episodes from 4 total\.$"),
    (["--tolerance_s=-1"], "^The following delta_timestamps are found outside of tolerance range"),
    (["--env.type=inspire_tabletop"], "^--env.type=inspire_tabletop: nothing is evaluated during this training"),
    (["--reward_model.type=sarm"], "^--reward_model: a policy is trained here"),
    (["--reward_model.path=mine"], "^--reward_model: a policy is trained here"),
    (["--policy.push_to_hub=true", "--policy.repo_id=me/mine"], r"^--policy\.push_to_hub=true: the hub"),
    (["--save_checkpoint_to_hub=true", "--policy.repo_id=me/mine"], r"^--save_checkpoint_to_hub=true: the hub"),
    ([*OWN_OPTIMIZER, "--optimizer.type=multi_adam"], r"^--optimizer\.type=multi_adam with --sch.* dict of parameter"),
    ([*OWN_OPTIMIZER, "--optimizer.type=adamw", "--optimizer.lr=-1"], r"Invalid learning rate: -1\.0\.$"),
    (["--batch_size=0"], r"^--batch_size=0: it takes a whole number of at least 1\.$"),
    (["--config_path=broken.yaml"], r"^broken\.yaml is no YAML"),
    (["--config_path=list.yaml"], r"^list\.yaml holds a list, where keys with values are needed\.$"),
    (["--config_path=none.yaml"], r"^none\.yaml cannot be read: No such file or directory\.$"),
])  # fmt: skip
def test_settings_that_lerobot_refuses_late_or_by_a_traceback_are_told_at_once(
    options: list[str], told: str, labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_text("a: [b", encoding="utf-8")
    Path("list.yaml").write_text("[a]", encoding="utf-8")
    monkeypatch.setattr(
        "inspire_vla.lerobot_plugin.modeling_inspire_vla.prepare", lambda *_: pytest.fail("prepared")
    )
    with pytest.raises(InspireError, match=told):
        run(labelled_dataset, tmp_path / "out", "--steps=1", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["login", "init"])
def test_wandb_without_a_login_is_told_in_a_line(
    place: str, labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a login before anything else is done, and without a network before anything is decoded or written."""
    calls = {"login": lambda: None, "init": lambda **_: None}

    def refuse(**options: Any) -> None:
        if place == "init":
            (Path(options["dir"]) / "wandb").mkdir(parents=True)
        raise RuntimeError("No API key configured. Use `wandb login` to log in.")

    for name, call in (calls | {place: refuse}).items():
        monkeypatch.setattr(f"wandb.{name}", call)
    unexpected = {"login": "make_train_eval_datasets", "init": "update_policy"}[place]
    monkeypatch.setattr(lerobot_train, unexpected, lambda *_, **__: pytest.fail("begun"))
    with pytest.raises(InspireError, match=r"^--wandb\.enable=true: No API key configured\."):
        run(labelled_dataset, tmp_path / "out", "--steps=1", "--wandb.enable=true")
    assert not (tmp_path / "out").exists()


def test_a_refused_training_leaves_no_run_of_wandb(
    labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run begins with the training, which it sees from its first step on."""
    begun: list[str] = []

    class Logger:
        def __init__(self, config: Any) -> None:
            (config.output_dir / "wandb").mkdir(parents=True)
            begun.append("run")

        def log_dict(self, values: dict, step: int) -> None:
            begun.append(f"step {step}: {'loss' in values}")

        def log_policy(self, folder: Path) -> None:
            begun.append(folder.name)

    monkeypatch.setattr(lerobot_train, "WandBLogger", Logger)
    options = ("--steps=2", "--log_freq=1", "--wandb.enable=true", "--wandb.mode=offline")
    with pytest.raises(InspireError, match="48 chunks are too few"):
        run(labelled_dataset, tmp_path / "out", *options, "--policy.vq.codes_per_level=64")
    assert not begun
    assert not (tmp_path / "out").exists()
    out = run(labelled_dataset, tmp_path / "out", *options)
    assert begun == ["run", "step 1: True", "step 2: True", "000002"]
    assert (out / "wandb").is_dir()


@pytest.mark.parametrize("after", [0, 1])
def test_a_training_that_is_refused_by_its_data_leaves_no_folder(
    after: int, labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a video that is damaged where it is read. One that has taken a step keeps its log."""
    reads: list[int] = []
    real = FrameCache.__getitem__

    def read(cache: FrameCache, index: int) -> dict[str, Any]:
        reads.append(index)
        if len(reads) > 24 * after:  # accelerate reads a batch ahead
            raise InspireError("A video is damaged.")
        return real(cache, index)

    monkeypatch.setattr(FrameCache, "__getitem__", read)
    with pytest.raises(InspireError, match="damaged"):
        run(labelled_dataset, tmp_path / "out", "--steps=9", "--batch_size=8")
    assert (tmp_path / "out" / "train.log").exists() == bool(after)
    assert (tmp_path / "out").exists() == bool(after)


@pytest.mark.parametrize(("option", "told"), [
    ("optimizer_lr=-1", r"^optimizer_lr must be a number above 0, found -1\.0\.$"),
    ("optimizer_weight_decay=-1", "^optimizer_weight_decay must be a number of at least 0"),
    ("warmup_steps=-1", "^warmup_steps must be a number of at least 0"),
    ("reasoning.answer_loss_weight=nan", r"^reasoning\.answer_loss_weight must be a number of at least 0"),
    ("vq.gripper_weight=0", r"^vq\.gripper_weight must be a number above 0"),
    ("image_size=[0, 64]", "^image_size is"),
    ("image_size=[30, 30]", "multiples of 16, found 30×30"),
    ("nano.heads=3", "not a multiple of heads 3"),
    ("pretrained_init=nowhere", "nowhere holds no pre-trained backbone"),
    ("pretrained_init=nano_grounding", "does not fit"),
])  # fmt: skip
def test_a_policy_that_cannot_be_made_is_refused_before_its_action_tokenizer_is_fitted(
    option: str, told: str, labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "inspire_vla.lerobot_plugin.modeling_inspire_vla.prepare", lambda *_: pytest.fail("prepared")
    )
    with pytest.raises(InspireError, match=told):
        run(labelled_dataset, tmp_path / "out", "--steps=1", f"--policy.{option}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("options", "told"), [
    (["--peft.r=8"], "nano is small and is trained whole"),
    (["--peft.r=0"], r"--peft\.r must be at least 1, found 0"),
    (["--peft.r=8", "--peft.lora_alpha=0"], r"--peft\.lora_alpha must be at least 1, found 0"),
    (["--peft.method_type=miss"], r"--peft\.method_type=miss: possible is LORA"),
    (["--peft.target_modules=all-linear"], "LoRA adapts a trained policy, and no checkpoint is given: --from"),
])  # fmt: skip
def test_a_lora_that_cannot_be_trained_is_refused(
    options: list[str], told: str, labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InspireError, match=told):
        run(labelled_dataset, tmp_path / "out", "--steps=1", *options)
    assert not (tmp_path / "out").exists()
    bare = ["--policy.type=inspire_vla", "--policy.push_to_hub=false", "--policy.device=cpu", *TINY, *options]
    data = [f"--dataset.root={labelled_dataset}", "--dataset.repo_id=local/tiny", "--num_workers=0"]
    monkeypatch.setattr("sys.argv", ["lerobot-train", *data, f"--output_dir={tmp_path / 'out'}", *bare])
    with pytest.raises(InspireError, match=told):
        lerobot_train.train()


@pytest.mark.parametrize("option", ["target_modules=made_up", "init_type=made_up"])
def test_a_lora_that_peft_refuses_leaves_no_folder(
    option: str, trained: Path, labelled_dataset: Path, tmp_path: Path
) -> None:
    start = f"--policy.path={trained / 'checkpoints/last/pretrained_model'}"
    options = ["--peft.target_modules=all-linear", f"--peft.{option}"]
    with pytest.raises(InspireError, match=r"^The LoRA of --peft cannot be made: .*made_up"):
        run(labelled_dataset, tmp_path / "out", "--steps=1", start, *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is here")
def test_the_terminal_says_that_another_device_is_taken(
    labelled_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(InspireError):
        run(labelled_dataset, tmp_path / "out", "--steps=1", "--policy.device=cuda", "--peft.r=0")
    assert "WARNING: Device 'cuda' is not available. Switching to 'cpu'." in capsys.readouterr().err


@pytest.mark.parametrize(("device", "shown"), [("cpu", False), ("cuda", True)])
def test_a_resumed_training_names_its_own_device(
    device: str, shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A resumed LoRA reads its base's configuration too, which may name a device that is not used."""
    config = tmp_path / "train_config.json"
    config.write_text(json.dumps({"policy": {"device": device}}), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["lerobot-train", f"--config_path={config}", "--resume=true"])
    text = "Device 'cuda' is not available. Switching to 'cpu'."
    _Console().handle(
        logging.makeLogRecord({"msg": text, "name": PreTrainedConfig.__module__, "levelno": logging.WARNING})
    )
    assert (text in capsys.readouterr().err) == shown


def test_the_terminal_shows_what_matters_and_a_file_has_the_rest(
    labelled_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = run(labelled_dataset, tmp_path / "out", "--steps=15", "--log_freq=15")
    shown = [line for line in re.split(r"[\r\n]", capsys.readouterr().err) if line.strip()]
    shown = [line for line in shown if not line.startswith(("Training: ", "Decod")) or "steps of" in line]
    table = [line for line in shown if line.startswith(("Error of the action tokenizer", "  "))]
    assert len(table) == 9  # a title, heads, and a line for each of 7 values
    shown = [line for line in shown if line not in table and "is coarse for" not in line]
    assert [line.split(":")[0].split(",")[0] for line in shown] == [
        "Fitting the action tokenizer residual_vq on 48 chunks of actions …", "Training",
        f"{shown[2].split()[0]} s a step", "step", "Checkpoint policy after step 15",
    ]  # fmt: skip
    assert shown[1].startswith("Training: 15 steps of 8 samples, from 48 frames of 4 episodes; ")
    assert str(out / "train.log") in shown[1]
    assert re.search(r"measured over 10; about \d+ s for the remaining 4 steps; memory \d\.\d GiB", shown[2])
    log = (out / "train.log").read_text(encoding="utf-8")
    assert "Creating dataset" in log  # LeRobot's, from before there was a file
    assert "Checkpoint policy after step 15" in log


def test_a_refused_training_leaves_no_folder_and_decodes_nothing(
    labelled_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokenizer has too few chunks, which is found when the policy is made."""
    monkeypatch.setattr(
        "inspire_vla.lerobot_plugin.frame_cache._decode_into", lambda *_: pytest.fail("decoded")
    )
    with pytest.raises(InspireError, match=r"48 chunks are too few for 64 codes.*at most 48 here"):
        run(labelled_dataset, tmp_path / "out", "--steps=2", "--policy.vq.codes_per_level=64")
    assert not (tmp_path / "out").exists()
    assert "Decoding" not in capsys.readouterr().err


def test_nothing_is_said_of_no_remaining_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 100))
    monkeypatch.setattr("inspire_vla.lerobot_plugin.lerobot_host.time.perf_counter", lambda: next(now))
    short, longer = _StepClock(2), _StepClock(3)
    assert [short.after(step) for step in (1, 2)] == [None, None]
    assert [bool(longer.after(step)) for step in (1, 2, 3)] == [False, True, False]
    again = _StepClock(3)
    again.after(1)
    assert "for the remaining 1 step; " in str(again.after(2))


def test_a_plan_in_plain_words(labelled_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = ("--steps=1", "--batch_size=1", "--dataset.episodes=[0]", "--policy.vq.codes_per_level=2")
    run(labelled_dataset, tmp_path / "out", *options, "--num_workers=1")
    shown = capsys.readouterr().err
    assert "Training: 1 step of 1 sample, from 12 frames of 1 episode; " in shown
    plan, _, later = shown.partition("LeRobot's log: ")
    said = "Loading the first batch: 1 process starts for it, which may take minutes."
    assert later.count(said) == 1
    assert later.index(said) < later.index("1/1")
    assert said not in plan
    run(labelled_dataset, tmp_path / "without", *options)
    assert "Loading the first batch" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(40, "40 s"), (89.6, "90 s"), (95, "2 min"), (5400, "1 h 30 min"), (12000, "3 h 20 min")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_preprocessor_is_loaded_without_the_policys_configuration() -> None:
    """Why the tokenizer step adds itself to the batch. If this fails, LeRobot may have a hook: then use that."""
    folder = find("nano_inspire")
    config = load_config(folder)
    config.reasoning.max_objects += 1
    preprocessor, _ = make_pre_post_processors(config, pretrained_path=str(folder))
    saved = tokenizer_settings(folder)["reasoning"]
    assert tokenizer_step(preprocessor).get_config()["reasoning"] == saved


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / TRAIN_LOG).read_text(encoding="utf-8").splitlines()]


def test_a_training_writes_its_metrics_as_lines_of_json(labelled_dataset: Path, tmp_path: Path) -> None:
    out = run(labelled_dataset, tmp_path / "out", "--steps=4", "--save_freq=2", "--log_freq=1")
    first = lines(out)
    assert [line["step"] for line in first] == [1, 2, 3, 4]
    wanted = {"loss", "lr", "grad_norm", "action_loss", "action_accuracy", "answer_loss", "answer_accuracy"}
    for line in first:
        assert line.keys() >= wanted | {"seconds", "update_s", "samples_per_s", "unlabelled_rows"}
        assert line["loss"] == pytest.approx(line["action_loss"] + line["answer_loss"], rel=1e-5)
    assert first[0]["seconds"] <= first[-1]["seconds"]
    last = out / "checkpoints" / "last"
    last.unlink()
    last.symlink_to("000002")
    from inspire_vla.lerobot_plugin.training import train

    train([f"--config_path={last / 'pretrained_model' / 'train_config.json'}", "--resume=true"])
    again = lines(out)
    assert [line["step"] for line in again] == [1, 2, 3, 4, 3, 4]
    for one, other in zip(again[2:4], again[4:], strict=True):
        assert one["loss"] == other["loss"]
    assert not any(isinstance(handler, TrainLog) for handler in logging.getLogger().handlers)


def test_what_was_not_measured_is_left_out_and_what_is_not_finite_is_null(tmp_path: Path) -> None:
    tracker = MetricsTracker(2, 10, 1, {"loss": AverageMeter("loss"), "never": AverageMeter("never")})
    tracker.loss = float("nan")
    log = TrainLog(tmp_path)
    log.handle(logging.makeLogRecord({"msg": tracker}))
    log.handle(logging.makeLogRecord({"msg": "a sentence"}))
    (line,) = lines(tmp_path)
    assert line.keys() == {"step", "seconds", "loss"}
    assert line["loss"] is None


def test_a_disk_without_links_ends_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nor does a copy in which `last` is a folder. What it holds is kept."""
    checkpoint = tmp_path / "000002"
    checkpoint.mkdir()
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "weights").touch()
    link_last(update_last_checkpoint, checkpoint)
    assert (tmp_path / "last").resolve() == checkpoint
    assert (tmp_path / "last_copied" / "weights").exists()

    def refuse(_: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    link_last(refuse, checkpoint)
    assert "No link" in caplog.text
    assert "(Operation not permitted)" in caplog.text
