"""What a policy takes from the dataset that it is trained on, after the dataset was checked against it.

action tokenizer · initial draft · suites · sizes of the images        prepare
do the cameras, the state and the numbers fit?                         dataset_inputs
are the labels what the policy can learn?                              training_labels
which recordings is it trained on?                                     dataset_origin
the statistics of the checkpoint or of the dataset?                    checkpoint_statistics
the statistics of actions, and do they lie within reach?               action_statistics
the action tokenizer, and does it keep the gripper?                    action_tokenizer_fit
"""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from lerobot.processor import rename_stats

from inspire_vla.backbones.devices import warn_of_slow_bfloat16
from inspire_vla.instruction import Overrides
from inspire_vla.labels.columns import LabelInfo, read_labels
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.video_defects import check_videos
from inspire_vla.lerobot_plugin.action_statistics import (
    check_action_range,
    complete_statistics,
    restrict_statistics,
    widen_statistics,
)
from inspire_vla.lerobot_plugin.action_tokenizer_fit import (
    check_gripper,
    choose_action_tokenizer,
    report_rounding,
)
from inspire_vla.lerobot_plugin.checkpoint_schema import TrainingData
from inspire_vla.lerobot_plugin.checkpoint_statistics import (
    Statistics,
    keep_statistics,
    report_moved_ranges,
    statistics_of,
)
from inspire_vla.lerobot_plugin.checkpoints import find
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.dataset_inputs import (
    check_floats,
    check_inputs,
    check_numbers,
    check_renamed,
    take_image_sizes,
)
from inspire_vla.lerobot_plugin.dataset_origin import joined_data, joined_suites, suites_of, training_data
from inspire_vla.lerobot_plugin.lerobot_host import several_processes
from inspire_vla.lerobot_plugin.tokenizer import TokenizerParts
from inspire_vla.lerobot_plugin.training_labels import (
    check_labels,
    count_without_instruction,
    most_frequent_first_answers,
)
from inspire_vla.lerobot_plugin.training_start import asked_for, check_not_streamed

if TYPE_CHECKING:
    from lerobot.datasets import LeRobotDatasetMetadata


BFLOAT16_LR = 1e-4
"""Of lower learning rates, most steps of a bfloat16 weight are lost in its rounding."""


def warn_of_rounding(config: InspireVLAConfig) -> None:
    """Log a warning where weights of bfloat16 are trained by steps that their rounding loses."""
    if config.backbone == "nano" or (config.weights_dtype or config.dtype) != "bfloat16":
        return
    if config.optimizer_lr < BFLOAT16_LR:
        logging.warning(
            f"The weights are trained in bfloat16. Their rounding loses most steps of a learning rate of "
            f"{config.optimizer_lr:g}. --policy.weights_dtype=float32 keeps them exact, and takes twice the memory; "
            "--peft.r=32 (LoRA) takes less."
        )


def prepare(
    config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata", saved: TokenizerParts | None
) -> TokenizerParts:
    """Check a dataset against a policy's configuration, and take from it what the policy's tokenizer is made of.

    Args:
        saved: of the checkpoint that is trained further.

    Raises:
        LabelsMissing, LabelMismatch: the policy reasons, and the dataset has no labels of what it asks.
        InspireError: a truncated video, states or actions that are NaN or infinite, actions that the action tokenizer
            would clip, or another number of action codes than the checkpoint's.
    """
    check_not_streamed(streaming=bool(asked_for("dataset.streaming")))
    resumed = bool(asked_for("resume"))
    before = saved or TokenizerParts(action_tokenizer=None)
    warn_of_slow_bfloat16(config.device, config.dtype)
    if asked_for("peft") is None and not several_processes():  # FSDP keeps exact weights itself
        warn_of_rounding(config)
    _check_dataset(config, dataset)
    data = training_data(dataset.root, config.runtime_episodes)
    if config.reasoning.enabled:
        check_labels(dataset.root, config.reasoning)
    _choose_statistics(config, dataset, None if resumed else saved, data)
    if not resumed:
        check_action_range(config, dataset)
    take_image_sizes(config, dataset)
    draft, overrides = before.initial_draft, before.mention_overrides
    if config.reasoning.enabled:
        draft = draft or most_frequent_first_answers(
            dataset.root, config.reasoning.mode, config.runtime_episodes
        )
        overrides = _joined_overrides(overrides, read_labels(dataset.root))
    actions = choose_action_tokenizer(config, before.action_tokenizer, dataset)
    if not resumed:
        check_gripper(config, actions, dataset)
        report_rounding(config, actions, dataset)
    return replace(
        before,
        action_tokenizer=actions,
        initial_draft=draft,
        training_suites=joined_suites(
            before.training_suites, suites_of(dataset.root, config.runtime_episodes)
        ),
        mention_overrides=overrides,
        training_data=joined_data(before.training_data, data),
    )


def _check_dataset(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Check the inputs, the videos, the instructions and the numbers; warn of episodes that are not trained on."""
    if not asked_for("env"):  # the map may also name what an environment shows
        check_renamed(dataset.features, asked_for("rename_map") or {})
    check_inputs(config, dataset.features)
    check_floats(config, dataset.features)
    files = LeRobotFiles.open(dataset.root)
    files.check_order()
    check_videos(files, config.runtime_episodes)
    count_without_instruction(files)
    check_numbers(config, dataset)
    chosen = asked_for("dataset.episodes") or asked_for("dataset.eval_split")
    if config.runtime_episodes is None and chosen:
        logging.warning(
            "Statistics and action tokenizer are of all episodes, also of those that are not trained on. `inspire "
            "train --holdout` takes them from the training episodes only."
        )


def _joined_overrides(before: Overrides, labels: LabelInfo) -> Overrides:
    """The mentions that a person has given: those of earlier trainings, but of labelled instructions the labels'."""
    kept = {text: roles for text, roles in before.items() if text not in labels.tasks}
    return kept | dict(labels.overrides)


def _choose_statistics(
    config: InspireVLAConfig,
    dataset: "LeRobotDatasetMetadata",
    saved: TokenizerParts | None,
    data: TrainingData,
) -> None:
    """Let `dataset.stats` hold what this training normalises by: statistics of the checkpoint, or of its frames.

    They have the policy's names: LeRobot 0.6.1 renames what it normalises, and not the statistics.
    """
    dataset.stats = rename_stats(dataset.stats or {}, dict(config.runtime_renamed))
    of_checkpoint: Statistics = {}
    if saved is not None and config.pretrained_path:
        of_checkpoint = statistics_of(find(config.pretrained_path))
    known = {one.actions_sha256 for one in saved.training_data} if saved else set()
    if data.actions_sha256 in known and of_checkpoint and keep_statistics(config, dataset, of_checkpoint):
        return
    restrict_statistics(config, dataset)
    complete_statistics(config, dataset)
    widen_statistics(config, dataset)
    report_moved_ranges(config, dataset, of_checkpoint)
