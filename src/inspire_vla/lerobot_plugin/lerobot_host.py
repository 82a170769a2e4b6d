"""Everything that reaches into the inside of LeRobot 0.6.1, PEFT 0.21 and accelerate 1.15, and nothing else.

tests/lerobot_plugin/test_lerobot_host.py fails when one of these places changes. What LeRobot offers to plug-ins
(`PreTrainedConfig`, `PreTrainedPolicy`, `ProcessorStep`, factories found by name) is used where it belongs.
"""

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch.distributed
from lerobot.utils.logging_utils import MetricsTracker

from inspire_vla.backbones.base import Backbone
from inspire_vla.backbones.image_text import ImageText
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig

TRAIN_LOG = "train_log.jsonl"
"""The log of a training, in its output folder: see `TrainLog`."""

Datasets = tuple[Any, Any]
"""Training and held-out dataset; the latter may be None."""


def run_lerobot_train(
    arguments: Sequence[str], prepare_datasets: Callable[[InspireVLAConfig, Datasets], Datasets]
) -> None:
    """Run `lerobot-train` in this process, with its command line in `arguments`. It writes a `TrainLog`.

    LeRobot 0.6.1 (scripts/lerobot_train.py) has no hook for datasets, so the function that makes them is replaced
    where the training looks it up. It reads `sys.argv` (configs/parser.py, configs/train.py), so that is set.

    Args:
        prepare_datasets: called with the policy's configuration and the datasets; what it returns is trained on.
    """
    from lerobot.scripts import lerobot_train

    make, argv, log = lerobot_train.make_train_eval_datasets, sys.argv, None

    def make_and_prepare(cfg: Any) -> Datasets:
        nonlocal log
        if cfg.dataset.root is not None:  # LeRobot would ask the hub for what an incomplete dataset lacks
            LeRobotFiles.open(cfg.dataset.root)
        log = TrainLog(Path(cfg.output_dir))  # now, because LeRobot removes all log handlers when it starts
        logging.getLogger().addHandler(log)
        return prepare_datasets(cfg.policy, make(cfg))

    sys.argv = ["lerobot-train", *arguments]
    lerobot_train.make_train_eval_datasets = make_and_prepare
    try:
        lerobot_train.train()
    finally:
        sys.argv, lerobot_train.make_train_eval_datasets = argv, make
        if log is not None:
            logging.getLogger().removeHandler(log)


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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class PolicyHooks:
    """What LeRobot, PEFT and accelerate ask a policy for by names that are not public."""

    backbone: Backbone
    config: InspireVLAConfig

    def _get_default_peft_targets(self) -> dict[str, Any] | None:
        """What LoRA adapts by default: the linear layers. LeRobot 0.6.1, policies/pretrained.py.

        Of a vocabulary that has grown, the embedding and the head are trained whole.
        """
        if self.backbone.lora_targets is None:
            return None
        whole: list[str] = []
        if isinstance(self.backbone, ImageText) and self.config.has_own_action_tokens:
            whole = list(self.backbone.rows_of_new_tokens)
        return {"target_modules": self.backbone.lora_targets, "modules_to_save": whole}

    @property
    def _no_split_modules(self) -> list[str]:
        """Class names of the blocks that FSDP shards each as one. accelerate 1.15, utils/dataclasses.py."""
        present = {type(module).__name__ for module in self.backbone.modules()}
        return [name for name in self.backbone.fsdp_units if name in present]


def several_processes() -> bool:
    """Whether this is one process of several that train together."""
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )
