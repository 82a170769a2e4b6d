"""Training: LeRobot's own `lerobot-train` with a recipe, and what a policy takes from its dataset before it.

action tokenizer · initial draft · suites · sizes of the images        prepare
are the labels and the numbers what the policy can learn?              check_labels, check_numbers
the statistics of the checkpoint or of the dataset?                    checkpoint_statistics
statistics of actions, the action tokenizer, does it keep the gripper? action_fit
images decoded once, so that a small model does not wait for videos    frame_cache
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.utils.constants import ACTION, OBS_STATE
from lerobot.utils.feature_utils import dataset_to_policy_features

from inspire_vla.backbones.devices import warn_of_slow_bfloat16
from inspire_vla.errors import InspireError, counted, reason_of
from inspire_vla.files import read_json
from inspire_vla.instruction import NoObjectFound, find_mentions
from inspire_vla.labels.columns import (
    ANSWERS_PREFIX,
    LABELS_FILE,
    LabelInfo,
    LabelMismatch,
    LabelsMissing,
    ModeRule,
    answer_column,
    check_compatible,
    read_labelled,
    read_labels,
)
from inspire_vla.labels.dataset_writer import COLLECTION_FILE
from inspire_vla.labels.lerobot_files import LeRobotFiles, Rows
from inspire_vla.labels.recorded import EpisodeReader
from inspire_vla.labels.video_defects import check_videos
from inspire_vla.lerobot_plugin.action_fit import (
    check_action_range,
    check_gripper,
    choose_action_tokenizer,
    complete_statistics,
    report_rounding,
    restrict_statistics,
    widen_statistics,
)
from inspire_vla.lerobot_plugin.checkpoint_schema import TrainingData, read_train_config
from inspire_vla.lerobot_plugin.checkpoint_statistics import (
    Statistics,
    keep_statistics,
    report_moved_ranges,
    statistics_of,
)
from inspire_vla.lerobot_plugin.checkpoints import (
    TRAINING_DATASET,
    check_same_dataset,
    find,
    joined_data,
    record_dataset,
)
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig, ReasoningConfig
from inspire_vla.lerobot_plugin.frame_cache import FrameCache
from inspire_vla.lerobot_plugin.lerobot_host import (
    Datasets,
    Training,
    run_lerobot_train,
    several_processes,
)
from inspire_vla.lerobot_plugin.named_images import NamedImages
from inspire_vla.lerobot_plugin.processor_inspire_vla import TokenizerParts
from inspire_vla.lerobot_plugin.training_start import asked_for
from inspire_vla.recipes import recipe_file
from inspire_vla.spatial import canonical_answers, decode_answers

if TYPE_CHECKING:
    from lerobot.datasets import LeRobotDatasetMetadata


BFLOAT16_LR = 1e-4
"""Of lower learning rates, most steps of a bfloat16 weight are lost in its rounding."""


def train(arguments: Sequence[str], *, recipe: str | None = None, frames_in_memory: bool = True) -> None:
    """Run `lerobot-train` in this process. It also writes, into its output folder, train_log.jsonl (see
    `lerobot_host.TrainLog`), train.log (what LeRobot logs) and dataset.json (what it is trained on).

    Args:
        arguments: as on its command line, `--dataset.root=…`, `--output_dir=…`, `--steps=…`.
        recipe: name of a shipped configuration, which the arguments amend.
        frames_in_memory: decode every image once and keep it (`frame_cache`). This is for nano, whose images are small.
            It is not done for other backbones, with several observation steps, with streamed images, or where they take
            more than half of the memory. LeRobot's augmentation, `dataset.image_transforms`, works with it.

    Raises:
        InspireError: an unknown recipe, a folder that is no dataset, or a dataset that does not fit the policy.
    """
    arguments = list(arguments)
    if recipe is not None and not any(a.startswith("--config_path") for a in arguments):
        arguments.insert(0, f"--config_path={recipe_file(recipe)}")
    given = dict(a.removeprefix("--").split("=", 1) for a in arguments if "=" in a)
    config, root = Path(given.get("config_path", "")), given.get("dataset.root")
    if config.suffix == ".json" and config.is_file():  # before LeRobot reads it
        read_train_config(config) if given.get("resume") == "true" else read_json(config, dict[str, Any])
    if root is not None:
        LeRobotFiles.open(root)  # before LeRobot loads, which takes seconds
    run_lerobot_train(
        arguments,
        with_cached_images if frames_in_memory else lambda _, datasets: datasets,
        _before_first_step,
    )


def with_cached_images(config: InspireVLAConfig, datasets: Datasets) -> Datasets:
    """The datasets, with their images decoded once where that is possible: see `train`. Nothing is decoded yet."""
    once = config.backbone == "nano" and config.observation_delta_indices is None
    kind = FrameCache if once else NamedImages
    first, second = (kind(d) if FrameCache.takes(d) else d for d in datasets)
    return first, second


def _check_augmentation(dataset: FrameCache, config: InspireVLAConfig) -> None:
    """Raise InspireError for an augmentation that fails on the policy's images, or gives them another size."""
    augment, size = dataset.image_transforms, config.model_image_size
    for name, transform in getattr(augment, "transforms", {}).items():
        image = torch.zeros(3, *size, dtype=torch.uint8)
        try:
            result = tuple(transform(image).shape[-2:])
        except (TypeError, ValueError, RuntimeError) as error:
            raise InspireError(
                f"The augmentation {name!r} of --dataset.image_transforms fails on images of {size[0]} × {size[1]} "
                f"pixels: {reason_of(error)}."
            ) from None
        if result != size:
            raise InspireError(
                f"The augmentation {name!r} of --dataset.image_transforms makes images of {result[0]} × {result[1]} "
                f"pixels, but the policy takes {size[0]} × {size[1]}."
            )


