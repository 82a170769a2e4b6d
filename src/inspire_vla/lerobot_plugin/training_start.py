"""What a training is asked for, compared with the checkpoint that it starts from, without LeRobot.

`--policy.path` (`inspire train --from`) keeps the checkpoint's configuration: LeRobot passes over the recipe's policy.
`--policy.pretrained_path` takes the recipe's. In both cases the weights fix some settings.
"""

import json
import math
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from inspire_vla.errors import InspireError, counted, nearest
from inspire_vla.files import read_yaml
from inspire_vla.labels.columns import read_labels
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_internals import train_options
from inspire_vla.lerobot_plugin.checkpoint_files import TRAIN_CONFIG
from inspire_vla.lerobot_plugin.checkpoint_schema import read_config, read_train_config, steps_taken
from inspire_vla.lerobot_plugin.checkpoints import find
from inspire_vla.lerobot_plugin.policy_kinds import ACTION_HEADS, POLICY_TYPE
from inspire_vla.recipes import RECIPES, recipe_file

Settings = dict[str, Any]
"""A policy's settings by their names on the command line, such as {"nano.layers": 4}."""
_REASONS = "reasoning.enabled"

_SIZES = ("nano", "nano_flow", "prismatic", "paligemma", "image_text", "smolvla", "gemma_expert")
"""Parts of the configuration that hold the sizes of a model."""
_NOT_COMPARED = ("type", "device", "push_to_hub", "pretrained_init")
"""Settings of a recipe that a checkpoint may have otherwise: they do not change what is trained."""
_RESUMED_OTHERWISE = (
    "device", "push_to_hub", "repo_id", "private", "tags", "license", "gradient_checkpointing", "static_cache",
    "static_cache_length", "n_action_steps", "flow.denoising_steps",
)  # fmt: skip
"""Settings of a policy that a resumed training may have otherwise: they change where it runs or how the policy acts."""
_KEPT = ("optimizer", "peft", "dataset.episodes", "dataset.eval_split", "rename_map")
"""What a resumed training keeps besides its policy. LeRobot passes over most of it in silence."""
_TAKEN = ("optimizer.grad_clip_norm",)
"""Of these, what LeRobot takes."""
_OF_THE_COMMAND_LINE, _OF_ANY_GROUP = ("config_path", "help"), ("path", "type", "discover_packages_path")
"""Options of lerobot-train that are no settings; and last parts of those that may stand below each group."""

_RANGES = {
    "steps": (1, None), "batch_size": (1, None), "num_workers": (0, None), "prefetch_factor": (1, None),
    "seed": (0, 2**32 - 1),
}  # fmt: skip
"""Smallest and largest value of LeRobot's numbers that would end a training late, or after no step."""
_FORMS = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list such as [1, 2]",
    "tuple": "a list such as [1, 2]", "dict": 'names and values such as {"a": "b"}',
}  # fmt: skip
"""Type of a setting → what its option takes."""
_SAVING = {"steps": 100_000, "save_freq": 20_000, "save_checkpoint": True}
"""The settings that decide which checkpoints a training saves, with LeRobot's defaults."""
_BEFORE_DASHES = {"output_dir": "--out", "dataset.root": "--dataset", "resume": "--resume"}
"""Options of lerobot-train → those of `inspire train` that set them."""


def check_options(words: Sequence[str]) -> None:
    """Check the words after `--`, which are lerobot-train's, before LeRobot loads.

    Raises InspireError for one that is no option, has no such name, has a value of another form, or belongs before
    `--`. Names that only LeRobot knows are left to it.
    """
    for before, word in pairwise(["", *words]):
        is_value = before.startswith("--") and "=" not in before
        if word.startswith("--") or word == "-h" or is_value:
            continue
        right = word.lstrip("-")
        raise InspireError(
            f"{word!r} after -- is no option of lerobot-train.{f' Write --{right}.' if '=' in right else ''}"
        )
    known, open_groups = _known_options()
    given = dict(_texts(words))
    if any(name in given for name in ("policy.type", "config_path")):  # perhaps of another policy
        open_groups = open_groups | {"policy"}
    for name, text in given.items():
        if name in _BEFORE_DASHES:
            raise InspireError(f"--{name} is not given after --: write {_BEFORE_DASHES[name]} before it.")
        if name == "job.target" and text not in ("null", "local"):
            raise InspireError(f"--job.target={text}: `inspire train` trains on this machine; leave it out.")
        if name in known and name.partition(".")[0] not in open_groups:
            is_group = any(option.startswith(f"{name}.") for option in known)
            _check_form(name, text, "dict | None" if is_group else known[name])
        if name in known or name in _OF_THE_COMMAND_LINE or name.rpartition(".")[2] in _OF_ANY_GROUP:
            continue
        if not any(name.startswith(f"{group}.") for group in open_groups):
            hint = nearest(f"--{name}", (f"--{option}" for option in known))
            raise InspireError(f"Unknown option --{name}.{hint} All options: lerobot-train --help.")
    check_ranges(dict(_options(words)))


@cache
def _known_options() -> tuple[dict[str, str], set[str]]:
    """As `train_options`, with those of our policy."""
    here = Path(__file__)
    settings = (here.with_name(f"{name}.py") for name in ("configuration_inspire_vla", "option_groups"))
    sources = [*settings, *here.parents[1].glob("backbones/*.py")]
    return train_options(sources, "InspireVLAConfig")


def _check_form(name: str, text: str, kind: str) -> None:
    """Raise InspireError where an option's text is none of its type, such as "int | None".

    Types of LeRobot's own, and what is in a list, are left to it.
    """
    value = _value(text)
    forms = {part.partition("[")[0] for part in kind.split(" | ")}
    if (value is None and "None" in forms) or not (forms := forms - {"None"}) <= _FORMS.keys():
        return
    if not any(_has_form(text, value, form) for form in forms):
        taken = " or ".join(
            [*(_FORMS[form] for form in sorted(forms)), *(["null"] if "None" in kind else [])]
        )
        raise InspireError(f"--{name}={text}: it takes {taken}.")


def _has_form(text: str, value: Any, form: str) -> bool:
    if form == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if form == "float":
        return _number(value) is not None
    if form == "bool":
        return text in ("true", "false")
    try:  # LeRobot reads JSON, as its configuration file is
        return isinstance(json.loads(text), dict if form == "dict" else list)
    except ValueError:
        return False


def check_ranges(settings: Mapping[str, Any]) -> None:
    """Raise InspireError for a number of lerobot-train's by which nothing would be trained."""
    for name, (low, high) in _RANGES.items():
        value = _number(settings.get(name))
        if value is not None and not low <= value <= (high or math.inf):
            possible = f"of at least {low}" if high is None else f"from {low} to {high}"
            raise InspireError(f"--{name}={settings[name]}: it takes a whole number {possible}.")


def check_saved(steps: Iterable[int], arguments: Sequence[str], config: Path) -> None:
    """Check that a training saves a checkpoint after each of these steps.

    Args:
        arguments: those for lerobot-train.
        config: the configuration that they amend: a recipe, or the train_config.json of a training that is resumed.

    Raises InspireError for a step after which it saves none, and says after which it does; and where it saves nothing.
    """
    given = dict(_options(arguments))
    file = Path(given.get("config_path", config))
    amended = read_yaml(file / TRAIN_CONFIG if file.is_dir() else file)
    last, every, saves = ((_SAVING | amended | given)[name] for name in _SAVING)
    if not saves:
        raise InspireError(
            "--save_checkpoint=false: nothing of this training could be evaluated. Leave it out."
        )
    before_last = range(every, last, every) if every > 0 else range(0)
    for step in steps:
        if step != last and step not in before_last:
            shown = [*before_last, last] if len(before_last) < 4 else [*before_last[:2], "…", last]
            raise InspireError(
                f"No checkpoint is saved after {counted(step, 'step')}: the training takes {last:,}, and saves every "
                f"{every:,} (--save_freq) and the last. Possible: {', '.join(map(str, shown))}."
            )


def check_not_streamed(*, streaming: bool) -> None:
    """Raise InspireError for LeRobot's streaming: the tokenizer and the statistics read the whole dataset on this disk.

    LeRobot 0.6.1's own (datasets/streaming_dataset.py) trains on all episodes, also on those that are held out; takes
    the time of an image as if all lay in one video; and without worker processes gives no batch.
    """
    if streaming:
        raise InspireError(
            "--dataset.streaming=true: a policy reads the whole dataset before it trains, and LeRobot's streaming "
            "passes over --holdout. Download the dataset, and leave this out."
        )


def check_start(arguments: Sequence[str], recipe: str | None, *, chosen: bool) -> None:
    """Check that a training's settings fit what it starts from.

    Args:
        arguments: those for lerobot-train.
        recipe: its name; None where a training is resumed.
        chosen: whether a person chose the recipe. The default one gives way to the checkpoint of `--policy.path`.

    Raises:
        InspireError: an unknown recipe; a family of published weights without a checkpoint; no
            such checkpoint; no labels for a policy that reasons; settings that contradict it. The message names them.
    """
    given = dict(_options(arguments))
    check_ranges(given)
    asked = _flat(
        {name.removeprefix("policy."): v for name, v in given.items() if name.startswith("policy.")}
    )
    whole, weights = asked.pop("path", None), asked.pop("pretrained_path", None)
    of_recipe: Settings = {}
    if recipe is not None and "config_path" not in given:
        of_recipe = _policy_of(recipe)
    if asked.get("type", POLICY_TYPE) != POLICY_TYPE:
        return
    if given.get("resume"):
        if given.get("config_path"):  # without it LeRobot says what to give
            check_resumed(arguments, Path(given["config_path"]).parent)
        return
    _check_not_passed_over(given)
    if whole or weights:
        folder = find(str(whole or weights))
    else:
        _check_family((of_recipe | asked).get("backbone", "nano"))
        _check_labelled(arguments, bool(of_recipe), of_recipe | asked)
        return
    saved = read_config(folder)
    if whole and not chosen:
        of_recipe = {}
    _check_labelled(arguments, bool(_flat(saved).get(_REASONS) if whole else of_recipe), of_recipe | asked)
    fixed = dict(_contradictions(of_recipe | asked, saved))
    differing = fixed | (_other_settings(of_recipe, asked, _flat(saved)) if whole else {})
    if not differing:
        return
    listed = "; ".join(
        f"{name} is {_shown(there)} there, {_shown(here)} by "
        f"{f'--policy.{name}' if name in asked else f'the recipe {recipe}'}"
        for name, (here, there) in differing.items()
    )
    advice = []
    if options := [f"--policy.{name}" for name in differing if name in asked]:
        advice.append(f"Leave out {', '.join(options)}")
    if any(name not in asked for name in differing):
        if whole:
            advice.append("Leave out --recipe: the checkpoint's configuration is trained further")
        elif fitting := [name for name in RECIPES if not dict(_contradictions(_policy_of(name), saved))]:
            advice.append(f"Recipes that fit: {', '.join(fitting)}")
        if whole and not fixed:
            advice.append(
                "Or take the recipe's with the checkpoint's weights: in place of --from, write "
                f"`-- --policy.pretrained_path={whole}`"
            )
    if fixed:
        advice.append("Or train from the start, without the checkpoint")
    raise InspireError(
        f"The checkpoint {folder} is another one than asked for: {listed}. {'. '.join(advice)}."
    )


def check_resumed(arguments: Sequence[str], folder: Path, policy: Mapping[str, Any] | None = None) -> None:
    """Check that a resumed training goes on as it began. What LeRobot takes later, such as `--steps`, may be another.

    Args:
        arguments: those for lerobot-train.
        folder: its checkpoint, `checkpoints/STEP/pretrained_model`.
        policy: all settings of its policy; None: those in its train_config.json, which may be older than some settings.

    Raises InspireError that names each setting, with the value that the training began with.
    """
    given = dict(_options(arguments))
    for name in ("policy.path", "policy.pretrained_path"):
        if name in given:
            raise InspireError(
                f"A resumed training continues with the weights of {folder}: leave out --{name}, or --resume."
            )
    began = read_train_config(folder / TRAIN_CONFIG).model_dump() | (
        {} if policy is None else {"policy": policy}
    )
    asked = _flat({name: value for name, value in given.items() if name.startswith("policy.")}) | {
        name: value
        for name, value in given.items()
        if any(name == kept or name.startswith(f"{kept}.") for kept in _KEPT) and name not in _TAKEN
    }
    differing = []
    for name, value in asked.items():
        if name.removeprefix("policy.") in _RESUMED_OTHERWISE:
            continue
        try:
            before = _setting(began, name)
        except KeyError:  # no setting, or one of which only the policy knows
            continue
        if not _same(value, before):
            differing.append(f"--{name}={value}, but it began with {before}")
    if differing:
        raise InspireError(
            f"A resumed training goes on as it began: {'; '.join(differing)}. Leave that out, or train from its "
            f"weights into another folder: `inspire train --from {shlex.quote(str(folder))} …`. What a resumed "
            "training takes: another --steps, --batch_size, --save_freq, --policy.device or "
            "--policy.gradient_checkpointing."
        )


def asked_for(name: str) -> Any:
    """What this process's command line says of a setting of lerobot-train, or else its configuration file.

    LeRobot tells a policy neither. Options below the setting, such as `--peft.r` below "peft", are a dictionary.
    None where nothing is said.
    """
    given = dict(_options(sys.argv[1:]))
    below = {key.removeprefix(f"{name}."): v for key, v in given.items() if key.startswith(f"{name}.")}
    if name in given or below:
        return given.get(name, below)
    file = Path(str(given.get("config_path", "")))
    file = file / TRAIN_CONFIG if "config_path" in given and file.is_dir() else file
    if not file.is_file():
        return None
    try:
        return _setting(yaml.safe_load(file.read_text(encoding="utf-8")), name)
    except KeyError:
        return None


def finished_at(folder: Path, arguments: Sequence[str]) -> int | None:
    """The last step of a training that is to be resumed, where all its steps are taken; else None.

    Args:
        folder: its checkpoint, `checkpoints/STEP/pretrained_model`.
        arguments: those for lerobot-train. Their `--steps` take the place of the checkpoint's.
    """
    taken = steps_taken(folder)
    wanted = dict(_options(arguments)).get("steps", read_train_config(folder / TRAIN_CONFIG).steps)
    return taken if isinstance(wanted, int) and taken >= wanted else None


def _check_not_passed_over(given: Settings) -> None:
    """Raise InspireError for an optimizer or a scheduler: LeRobot takes the policy's own and does not say so."""
    if "config_path" in given or given.get("use_policy_training_preset") is False:
        return
    own = {"optimizer": "--policy.optimizer_…", "scheduler": "--policy.warmup_steps"}
    for name in given:
        if (group := name.partition(".")[0]) in own:
            raise InspireError(
                f"--{name} would be passed over: a policy chooses its {group}. Set {own[group]} instead, or also give "
                "--use_policy_training_preset=false with an optimizer and a scheduler."
            )


def _contradictions(asked: Settings, saved: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Name, asked value and checkpoint's value of each setting that the checkpoint's weights do not allow."""
    backbone, settings = saved["backbone"], _flat(saved)
    heads = ACTION_HEADS.get(backbone, ("tokens",))
    if asked.get("backbone", backbone) != backbone:
        yield "backbone", (asked["backbone"], backbone)
        return
    head = saved.get("action_head") or heads[0]
    asked_head = asked.get("action_head") or (heads[0] if "backbone" in asked else head)
    if asked_head != head:
        yield "action_head", (asked_head, head)
        return
    names = [name for name in asked if name.partition(".")[0] in _SIZES]
    if backbone == "nano":
        names += ["n_obs_steps", "use_state", *(["chunk_size"] if head == "flow" else [])]
        cameras = [f for f in saved["input_features"].values() if f["type"] == "VISUAL"]
        size = saved.get("image_size") or cameras[0]["shape"][-2:]
        if (asked.get("image_size") or size) != size:
            yield "image_size", (asked["image_size"], size)
    for name in names:
        if name in asked and asked[name] != settings.get(name, asked[name]):
            yield name, (asked[name], settings[name])
    own_tokens = backbone == "nano" or settings.get("image_text.action_tokens") == "added"
    kind = settings.get("action_tokenizer")
    if own_tokens and kind == asked.get("action_tokenizer", kind) == "residual_vq":
        here = settings | asked
        parts = ("vq.levels", "vq.codes_per_level")  # the weights hold a row for each code
        if here[parts[0]] * here[parts[1]] != settings[parts[0]] * settings[parts[1]]:
            yield from (
                (name, (here[name], settings[name])) for name in parts if here[name] != settings[name]
            )


def _other_settings(of_recipe: Settings, asked: Settings, saved: Settings) -> dict[str, tuple[Any, Any]]:
    """Settings of a recipe, not overruled by `asked`, that the checkpoint has otherwise; as `_contradictions`."""
    return {
        name: (value, saved[name])
        for name, value in of_recipe.items()
        if name not in (*asked, *_NOT_COMPARED) and saved.get(name, value) != value
    }


def _check_labelled(arguments: Sequence[str], reasons: bool, settings: Settings) -> None:
    """Raise InspireError for a policy that reasons and a dataset without labels, before LeRobot loads.

    reasons: whether it does where the settings do not say so.
    """
    roots = [word.partition("=")[2] for word in arguments if word.startswith("--dataset.root=")]
    if roots and settings.get(_REASONS, reasons):
        read_labels(LeRobotFiles.open(roots[-1]).root)


def _check_family(backbone: Any) -> None:
    """Raise InspireError for a backbone that is never trained from random weights."""
    if backbone == "nano" or backbone not in ACTION_HEADS:  # its configuration tells an unknown one
        return
    out = f"runs/{backbone}"
    train = f"--from {out}"
    if backbone in RECIPES:
        train = f"--recipe {backbone} … -- --policy.pretrained_path={out}"
    raise InspireError(
        f"The family {backbone} starts from published weights, and no checkpoint of it is given. Convert them once: "
        f"`inspire convert --from {backbone} WEIGHTS --to {out}`. Then: `inspire train {train}`."
    )


def _policy_of(recipe: str) -> Settings:
    """The policy's settings in a recipe. Raises InspireError where there is none of its name."""
    return _flat(yaml.safe_load(recipe_file(recipe).read_text(encoding="utf-8"))["policy"])


_OF_FILES = ("path", "pretrained_path", "config_path", "root", "repo_id", "output_dir")
"""Last parts of the options that name files or datasets: "007" is no number there."""


def _options(words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Name and value of each option. Values are YAML, names of files text."""
    for name, text in _texts(words):
        is_file = name.rpartition(".")[2] in _OF_FILES and text != "null"
        yield name, text if is_file else _value(text)


def _texts(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and text of each option, written `--name=value` or `--name value`."""
    for word, after in pairwise([*words, "--"]):
        if word.startswith("--"):
            name, given, text = word[2:].partition("=")
            yield name, text if given else "true" if after.startswith("--") else after


def _value(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _number(value: Any) -> float | None:
    """A value of the command line as a number, where it is one. YAML reads 1e-4 as a text."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _setting(settings: Any, name: str) -> Any:
    """The setting of a dotted name; None below one that is not set. Raises KeyError where there is none of its name."""
    for part in name.split("."):
        if settings is None:
            return None
        if not isinstance(settings, Mapping):
            raise KeyError(name)
        settings = settings[part]
    return settings


def _same(here: Any, there: Any) -> bool:
    """Whether a value of the command line is the checkpoint's."""
    return bool(here == there or (isinstance(there, float) and _number(here) == there))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Settings:
    flat: Settings = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)
