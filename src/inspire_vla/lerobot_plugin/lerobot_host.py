"""Everything that reaches into the inside of LeRobot 0.6.1, PEFT 0.21 and accelerate 1.15, and nothing else.

tests/lerobot_plugin/test_lerobot_host.py fails when one of these places changes. What LeRobot offers to plug-ins
(`PreTrainedConfig`, `PreTrainedPolicy`, `ProcessorStep`, factories found by name) is used where it belongs.
"""

import argparse
import logging
import logging.handlers
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self, TextIO, cast

import psutil
import torch.distributed
from draccus.utils import DraccusException
from draccus.wrappers.suppressing_argparse import SuppressingArgumentParser
from lerobot.configs import PreTrainedConfig
from lerobot.utils.import_utils import is_package_available
from lerobot.utils.logging_utils import MetricsTracker
from safetensors import SafetensorError
from tqdm import tqdm

import inspire_vla
from inspire_vla.backbones.base import Backbone
from inspire_vla.backbones.flow import FlowExpert
from inspire_vla.backbones.image_text import ImageText
from inspire_vla.errors import InspireError, counted, nearest, reason_of
from inspire_vla.files import append_json_line, atomic_path, remove
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.draccus_errors import refusal_of
from inspire_vla.lerobot_plugin.training_start import asked_for, check_not_streamed, check_ranges

if TYPE_CHECKING:
    from lerobot.configs.train import TrainPipelineConfig

log = logging.getLogger(__name__)

PACKAGE = Path(inspire_vla.__file__).parent
TRAIN_LOG = "train_log.jsonl"
"""The log of a training, in its output folder: see `TrainLog`."""

OUTPUT_LOG = "train.log"
"""What LeRobot and other libraries log during a training, in its output folder."""
MEASURED_STEPS = 10
"""The time of a step is measured over so many, after the first."""

Datasets = tuple[Any, Any]
"""Training and held-out dataset; the latter may be None."""


@dataclass(frozen=True)
class Training:
    """A training that is about to begin. config: LeRobot's. main: whether this process writes its files."""

    config: "TrainPipelineConfig"
    datasets: Datasets
    main: bool

    @property
    def policy(self) -> InspireVLAConfig:
        return cast(InspireVLAConfig, self.config.policy)

    @property
    def out(self) -> Path:
        return Path(str(self.config.output_dir))


