"""Each place where LeRobot, PEFT or accelerate is reached into is still there, as the installed versions have it."""

import inspect
import json
import logging
import re
from pathlib import Path

import accelerate
import lerobot
import pytest
from lerobot.common import train_utils
from lerobot.configs import parser
from lerobot.configs import train as train_config
from lerobot.policies import factory
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.scripts import lerobot_train
from lerobot.utils.logging_utils import AverageMeter, MetricsTracker
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.lerobot_host import TRAIN_LOG, TrainLog, duration


def test_the_host_is_the_version_that_this_was_written_for() -> None:
    assert lerobot.__version__ == "0.6.1"


def test_the_training_looks_its_functions_up_by_name() -> None:
    source = inspect.getsource(lerobot_train.train)
    calls = (
        "init_logging(accelerator=accelerator)",
        "policy = make_policy(",
        " = update_policy(\n            train_tracker,",
    )
    for call in calls:
        assert source.count(call) == 1, call
    assert source.index("make_train_eval_datasets(cfg)") < source.index("policy = make_policy(")
    assert source.count("make_train_eval_datasets(cfg)") == 2  # on the main process, on the others
    assert source.index("init_logging(") < source.index("make_train_eval_datasets(cfg)")
    assert "sys.argv" in inspect.getsource(parser)
    assert "parser.get_path_arg" in inspect.getsource(train_config)  # read again while the training begins


def test_the_reason_of_a_refused_configuration_is_told(labelled_dataset: Path, tmp_path: Path) -> None:
    for option, told in (
        ("reasoning.dropout=1.5", "dropout is the share of samples"),
        ("flow.insulate=true", "are those of --policy.action_head=flow"),
        ("backbone=pi0_fast", "Did you mean 'pi0fast'"),
    ):
        with pytest.raises(InspireError, match=told):
            run(labelled_dataset, tmp_path / "out", "--steps=1", f"--policy.{option}")
    assert not (tmp_path / "out").exists()


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
        "Training", f"{shown[1].split()[0]} s a step", "step", "Checkpoint policy after step 15",
    ]  # fmt: skip
    assert shown[0].startswith("Training: 15 steps of 8 samples, from 48 frames of 4 episodes; ")
    assert str(out / "train.log") in shown[0]
    assert re.search(r"measured over 10; about \d+ s for the remaining 4 steps; memory \d\.\d GiB", shown[1])
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
    with pytest.raises(InspireError, match="48 chunks are too few for 64 codes"):
        run(labelled_dataset, tmp_path / "out", "--steps=2", "--policy.vq.codes_per_level=64")
    assert not (tmp_path / "out").exists()
    assert "Decoding" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(40, "40 s"), (89.6, "90 s"), (95, "2 min"), (5400, "1 h 30 min"), (12000, "3 h 20 min")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_training_logs_its_tracker_itself() -> None:
    assert "logging.info(train_tracker)" in inspect.getsource(lerobot_train.train)
    tracker = MetricsTracker(2, 10, 1, {"loss": AverageMeter("loss")}, initial_step=7)
    tracker.loss = 3.0
    assert (tracker.steps, tracker.metrics["loss"].count, tracker.metrics["loss"].avg) == (7, 1, 3.0)


def test_a_preprocessor_is_loaded_without_the_policys_configuration() -> None:
    """Why the tokenizer step adds itself to the batch. If this fails, LeRobot may have a hook: then use that."""
    source = inspect.getsource(factory.make_pre_post_processors)
    assert source.count("isinstance(policy_cfg, ") == 2  # groot, evo1
    assert (
        "policy_cfg"
        not in source.split("PolicyProcessorPipeline.from_pretrained")[1]
        .split("return")[0]
        .split("isinstance")[0]
    )


def test_a_checkpoint_of_a_lora_holds_its_preprocessor() -> None:
    """Why a LoRA needs nothing beside what LeRobot saves."""
    assert "preprocessor.save_pretrained(pretrained_dir)" in inspect.getsource(train_utils.save_checkpoint)


def test_peft_and_fsdp_ask_by_these_names() -> None:
    assert hasattr(PreTrainedPolicy, "_get_default_peft_targets")
    assert "_no_split_modules" in inspect.getsource(accelerate.utils.dataclasses)


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
