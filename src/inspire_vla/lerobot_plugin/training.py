"""Training: LeRobot's own `lerobot-train` with a recipe, and what a policy takes from its dataset before it.

action tokenizer · initial draft · suites · sizes of the images        prepare
are the labels and the numbers what the policy can learn?   check_labels, check_numbers, check_action_range
images decoded once, so that a small model does not wait for videos    frame_cache
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.lerobot_types import TransitionKey
from lerobot.processor import NormalizerProcessorStep
from lerobot.processor.converters import create_transition
from lerobot.utils.constants import ACTION, OBS_STATE
from lerobot.utils.feature_utils import dataset_to_policy_features

from inspire_vla.action_tokenizers import ActionTokenizer, Fast, ResidualVQ, UniformBins
from inspire_vla.errors import InspireError
from inspire_vla.files import read_json
from inspire_vla.instruction import NoObjectFound, find_mentions
from inspire_vla.labels.columns import (
    ANSWERS_PREFIX,
    LabelInfo,
    LabelMismatch,
    LabelsMissing,
    ModeRule,
    answer_column,
    check_compatible,
    read_labelled,
    read_labels,
)
from inspire_vla.labels.lerobot_files import LeRobotFiles, Rows, read_rows
from inspire_vla.lerobot_plugin.checkpoint_schema import read_train_config
from inspire_vla.lerobot_plugin.checkpoints import TRAINING_DATASET, check_same_dataset, record_dataset
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig, ReasoningConfig
from inspire_vla.lerobot_plugin.frame_cache import FrameCache, chunk_indices
from inspire_vla.lerobot_plugin.lerobot_host import Datasets, Training, run_lerobot_train
from inspire_vla.lerobot_plugin.processor_inspire_vla import TokenizerParts
from inspire_vla.recipes import recipe_file
from inspire_vla.spatial import canonical_answers, decode_answers

if TYPE_CHECKING:
    from lerobot.datasets import LeRobotDatasetMetadata

CLIPPED_TOKENIZERS = ("residual_vq", "uniform_bins", "learned_vq")
"""Action tokenizers whose actions lie between -1 and 1."""
CLIP_MARGIN = 0.05
MAX_FITTED_CHUNKS = 200_000
"""More chunks do not move the means; they only cost time."""


def train(arguments: Sequence[str], *, recipe: str | None = None, frames_in_memory: bool = True) -> None:
    """Run `lerobot-train` in this process. It also writes, into its output folder, train_log.jsonl (see
    `lerobot_host.TrainLog`), train.log (what LeRobot logs) and dataset.json (what it is trained on).

    Args:
        arguments: as on its command line, `--dataset.root=…`, `--output_dir=…`, `--steps=…`.
        recipe: name of a shipped configuration, which the arguments amend.
        frames_in_memory: decode every image once and keep it (`frame_cache`). This is for nano, whose images are small.
            It is not done for other backbones, with several observation steps, with augmented (`image_transforms`) or
            streamed images, or where they take more than half of the memory.

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
    if config.backbone != "nano" or config.observation_delta_indices is not None:
        return datasets
    first, second = (FrameCache(d) if FrameCache.takes(d) else d for d in datasets)
    return first, second


def _before_first_step(training: Training) -> None:
    """Decode the images that the policy takes; record what it is trained on, or check that it is the same."""
    config, renamed = training.policy, training.config.rename_map
    for dataset in training.datasets:
        if not isinstance(dataset, FrameCache):
            continue
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


def prepare(
    config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata", saved: TokenizerParts | None
) -> TokenizerParts:
    """Check a dataset against a policy's configuration, and take from it what the policy's tokenizer is made of.

    Args:
        saved: of the checkpoint that is trained further.

    Raises:
        LabelsMissing, LabelMismatch: the policy reasons, and the dataset has no labels of what it asks.
        InspireError: states or actions that are NaN or infinite, actions that the action tokenizer would clip, or
            another number of action codes than the checkpoint's.
    """
    count_without_instruction(LeRobotFiles.open(dataset.root))
    check_numbers(config, dataset)
    check_action_range(config, dataset)
    take_image_sizes(config, dataset)
    draft, suites = saved.initial_draft if saved else (), suites_of(dataset.root)
    if config.reasoning.enabled:
        check_labels(dataset.root, config.reasoning)
        draft = draft or most_frequent_first_answers(dataset.root, config.reasoning.mode)
    actions = choose_action_tokenizer(config, saved.action_tokenizer if saved else None, dataset)
    overrides = dict(saved.mention_overrides) if saved else {}
    if config.reasoning.enabled:
        labels = read_labels(dataset.root)
        overrides = {text: roles for text, roles in overrides.items() if text not in labels.tasks}
        overrides |= labels.overrides
    if saved is None:
        return TokenizerParts(actions, None, draft, suites, overrides)
    return TokenizerParts(actions, saved.text_files, draft, joined(saved.training_suites, suites), overrides)


# The action tokenizer