def run_lerobot_train(
    arguments: Sequence[str],
    prepare_datasets: Callable[[InspireVLAConfig, Datasets], Datasets],
    before_first_step: Callable[[Training], None] = lambda _: None,
) -> None:
    """Run `lerobot-train` in this process, with its command line in `arguments`.

    It writes a `TrainLog` and `OUTPUT_LOG`. The terminal shows what this package says, metrics, checkpoints and errors.

    LeRobot 0.6.1 (scripts/lerobot_train.py) has no hooks, so functions are replaced where the training looks them up.
    It reads `sys.argv` (configs/parser.py, configs/train.py), so that is set.

    Args:
        prepare_datasets: called with the policy's configuration and the datasets; what it returns is trained on.
        before_first_step: called after everything that may refuse the training. Before it nothing is written.

    A training that is refused before its first step leaves no output folder: LeRobot refuses one that exists. Only a
    folder that this training made is removed.
    """
    with _Logs() as logs:  # LeRobot warns while it loads and reads its command line
        from lerobot.configs.train import TrainPipelineConfig
        from lerobot.scripts import lerobot_train as host

        original = dict[str, Any]()
        training: Training | None = None
        wandb: _LaterWandB | None = None
        plan, clock = "", _StepClock(0)
        made_folder = False

        def validate(config: TrainPipelineConfig) -> None:
            _validate(original["validate"], config)

        def WandBLogger(config: TrainPipelineConfig) -> Any:
            nonlocal wandb
            wandb = _LaterWandB(original["WandBLogger"], config)
            return wandb

        def init_logging(accelerator: Any = None) -> None:
            original["init_logging"](accelerator=accelerator)  # removes all handlers
            logs.start(main=accelerator is None or accelerator.is_main_process)

        def make_train_eval_datasets(cfg: Any) -> Datasets:
            nonlocal training
            if cfg.dataset.root is not None:  # LeRobot would ask the hub for what an incomplete dataset lacks
                files = LeRobotFiles.open(cfg.dataset.root)
                files.check_cameras()
                check_episodes(cfg.dataset.episodes, files)
            logs.add(TrainLog(Path(cfg.output_dir)))
            try:
                datasets = original["make_train_eval_datasets"](cfg)
            except ValueError as error:  # such as no episode that is left to train on
                raise InspireError(f"{reason_of(error)}.") from error
            chosen = datasets[0].episodes
            cfg.policy.runtime_episodes = None if chosen is None else frozenset(chosen)
            datasets = prepare_datasets(cfg.policy, datasets)
            training = Training(cfg, datasets, logs.main)
            return datasets

        def make_policy(**options: Any) -> Any:
            nonlocal plan
            policy = original["make_policy"](**options)
            if training is not None:
                plan = _plan(training, policy)
            return policy

        def cycle(batches: Any) -> Any:
            nonlocal clock, made_folder
            if training is not None:
                if training.main and not training.config.resume:
                    if os.path.lexists(training.out):  # made since LeRobot looked, or a file
                        raise InspireError(f"{training.out} exists. Give another output folder.")
                    made_folder = True
                if wandb is not None:
                    wandb.start()
                before_first_step(training)
                logs.write_to(training.out / OUTPUT_LOG)
                clock = _StepClock(training.config.steps)
                log.info(f"{plan} LeRobot's log: {training.out / OUTPUT_LOG}")
                if workers := training.config.num_workers:
                    processes = counted(workers, "process starts", "processes start")
                    log.info(f"Loading the first batch: {processes} for it, which may take minutes.")
            return original["cycle"](batches)

        def update_policy(tracker: MetricsTracker, *others: Any, **options: Any) -> Any:
            updated = original["update_policy"](tracker, *others, **options)
            if text := clock.after(tracker.steps + 1):
                log.info(text)
            return updated

        def save_checkpoint(**options: Any) -> None:
            save_whole(original["save_checkpoint"], **options)

        def update_last_checkpoint(checkpoint_dir: Path) -> None:
            link_last(original["update_last_checkpoint"], checkpoint_dir)

        places: dict[Callable[..., Any], Any] = {validate: TrainPipelineConfig} | dict.fromkeys(
            (
                WandBLogger, init_logging, make_train_eval_datasets, make_policy, cycle, update_policy,
                save_checkpoint, update_last_checkpoint,
            ),
            host,
        )  # fmt: skip
        for function, place in places.items():
            original[function.__name__] = getattr(place, function.__name__)
            setattr(place, function.__name__, function)
        try:
            with _command_line(arguments):
                host.train()
        except InspireError as error:
            if training is not None and made_folder and not clock.started:
                logs.close_file()
                with suppress(OSError):  # Windows removes no file that wandb has open
                    remove(training.out)
            # A DataLoader raises it again with its worker's traceback as the text.
            worker, _, refused = str(error).rpartition(f"{InspireError.__name__}: ")
            if not worker.startswith("Caught "):
                raise
            raise InspireError(refused.strip()) from error
        finally:
            for function, place in places.items():
                setattr(place, function.__name__, original[function.__name__])


def check_configuration(arguments: Sequence[str]) -> None:
    """Raise InspireError for settings that LeRobot, the policy or this package refuses before it has a dataset.

    arguments: as those of `run_lerobot_train`. Nothing is written.
    """
    from lerobot.configs import parser
    from lerobot.configs.train import TrainPipelineConfig

    def check(config: TrainPipelineConfig) -> None:
        _validate(TrainPipelineConfig.validate, config)

    with _Logs(), _command_line(arguments):
        parser.wrap()(check)()


@contextmanager
def _command_line(arguments: Sequence[str]) -> Iterator[None]:
    """Within it LeRobot reads these arguments. What is wrong with them is an InspireError of one line.

    LeRobot and draccus print hundreds of lines of a wrong option, or a text that does not name it.
    """
    from lerobot.configs import parser
    from lerobot.utils.import_utils import register_third_party_plugins

    register_third_party_plugins()  # as lerobot-train does: ours knows --env.type=inspire_tabletop
    argv = sys.argv
    quiet = {"error": (SuppressingArgumentParser, _refuse_options), "print": (parser, _print_no_errors)}
    sys.argv = ["lerobot-train", *arguments]
    for name, (place, function) in quiet.items():
        setattr(place, name, function)
    try:
        yield
    except (SystemExit, DraccusException) as error:
        # draccus reads the options. Of a configuration that we refuse it says only "Couldn't instantiate class".
        if (refusal := refusal_of(error)) is not None:
            raise InspireError(str(refusal)) from error
        raise
    finally:
        sys.argv = argv
        for name, (place, _) in quiet.items():
            delattr(place, name)