def _before_first_step(training: Training) -> None:
    """Decode the images that the policy takes; record what it is trained on, or check that it is the same."""
    config, renamed = training.policy, training.config.rename_map
    for dataset in training.datasets:
        if not isinstance(dataset, FrameCache):
            continue
        _check_augmentation(dataset, config)
        names = {key: renamed.get(key, key) for key in dataset.meta.features}
        state = config.robot_state_feature is not None
        dataset.load(
            horizon=config.chunk_size,
            cameras=[key for key in dataset.meta.camera_keys if names[key] in config.image_features],
            columns=[
                key
                for key, name in names.items()
                if key.startswith(ANSWERS_PREFIX) or (state and name == OBS_STATE)
            ],
            image_size=config.image_size,
        )
    if training.main and not training.config.resume:
        record_dataset(training.out, training.datasets[0].root)
    elif training.main and (training.out / TRAINING_DATASET).is_file():
        check_same_dataset(training.out, training.datasets[0].root)


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
    warn_of_slow_bfloat16(config.device, config.dtype)
    resumed = bool(asked_for("resume"))
    if asked_for("peft") is None and not several_processes():  # FSDP keeps exact weights itself
        warn_of_rounding(config)
    check_inputs(config, dataset.features, asked_for("rename_map") or {})
    files = LeRobotFiles.open(dataset.root)
    check_videos(files, config.runtime_episodes)
    count_without_instruction(files)
    check_numbers(config, dataset)
    chosen = asked_for("dataset.episodes") or asked_for("dataset.eval_split")
    if config.runtime_episodes is None and chosen:
        logging.warning(
            "Statistics and action tokenizer are of all episodes, also of those that are not trained on. `inspire "
            "train --holdout` takes them from the training episodes only."
        )
    data = training_data(dataset.root, config.runtime_episodes)
    if config.reasoning.enabled:
        check_labels(dataset.root, config.reasoning)
    _choose_statistics(config, dataset, None if resumed else saved, data)
    if not resumed:
        check_action_range(config, dataset)
    take_image_sizes(config, dataset)
    draft, suites = saved.initial_draft if saved else (), suites_of(dataset.root)
    if config.reasoning.enabled:
        draft = draft or most_frequent_first_answers(
            dataset.root, config.reasoning.mode, config.runtime_episodes
        )
    actions = choose_action_tokenizer(config, saved.action_tokenizer if saved else None, dataset)
    if not resumed:
        check_gripper(config, actions, dataset)
        report_rounding(config, actions, dataset)
    overrides = dict(saved.mention_overrides) if saved else {}
    if config.reasoning.enabled:
        labels = read_labels(dataset.root)
        overrides = {text: roles for text, roles in overrides.items() if text not in labels.tasks}
        overrides |= labels.overrides
    data_of_all = joined_data(saved.training_data if saved else (), data)
    if saved is None:
        return TokenizerParts(actions, None, draft, suites, overrides, data_of_all)
    suites = joined(saved.training_suites, suites)
    return TokenizerParts(actions, saved.text_files, draft, suites, overrides, data_of_all)


def _choose_statistics(
    config: InspireVLAConfig,
    dataset: "LeRobotDatasetMetadata",
    saved: TokenizerParts | None,
    data: TrainingData,
) -> None:
    """Let `dataset.stats` hold what this training normalises by: see checkpoint_statistics.py and action_fit.py."""
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


def training_data(root: str | Path, episodes: Collection[int] | None) -> TrainingData:
    """What a checkpoint says of a dataset, of which these episodes are trained on, or all."""
    reader = EpisodeReader(root)
    left_out = () if episodes is None else sorted({*range(reader.episodes)} - {*episodes})
    return TrainingData(reader.actions_sha256(), reader.episodes, list(left_out), render_of(root))


# Inputs and numbers


def check_inputs(config: InspireVLAConfig, columns: Mapping[str, Any], renamed: Mapping[str, str]) -> None:
    """Check that a dataset has what the policy takes, whose inputs are the checkpoint's with `--policy.path`.

    Raises InspireError for a camera that the dataset lacks, and for a state of another length.
    """
    found = {
        renamed.get(key, key): feature for key, feature in dataset_to_policy_features(dict(columns)).items()
    }
    cameras = sorted(key for key, feature in found.items() if feature.type is FeatureType.VISUAL)
    missing = [key for key in config.image_features if key not in found]
    if missing:
        raise InspireError(
            f"The policy takes the cameras {sorted(config.image_features)}; the dataset has {cameras}. If they only "
            f'have other names, give --rename_map=\'{{"NAME IN THE DATASET": "{missing[0]}"}}\'. If it was converted, '
            "convert it again with the dataset's --cameras."
        )
    state = config.robot_state_feature
    if state is not None and OBS_STATE in found and found[OBS_STATE].shape != state.shape:
        raise InspireError(
            f"The policy takes a state of {counted(state.shape[0], 'number')}; {OBS_STATE} of the dataset has "
            f"{found[OBS_STATE].shape[0]}. If it was converted, convert it again with the dataset's --state-dim."
        )


def check_numbers(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Check before training that states and actions, and their statistics, are finite numbers.

    One NaN turns all weights into NaN. Where the dataset has no column of the policy's state, as with a `rename_map`,
    all columns of observations are checked.

    Raises InspireError that names the column, the episode and the frame.
    """
    floats = {key for key, feature in dataset.features.items() if str(feature["dtype"]).startswith("float")}
    used = {key for key, feature in config.input_features.items() if feature.type is not FeatureType.VISUAL}
    if not used <= floats:
        used |= {key for key in floats if key.startswith("observation.")}
    columns = sorted(floats & {ACTION, *used})
    files = LeRobotFiles.open(dataset.root)
    for path in files.data_files():
        rows = files.read(path, (*columns, "frame_index"))
        for name in columns:
            finite = np.isfinite(rows.columns[name].reshape(len(rows.episode_index), -1)).all(axis=1)
            if not finite.all():
                row = int(finite.argmin())
                raise InspireError(
                    f"{path}: {name} of episode {rows.episode_index[row]}, frame "
                    f"{int(rows.columns['frame_index'][row])} is {rows.columns[name][row].tolist()}; NaN or infinite "
                    f"in {counted(int((~finite).sum()), 'frame')} of this file. Remove these episodes "
                    "(lerobot-edit-dataset "
                    "--operation.type=delete_episodes), or mend the numbers."
                )
    for name in columns:
        odd = [
            key for key, value in (dataset.stats or {}).get(name, {}).items() if not np.isfinite(value).all()
        ]
        if odd:
            raise InspireError(
                f"{dataset.root}/meta/stats.json: {odd} of {name} are NaN or infinite, though its frames are not. "
                "Compute them again: lerobot-edit-dataset --operation.type=recompute_stats."
            )


# Origin

Suites = tuple[str, ...] | None
"""Names of suites; None is "unknown", as of a dataset that does not say what it was recorded on."""


def suites_of(dataset_root: str | Path) -> Suites:
    """Suites that a dataset was collected or imported from."""
    collection, labels = _origin(dataset_root)
    if (suite := collection.get("suite")) is not None:
        return (str(suite),)
    suites = labels.get("suites")
    return tuple(sorted(map(str, suites))) if suites else None


def render_of(dataset_root: str | Path) -> Literal["full", "fast"] | None:
    """How the images of a dataset of LIBERO were drawn; None where it does not say."""
    drawn = [one.get("render") for one in _origin(dataset_root)]
    return "fast" if "fast" in drawn else "full" if "full" in drawn else None


def _origin(dataset_root: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a dataset says of its collection, and what its labels say of their source."""
    collection, labels = (
        read_json(path, dict[str, Any]) if (path := Path(dataset_root, name)).is_file() else {}
        for name in (COLLECTION_FILE, LABELS_FILE)
    )
    return collection.get("settings", {}), labels.get("extra", {})


def joined(earlier: Suites, later: Suites) -> Suites:
    """The suites of a policy that was trained on `earlier`, then on `later`."""
    return None if earlier is None or later is None else tuple(sorted({*earlier, *later}))


# Labels


def check_labels(root: str | Path, reasoning: ReasoningConfig) -> None:
    """Check that a dataset's labels answer what the policy asks; log which frames lack one.

    Raises:
        LabelsMissing: there are none at all.
        LabelMismatch: labels of another frame, mode or rule, about other objects, or made for other instructions.
    """
    labels, files = read_labelled(root)
    rule = ModeRule(reasoning.close_threshold_m, reasoning.grasped_word)
    check_compatible(labels, frame=reasoning.frame, mode=reasoning.mode, rule=rule)
    check_mentions(labels, files.tasks.values(), reasoning.max_objects)
    count_unlabelled(labels, files, reasoning.mode, reasoning.max_objects)


def count_without_instruction(files: LeRobotFiles) -> int:
    """Number of frames whose instruction is empty. Every training leaves them out; a warning says how many they are.

    Raises:
        InspireError: no frame has an instruction.
    """
    empty, total = 0, 0
    for path in files.data_files():
        tasks, counts = np.unique(files.read(path, ()).task_index, return_counts=True)
        total += int(counts.sum())
        empty += sum(
            n
            for task, n in zip(tasks.tolist(), counts.tolist(), strict=True)
            if not files.instruction(task).strip()
        )
    if empty == total:
        raise InspireError(
            f"No frame of {files.root} has an instruction: meta/tasks.parquet holds empty texts only."
        )
    if empty:
        logging.warning(
            f"Left out of the training, because their instruction is empty: {empty} of {counted(total, 'frame')}."
        )
    return empty


def check_mentions(labels: LabelInfo, instructions: Iterable[str], max_objects: int) -> None:
    """Check that the labels of every instruction are about the objects that the policy asks about, in its order.

    A policy finds the objects in the instruction whenever it acts. Those that a person has given (`inspire label
    --mentions`) are stored with the labels, and training stores them in the checkpoint. Labels about others (an
    instruction that was read in another way) would teach it answers to other questions.

    Args:
        labels: what the dataset says of its labels.
        instructions: the dataset's. Those without labels or without an object are skipped.
        max_objects: the most objects that are asked about. A warning tells of an instruction that names more.

    Raises:
        LabelMismatch: names both, and what can be done.
    """
    longest: tuple[str, ...] = ()
    for instruction in instructions:
        labelled = labels.tasks.get(instruction)
        if labelled is None:
            continue
        try:
            asked = find_mentions(instruction, labels.overrides)
        except NoObjectFound:
            asked = ()
        longest = max(longest, asked, key=len)
        if labelled[:max_objects] == asked[:max_objects]:
            continue
        agreed = next(n for n in range(max_objects) if labelled[n : n + 1] != asked[n : n + 1])
        fewer = f"ask about fewer objects (--policy.reasoning.max_objects={agreed}), " if agreed else ""
        raise LabelMismatch(
            f"In {instruction!r} the policy asks about {list(asked[:max_objects])}, but the dataset's labels are about "
            f"{list(labelled[:max_objects])}. Label the dataset again, with --mentions FILE for other objects than "
            f"the policy's, {fewer}or train the base model with --policy.reasoning.enabled=false."
        )
    if len(longest) > max_objects:
        logging.warning(
            f"An instruction names {len(longest)} objects, {list(longest)}, and the policy is asked about the first "
            f"{max_objects} only. --policy.reasoning.max_objects={len(longest)} asks about all."
        )


def count_unlabelled(labels: LabelInfo, files: LeRobotFiles, mode: str, max_objects: int) -> dict[str, int]:
    """Number of frames that lack a label of an object that is asked about, by instruction. Logs a warning of them.

    Raises:
        LabelsMissing: no frame has all its labels.
        LabelMismatch: labels of an instruction of which `labels` says nothing.
    """
    frames, lacking = dict.fromkeys(files.tasks, 0), dict.fromkeys(files.tasks, 0)
    for rows, codes in stored_answers(files, mode):
        for task in np.unique(rows.task_index).tolist():
            of_task, instruction = codes[rows.task_index == task], files.instruction(task)
            asked = len(labels.tasks.get(instruction, ())[:max_objects])
            if not asked and (of_task >= 0).any():
                raise LabelMismatch(
                    f"{files.root} does not say what its labels in {instruction!r} are about."
                )
            frames[task] += len(of_task)
            lacking[task] += int((of_task[:, :asked] < 0).any(axis=1).sum()) if asked else len(of_task)
    by_instruction = {files.tasks[task]: count for task, count in lacking.items() if count}
    missing, total = sum(by_instruction.values()), sum(frames.values())
    listed = ", ".join(f"{lacking[t]} of {frames[t]} in {files.tasks[t]!r}" for t in frames if lacking[t])
    if missing == total:
        raise LabelsMissing(
            f"No frame of {files.root} has a label in mode {mode!r} for each object it is asked about: {listed}. Label "
            "it again, or train the base model with --policy.reasoning.enabled=false."
        )
    if missing:
        logging.warning(
            f"Left out of the training, for want of a label: {missing} of {counted(total, 'frame')}: {listed}."
        )
    return by_instruction


def most_frequent_first_answers(
    root: str | Path, mode: str, episodes: Collection[int] | None = None
) -> tuple[str, ...]:
    """The most frequent label of the first, second, … object in the first frames of a dataset's episodes.

    They are the draft of an episode's first decision, which has no decision before it. Only some `episodes`, or all.
    """
    files = LeRobotFiles.open(root)
    first = []
    for rows, codes in stored_answers(files, mode):
        starts = rows.starts()
        if episodes is not None:
            starts = starts[np.isin(rows.episode_index[starts], list(episodes))]
        first.append(codes[starts])
    answers = []
    for column in np.concatenate(first).T:
        counts = np.bincount(column[column >= 0], minlength=len(canonical_answers(mode)))
        if not counts.any():  # no instruction names so many objects
            break
        answers.append(str(decode_answers(np.array([counts.argmax()]), mode)[0]))
    return tuple(answers)


def stored_answers(
    files: LeRobotFiles, mode: str
) -> Iterator[tuple[Rows, Int[np.ndarray, "frames max_objects"]]]:
    """The rows of each data file and the codes of their answers. A column for one object is stored as numbers."""
    column = answer_column(mode)
    for path in files.data_files():
        rows = files.read(path, (column,))
        yield rows, rows.columns[column].reshape(len(rows.task_index), -1).astype(np.int64)


# Images


def take_image_sizes(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Write the sizes of the dataset's images into the configuration, so that a server expects these.

    A converted checkpoint has the sizes of its original's training. Cameras that the training renames are known if all
    of the dataset's have one size. nano's weights belong to a size, so nothing changes there.
    """
    if config.backbone == "nano" or not config.input_features:
        return
    features = dataset_to_policy_features(dataset.features)
    cameras = {key: feature for key, feature in features.items() if feature.type is FeatureType.VISUAL}
    sizes = {tuple(feature.shape) for feature in cameras.values()}
    for key in config.image_features:
        camera: PolicyFeature | None = cameras.get(key)
        if camera is None and len(sizes) == 1:
            camera = next(iter(cameras.values()))
        if camera is not None:
            config.input_features[key] = replace(config.input_features[key], shape=tuple(camera.shape))