def choose_action_tokenizer(
    config: InspireVLAConfig, saved: ActionTokenizer | None, dataset: "LeRobotDatasetMetadata | None"
) -> ActionTokenizer:
    """The action tokenizer of a policy: a checkpoint's, or a new one that is fitted on the dataset.

    A fine-tuning may ask for another kind, horizon, action size or VQ size than the checkpoint's.

    Raises:
        InspireError: there is neither; it is another one and there is no dataset; it would have another number of
            codes, and the checkpoint's weights hold a row for each code.
    """
    if saved is None:
        if dataset is None:
            raise InspireError(
                "A new policy fits its action tokenizer on demonstrations: give it a dataset, or load a "
                "checkpoint with --policy.path."
            )
        return fit_action_tokenizer(config, dataset)
    wanted = config.action_tokenizer, config.chunk_size, config.action_feature.shape[0]
    same = (saved.name, saved.horizon, saved.action_dim) == wanted
    if dataset is None:
        if same:
            return saved
        raise InspireError(
            f"The checkpoint's action tokenizer is {saved.name} for {saved.horizon} × {saved.action_dim} numbers, the "
            f"configuration wants {wanted[0]} for {wanted[1]} × {wanted[2]}."
        )
    if isinstance(saved, ResidualVQ):
        same &= (saved.levels, saved.codes_per_level) == (config.vq.levels, config.vq.codes_per_level)
    if same:
        return saved
    fitted = fit_action_tokenizer(config, dataset)
    if isinstance(saved, UniformBins) and isinstance(fitted, UniformBins):
        fitted.gripper = saved.gripper  # the same bins, with the same meaning
    if config.has_own_action_tokens and fitted.vocabulary_size != saved.vocabulary_size:
        raise InspireError(
            f"The checkpoint's weights hold a row for each of its {saved.vocabulary_size} action codes ({saved.name}); "
            f"the configuration asks for {fitted.vocabulary_size} ({fitted.name}). Fine-tune with the checkpoint's own "
            "--policy.action_tokenizer and --policy.vq, or train from the start."
        )
    return fitted


def fit_action_tokenizer(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> ActionTokenizer:
    """Fit the configured action tokenizer on a dataset's normalised action chunks."""
    horizon, action_dim = config.chunk_size, config.action_feature.shape[0]
    if config.action_tokenizer == UniformBins.name:
        return UniformBins(horizon=horizon, action_dim=action_dim)
    if config.action_tokenizer == "learned_vq":
        raise InspireError(
            "A learned VQ comes with MiniVLA's weights; a new one is not trained here: residual_vq is."
        )
    chunks = normalised_chunks(config, dataset)
    if config.action_tokenizer == Fast.name:
        return Fast.fit(chunks)
    weights = np.ones(action_dim)
    weights[-1] = config.vq.gripper_weight
    return ResidualVQ.fit(
        chunks,
        codes_per_level=config.vq.codes_per_level,
        levels=config.vq.levels,
        dimension_weights=weights.tolist(),
    )


def normalised_chunks(
    config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata"
) -> Float[np.ndarray, "chunks horizon action_dim"]:
    """Action chunks of a dataset as training sees them: normalised, the last action repeated at the end.

    At most `MAX_FITTED_CHUNKS`, always the same ones. They are chosen before they are cut, because chunks overlap: all
    of them take `horizon` times the memory of the actions.
    """
    actions, episodes = [], []
    for file in sorted((Path(dataset.root) / "data").rglob("*.parquet")):
        table = pq.read_table(file, columns=[ACTION, "episode_index"])
        actions.append(np.array(table[ACTION].to_pylist(), dtype=np.float32))
        episodes.append(table["episode_index"].to_numpy())
    if not actions:
        raise InspireError(f"The dataset {dataset.root} holds no actions to fit the action tokenizer on.")
    flat = _normalised(np.concatenate(actions), config, dataset.stats[ACTION])
    starts: np.ndarray = np.arange(len(flat))
    if len(flat) > MAX_FITTED_CHUNKS:
        starts = np.random.default_rng(0).choice(len(flat), MAX_FITTED_CHUNKS, replace=False)
    return flat[chunk_indices(np.concatenate(episodes), config.chunk_size, starts)]


def _normalised(
    actions: Float[np.ndarray, "rows dim"], config: InspireVLAConfig, stats: dict[str, Any]
) -> Float[np.ndarray, "rows dim"]:
    """Actions as the preprocessor normalises them."""
    normaliser = NormalizerProcessorStep(
        features={ACTION: config.action_feature},
        norm_map={FeatureType.ACTION: config.normalization_mapping["ACTION"]},
        stats={ACTION: stats},
    )
    return normaliser(create_transition(action=torch.from_numpy(actions)))[TransitionKey.ACTION].numpy()


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
        rows = read_rows(path, (*columns, "frame_index"))
        for name in columns:
            finite = np.isfinite(rows.columns[name].reshape(len(rows.episode_index), -1)).all(axis=1)
            if not finite.all():
                row = int(finite.argmin())
                raise InspireError(
                    f"{path}: {name} of episode {rows.episode_index[row]}, frame "
                    f"{int(rows.columns['frame_index'][row])} is {rows.columns[name][row].tolist()}; NaN or infinite "
                    f"in {int((~finite).sum())} frames of this file. Remove these episodes (lerobot-edit-dataset "
                    "--operation.type=delete_episodes), or mend the numbers."
                )
    for name in columns:
        odd = [key for key, value in dataset.stats.get(name, {}).items() if not np.isfinite(value).all()]
        if odd:
            raise InspireError(
                f"{dataset.root}/meta/stats.json: {odd} of {name} are NaN or infinite, though its frames are not. "
                "Compute them again: lerobot-edit-dataset --operation.type=recompute_stats."
            )


def check_action_range(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Check before training whether the action tokenizer would clip actions.

    Raises InspireError where more than 1 % of one of the normalised numbers lies beyond -1 and 1, by LeRobot's 1st and
    99th percentile (by minimum and maximum where a dataset has none), with the normalisation that helps.
    """
    stats = dataset.stats[ACTION]
    ends = ("q01", "q99") if "q01" in stats and "q99" in stats else ("min", "max")
    if config.action_tokenizer not in CLIPPED_TOKENIZERS or not all(end in stats for end in ends):
        return
    raw = np.stack([np.asarray(stats[end], dtype=np.float32).reshape(-1) for end in ends])
    found = _normalised(raw, config, stats)
    beyond = np.flatnonzero((np.abs(found) > 1 + CLIP_MARGIN).any(axis=0))
    if len(beyond):
        names = dataset.features[ACTION].get("names") or [str(i) for i in range(found.shape[1])]
        names = next(iter(names.values())) if isinstance(names, dict) else names
        ranges = ", ".join(f"{names[i]} {found[0, i]:.3g} to {found[1, i]:.3g}" for i in beyond[:6])
        raise InspireError(
            f"{config.action_tokenizer} takes actions from −1 to 1 and would clip these; normalised by "
            f"{config.normalization_mapping['ACTION'].value} they go from {ranges}. QUANTILES brings them there: "
            "`inspire train --recipe nano_own`, or "
            '--policy.normalization_mapping=\'{"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "QUANTILES"}\'.'
        )


# Suites

_COLLECTION, _LABELS = "meta/inspire_collection.json", "meta/inspire_labels.json"

Suites = tuple[str, ...] | None
"""Names of suites; None is "unknown", as of a dataset that does not say what it was recorded on."""


def suites_of(dataset_root: str | Path) -> Suites:
    """Suites that a dataset was collected or imported from."""
    collection, labels = (
        read_json(path, dict[str, Any]) if (path := Path(dataset_root, name)).is_file() else {}
        for name in (_COLLECTION, _LABELS)
    )
    suite = collection.get("settings", {}).get("suite")
    if suite is not None:
        return (str(suite),)
    found = labels.get("extra", {}).get("suites")
    return tuple(sorted(map(str, found))) if found else None


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
        tasks, counts = np.unique(read_rows(path, ()).task_index, return_counts=True)
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
            f"{empty} of {total} frames have an empty instruction and are left out of the training."
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
        max_objects: the most objects that are asked about.

    Raises:
        LabelMismatch: names both, and what can be done.
    """
    for instruction in instructions:
        labelled = labels.tasks.get(instruction)
        if labelled is None:
            continue
        try:
            asked = find_mentions(instruction, labels.overrides)
        except NoObjectFound:
            asked = ()
        if labelled[:max_objects] == asked[:max_objects]:
            continue
        agreed = next(n for n in range(max_objects) if labelled[n : n + 1] != asked[n : n + 1])
        fewer = f"ask about fewer objects (--policy.reasoning.max_objects={agreed}), " if agreed else ""
        raise LabelMismatch(
            f"In {instruction!r} the policy asks about {list(asked[:max_objects])}, but the dataset's labels are about "
            f"{list(labelled[:max_objects])}. Label the dataset again, with --mentions FILE for other objects than "
            f"the policy's, {fewer}or train the base model with --policy.reasoning.enabled=false."
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
    found = {files.tasks[task]: count for task, count in lacking.items() if count}
    missing, total = sum(found.values()), sum(frames.values())
    listed = ", ".join(f"{lacking[t]} of {frames[t]} in {files.tasks[t]!r}" for t in frames if lacking[t])
    if missing == total:
        raise LabelsMissing(
            f"No frame of {files.root} has a label in mode {mode!r} for each object it is asked about: {listed}. Label "
            "it again, or train the base model with --policy.reasoning.enabled=false."
        )
    if missing:
        logging.warning(
            f"{missing} of {total} frames lack a label and are left out of the training: {listed}."
        )
    return found


def most_frequent_first_answers(root: str | Path, mode: str) -> tuple[str, ...]:
    """The most frequent label of the first, second, … object in the first frames of a dataset's episodes.

    They are the draft of an episode's first decision, which has no decision before it.
    """
    files = LeRobotFiles.open(root)
    first = [codes[rows.starts()] for rows, codes in stored_answers(files, mode)]
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
        found: PolicyFeature | None = cameras.get(key)
        if found is None and len(sizes) == 1:
            found = next(iter(cameras.values()))
        if found is not None:
            config.input_features[key] = replace(config.input_features[key], shape=tuple(found.shape))