class _LaterWandB:
    """In place of LeRobot's logger for wandb. It begins its run when `start` is called: a training that is refused
    before leaves none."""

    def __init__(self, make: Callable[["TrainPipelineConfig"], Any], config: "TrainPipelineConfig") -> None:
        self._make, self._config = make, config
        if config.wandb.mode not in ("offline", "disabled"):
            with _refusing_wandb():  # a login that is missing is told at once
                import wandb

                wandb.login()

    def start(self) -> None:
        with _refusing_wandb():
            self._logger = self._make(self._config)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_logger"], name)


@contextmanager
def _refusing_wandb() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # no login, no network, no earlier run to resume
        raise InspireError(f"--wandb.enable=true: {reason_of(error)}.") from error


def _validate(validate: Callable[["TrainPipelineConfig"], None], config: "TrainPipelineConfig") -> None:
    """LeRobot's own checks of a configuration, and those of this package."""
    if config.reward_model is not None or asked_for("reward_model") is not None:
        raise InspireError("--reward_model: a policy is trained here, no reward model. Leave it out.")
    try:
        validate(config)
    except InspireError:
        raise
    except (ValueError, FileExistsError) as error:
        raise InspireError(f"{reason_of(error)}.") from error
    check_settings(config)


def check_settings(config: "TrainPipelineConfig") -> None:
    """Raise InspireError for settings with which an `inspire_vla` policy cannot be trained here."""
    check_ranges(vars(config))
    if config.sample_weighting is not None:
        raise InspireError("An inspire_vla policy weights no samples: leave out --sample_weighting.")
    check_not_streamed(streaming=config.dataset.streaming)
    if config.env is not None and not config.env_eval_freq:
        raise InspireError(
            f"--env.type={config.env.type}: nothing is evaluated during this training. Add --env_eval_freq=5000 to "
            "evaluate every 5,000 steps, or leave it out: `inspire evaluate` plays every checkpoint."
        )
    check_transforms(config.dataset.image_transforms)
    if config.peft is not None:
        check_lora(vars(config.peft), config.policy)
    if not config.use_policy_training_preset:
        _check_optimizer(config)
    if config.policy is not None and config.policy.use_peft and config.policy.pretrained_path is None:
        raise InspireError(
            "--policy.use_peft is set by a checkpoint of LoRA. --peft.r=16 begins one: leave it out."
        )
    if getattr(config.policy, "push_to_hub", False):
        _check_login("--policy.push_to_hub")
    if config.save_checkpoint_to_hub:
        _check_login("--save_checkpoint_to_hub")


def _check_optimizer(config: "TrainPipelineConfig") -> None:
    """Raise InspireError for an optimizer or a scheduler that cannot be made as LeRobot makes them."""
    assert config.optimizer is not None
    assert config.scheduler is not None
    try:
        optimizer = config.optimizer.build([torch.nn.Parameter(torch.zeros(1))])
        config.scheduler.build(optimizer, config.steps)
    except (AssertionError, ImportError, TypeError, ValueError) as error:
        raise InspireError(
            f"--optimizer.type={config.optimizer.type} with --scheduler.type={config.scheduler.type} cannot be made: "
            f"{reason_of(error)}."
        ) from error


def _check_login(option: str) -> None:
    """Raise InspireError where nobody is logged in at the hub: LeRobot pushes when a checkpoint is written."""
    import huggingface_hub

    try:
        huggingface_hub.whoami()
    except Exception as error:  # no login, no network
        raise InspireError(
            f"{option}=true: the hub is out of reach, or nobody is logged in there "
            f"({reason_of(error).partition('. ')[0]}). Log in with `hf auth login`, or leave it out and push a "
            "checkpoint later."
        ) from error


def check_episodes(episodes: Sequence[int] | None, files: LeRobotFiles) -> None:
    """Raise InspireError for episodes that a dataset lacks, which LeRobot passes over, or for none."""
    total = files.info["total_episodes"]
    if episodes is not None and (not episodes or max(episodes) >= total):
        raise InspireError(
            f"--dataset.episodes={list(episodes)}: {files.root} has the episodes 0 to {total - 1}. Give at least one."
        )


def check_transforms(settings: Any) -> None:
    """Raise InspireError for an augmentation (`dataset.image_transforms`) that cannot be made, as LeRobot makes it."""
    from lerobot.transforms import ImageTransforms

    try:
        ImageTransforms(settings)
    except (TypeError, ValueError) as error:
        raise InspireError(f"--dataset.image_transforms cannot be made: {reason_of(error)}.") from None


def check_lora(peft: Mapping[str, Any], policy: Any) -> None:
    """Raise InspireError for a LoRA that cannot be trained, or whose checkpoint could not be read.

    Args:
        peft: LeRobot's options `--peft.…`.
        policy: a policy's configuration.
    """
    method = peft.get("method_type") or "LORA"
    if not is_package_available("peft"):
        raise InspireError("LoRA (--peft.…) needs an extra: pip install -c constraints.txt -e '.[peft]'.")
    if method.upper() != "LORA":
        raise InspireError(f"--peft.method_type={method}: possible is LORA alone.")
    for name in ("r", "lora_alpha"):
        if (value := peft.get(name)) is not None and value < 1:
            raise InspireError(f"--peft.{name} must be at least 1, found {value}.")
    if isinstance(policy, InspireVLAConfig) and policy.backbone == "nano" and not peft.get("target_modules"):
        raise InspireError(
            "LoRA is for published models; nano is small and is trained whole: leave out --peft."
        )
    if policy.pretrained_path is None:
        raise InspireError(
            "LoRA adapts a trained policy, and no checkpoint is given: --from CHECKPOINT, or --policy.path of "
            "lerobot-train."
        )


def _print_no_errors(*words: Any, file: TextIO | None = None, **options: Any) -> None:
    """In place of `print`, by which LeRobot says that it cannot read an option's value."""
    if file is not sys.stderr:
        print(*words, file=file, **options)


def _refuse_options(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """In place of `ArgumentParser.error`, which prints every option of LeRobot."""
    unknown = message.partition("unrecognized arguments: ")[2].split()
    for word in unknown:
        if word.startswith("-"):
            name = word.partition("=")[0]
            raise InspireError(
                f"Unknown option {name}.{nearest(name, parser._option_string_actions)} "
                "All options: lerobot-train --help."
            )
    raise InspireError(f"{message[:1].upper()}{message[1:]}.")


def _plan(training: Training, policy: torch.nn.Module) -> str:
    config, dataset = training.config, training.datasets[0]
    if config.peft is None:
        parameters = sum(p.numel() for p in policy.parameters() if p.requires_grad)
        trained = f"{parameters / 1e6:,.1f} million parameters are trained"
    else:  # LeRobot freezes the rest after this
        parameters = sum(p.numel() for p in policy.parameters())
        trained = f"LoRA of rank {config.peft.r} is trained beside {parameters / 1e6:,.1f} million parameters"
    return (
        f"Training: {counted(config.steps, 'step')} of {counted(config.batch_size, 'sample')}, from "
        f"{counted(dataset.num_frames, 'frame')} of {counted(dataset.num_episodes, 'episode')}; {trained} on "
        f"{training.policy.device}."
    )


class _StepClock:
    """Says once how long a training takes, by its first steps. The very first is left out: it warms up."""

    def __init__(self, steps: int) -> None:
        self.steps, self._calls, self._start, self._reported = steps, 0, 0.0, False

    @property
    def started(self) -> bool:
        """Whether a step was taken."""
        return self._calls > 0

    def after(self, step: int) -> str | None:
        """What to say after `step`, or nothing, as after the last."""
        self._calls += 1
        now = time.perf_counter()
        if self._calls == 1:
            self._start = now
        measured, elapsed = self._calls - 1, now - self._start
        remaining = self.steps - step
        if self._reported or measured < 1 or (measured < MEASURED_STEPS and elapsed < 30) or remaining < 1:
            return None
        self._reported = True
        each = elapsed / measured
        memory = f"memory {psutil.Process().memory_info().rss / 2**30:.1f} GiB"
        if torch.cuda.is_available():
            memory += f", GPU {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
        return (
            f"{each:.3g} s a step, measured over {measured}; about {duration(each * remaining)} for the remaining "
            f"{counted(remaining, 'step')}; {memory}."
        )


def duration(seconds: float) -> str:
    """A duration in words, such as "40 s", "12 min" or "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class _Logs:
    """Log handlers of a training, in place of LeRobot's.

    What other libraries log is kept until the output folder may be made: a training that is refused leaves none, and
    LeRobot refuses one that exists.
    """

    def __init__(self) -> None:
        self.main = True
        self._kept = logging.handlers.MemoryHandler(1_000_000, flushLevel=logging.CRITICAL + 1)
        self._kept.setLevel(logging.INFO)
        self._mine: list[logging.Handler] = []
        root = logging.getLogger()
        self._before = list(root.handlers), root.level

    def start(self, *, main: bool) -> None:
        self.main = main
        if not main:  # LeRobot silences the others
            self._mine.clear()
            return
        logging.captureWarnings(True)
        logging.getLogger().handlers.clear()
        for handler in self._mine or (_Console(), self._kept):
            self.add(handler)

    def add(self, handler: logging.Handler) -> None:
        if handler not in self._mine:
            self._mine.append(handler)
        logging.getLogger().addHandler(handler)

    def write_to(self, path: Path) -> None:
        """Write what was kept, and everything from now on, to a file."""
        if self._kept not in self._mine:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path, encoding="utf-8")
        file.setLevel(logging.INFO)
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        self._kept.setTarget(file)
        self._kept.flush()
        logging.getLogger().removeHandler(self._kept)
        self.add(file)

    def __enter__(self) -> Self:
        self.start(main=True)
        return self

    def close_file(self) -> None:
        """Write no more to the file: Windows removes none that is open."""
        for handler in self._mine:
            if isinstance(handler, logging.FileHandler):
                logging.getLogger().removeHandler(handler)
                handler.close()

    def __exit__(self, *_: object) -> None:
        self.close_file()
        root = logging.getLogger()
        root.handlers[:], level = self._before
        root.setLevel(level)
        logging.captureWarnings(False)


class _Console(logging.Handler):
    """Shows what this package says, metrics, checkpoints and errors, above a progress bar.

    It also shows that a device is not here, so that nobody trains on a CPU without knowing it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        ours = Path(record.pathname).is_relative_to(PACKAGE) and record.levelno >= logging.INFO
        checkpoint = record.module == "lerobot_train" and str(record.msg).startswith("Checkpoint policy")
        if (
            ours or checkpoint or _says_of_device(record) or isinstance(record.msg, MetricsTracker)
            or record.levelno >= logging.ERROR
        ):  # fmt: skip
            prefix = f"{record.levelname}: " if record.levelno >= logging.WARNING else ""
            tqdm.write(prefix + self.format(record), file=sys.stderr)


def _says_of_device(record: logging.LogRecord) -> bool:
    """Whether LeRobot says that the device of this training is not here.

    It says so too of the device that the checkpoint at its start names, which the training may not use.
    """
    if record.name != PreTrainedConfig.__module__:
        return False
    given = [word.partition("=")[2] for word in sys.argv if word.startswith("--policy.device=")]
    asked = given[0] if given else asked_for("policy.device") if asked_for("resume") else None
    return str(record.msg).startswith(f"Device '{asked}'" if asked else "Device ")


def save_whole(save: Callable[..., None], checkpoint_dir: Path, **state: Any) -> None:
    """LeRobot's `save_checkpoint`, into a folder beside `checkpoint_dir` that is renamed when it is complete.

    Raises InspireError for a full disk. A training that is killed or fails while it saves leaves the checkpoints
    before this one as they are.
    """
    try:
        with atomic_path(checkpoint_dir) as partial_dir:
            save(checkpoint_dir=partial_dir, **state)
    except SafetensorError as error:  # it has its own error for a full disk
        raise InspireError(
            f"Cannot write {checkpoint_dir}: {reason_of(error)}. Earlier checkpoints are kept."
        ) from error


def link_last(link: Callable[[Path], Any], checkpoint_dir: Path) -> None:
    """LeRobot's `update_last_checkpoint`, which a disk without links does not end: checkpoints are found by number.

    A folder in the place of the link, as in a copy that followed it, is kept under another name.
    """
    last = checkpoint_dir.parent / "last"
    try:
        if last.exists() and not last.is_symlink():
            last.rename(last.with_name("last_copied"))
        link(checkpoint_dir)
    except OSError as error:
        log.warning(
            f"No link {last} can be made ({reason_of(error)}). {checkpoint_dir} is found by its number."
        )


class TrainLog(logging.Handler):
    """Appends a line of JSON to OUTPUT/train_log.jsonl whenever LeRobot logs its metrics (`--log_freq`).

    LeRobot 0.6.1 logs the `MetricsTracker` itself, so nothing is parsed. Keys: `step`, `seconds` since this process
    began to train, and every metric of the tracker, averaged over the steps since the line before and over all
    processes: `loss`, `lr`, `grad_norm`, `action_loss`, `answer_loss`, `answer_accuracy`, … A metric that was not
    measured is left out; one that is not finite is null. A resumed training appends, so that steps after its
    checkpoint come twice: the later line counts.
    """

    def __init__(self, output: Path) -> None:
        super().__init__()
        self.path, self.start = output / TRAIN_LOG, time.perf_counter()

    def emit(self, record: logging.LogRecord) -> None:
        if not isinstance(record.msg, MetricsTracker):
            return
        tracker = record.msg
        measured = {
            name: meter.avg if math.isfinite(meter.avg) else None
            for name, meter in tracker.metrics.items()
            if meter.count
        }
        line = {"step": tracker.steps, "seconds": round(time.perf_counter() - self.start, 3), **measured}
        append_json_line(self.path, line)


class PolicyHooks:
    """What LeRobot, PEFT and accelerate ask a policy for by names that are not public."""

    backbone: Backbone
    expert: FlowExpert | None
    config: InspireVLAConfig

    def wrap_with_peft(
        self, peft_config: Any = None, peft_cli_overrides: dict[str, Any] | None = None
    ) -> Any:
        """Make a LoRA. LeRobot 0.6.1, policies/pretrained.py. Raises InspireError for one that cannot be trained."""
        check_lora(peft_cli_overrides or {}, self.config)
        try:
            return super().wrap_with_peft(peft_config, peft_cli_overrides)  # type: ignore[misc]
        except ValueError as error:  # such as target modules that the policy lacks
            raise InspireError(f"The LoRA of --peft cannot be made: {reason_of(error)}.") from error

    def _get_default_peft_targets(self) -> dict[str, Any] | None:
        """What LoRA adapts by default: the linear layers. LeRobot 0.6.1, policies/pretrained.py.

        Of a vocabulary that has grown, the embedding and the head are trained whole; so is what answers and codes are
        read from.
        """
        if self.backbone.lora_targets is None:
            return None
        reads = self.config.reasoning.enabled or self.config.trains_codes
        whole = list(self.backbone.trained_whole) if reads else []
        if isinstance(self.backbone, ImageText) and self.config.has_own_action_tokens:
            whole = list(self.backbone.rows_of_new_tokens)
        return {"target_modules": self.backbone.lora_targets, "modules_to_save": whole}

    @property
    def _no_split_modules(self) -> list[str]:
        """Class names of the blocks that FSDP shards each as one. accelerate 1.15, utils/dataclasses.py."""
        parts: list[torch.nn.Module] = [self.backbone, *([] if self.expert is None else [self.expert])]
        present = {type(module).__name__ for part in parts for module in part.modules()}
        return [name for name in self.backbone.fsdp_units if name in present]

    @classmethod
    def _load_as_safetensor(cls, model: Any, model_file: str, map_location: str, strict: bool) -> Any:
        """Read the weights. LeRobot 0.6.1, policies/pretrained.py. Raises InspireError where they do not fit."""
        try:
            return super()._load_as_safetensor(model, model_file, map_location, strict)  # type: ignore[misc]
        except (RuntimeError, SafetensorError) as error:
            raise InspireError(f"{model_file} does not fit the policy: {str(error)[:500]}") from None


def several_processes() -> bool:
    """Whether this is one process of several that train together."""
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )
