"""Options that several commands share, and types of options. A wrong value ends the command with exit code 2."""

import contextlib
import functools
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from tyro.conf import arg
from tyro.constructors import PrimitiveConstructorSpec

from inspire_vla.errors import InspireError

if TYPE_CHECKING:
    from inspire_vla.evaluation import Factory, PolicyDescription
    from inspire_vla.instruction import Overrides


def _option(
    metavar: str,
    read: Callable[[list[str]], Any],
    show: Callable[[Any], Sequence[str]],
    many: bool = False,
    optional: bool = False,
) -> PrimitiveConstructorSpec[Any]:
    """How tyro reads an option from words and shows its default. `read` raises ValueError for wrong words.

    Args:
        many: whether it takes several words, or none.
        optional: whether None is a default. Of a union with None tyro would show its inside where words are wrong.
    """
    return PrimitiveConstructorSpec(
        nargs="*" if many else 1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: optional or value is not None,
        str_from_instance=lambda value: list(show(value)),
    )


def _integer(low: int, high: int | None = None) -> Callable[[list[str]], int]:
    def read(words: list[str]) -> int:
        number = int(words[0])
        if number < low or (high is not None and number > high):
            possible = f"at least {low}" if high is None else f"from {low} to {high}"
            raise ValueError(f"must be {possible}, found {words[0]}")
        return number

    return read


def _names(words: list[str]) -> tuple[str, ...]:
    names = tuple(name for word in words for name in word.split(",") if name)
    if not names:
        raise ValueError("needs at least one name")
    return names


def _shard(words: list[str]) -> tuple[int, int]:
    first, slash, count = words[0].partition("/")
    if not slash or not (first.isdecimal() and count.isdecimal() and int(first) < int(count)):
        raise ValueError(f"is written I/N with 0 ≤ I < N, found {words[0]!r}")
    return int(first), int(count)


def _episodes(words: list[str]) -> str:
    if len(words) == 1:
        return words[0]
    numbers = [word.strip(",") for word in words]
    right = ",".join(numbers) if words and all(map(str.isdecimal, numbers)) else "40:50 or 3,7"
    raise ValueError(f"takes one word: write {right}; found {' '.join(words) or 'none'}")


def _camera_keys(words: list[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for word, (camera, _, key) in zip(words, pairs, strict=True):
        if not (camera and key):
            raise ValueError(f"is written CAMERA=KEY, found {word!r}")
    return {camera: key for camera, _, key in pairs}


Positive = Annotated[int, _option("N", _integer(1), lambda value: [str(value)])]
"""An integer of at least 1."""
PositiveOrNone = Annotated[int | None, _option("N", _integer(1), lambda value: [str(value)], optional=True)]
"""An integer of at least 1; None by default."""
NotNegative = Annotated[int, _option("N", _integer(0), lambda value: [str(value)])]
"""An integer of at least 0."""
SeedOrNone = Annotated[
    int | None, _option("N", _integer(0, 2**32 - 1), lambda value: [str(value)], optional=True)
]
"""A seed, as NumPy's generators take it; None by default."""
Port = Annotated[int, _option("PORT", _integer(0, 65535), lambda value: [str(value)])]
"""A port to listen on; 0 takes a free one."""
Shard = Annotated[tuple[int, int], _option("I/N", _shard, lambda value: [f"{value[0]}/{value[1]}"])]
"""Part I of N, as "2/8"."""
Episodes = Annotated[str, _option("FROM:TO", _episodes, lambda value: [value], many=True)]
"""Which episodes, as `labels.episode_selection.parse_episodes` reads them: "40:50", "40:" or "3,7"."""
EpisodesOrCount = Annotated[
    str | None, _option("N|FROM:TO", _episodes, lambda value: [str(value)], many=True, optional=True)
]
"""`Episodes`, or a number of them; None by default."""
Names = Annotated[tuple[str, ...], _option("NAME …", _names, lambda value: value, many=True)]
"""One or more names, separated by blanks or commas."""
CameraKeys = Annotated[
    dict[str, str],
    _option("CAMERA=KEY …", _camera_keys, lambda value: [f"{c}={k}" for c, k in value.items()], many=True),
]
"""Camera → key of its image, in a client's message or in a dataset."""


@dataclass(kw_only=True)
class PolicyOptions:
    """Options of the commands that run a policy of the user's choice, see `chosen_policy`."""

    policy: str | None = None
    """Checkpoint: a folder, an included one (nano_base, nano_inspire), or user/name on the hub."""
    remote: Annotated[str | None, arg(metavar="URL")] = None
    """A policy server, such as ws://127.0.0.1:8000, in place of --policy."""
    api_key_env: Annotated[str | None, arg(metavar="NAME")] = None
    """Environment variable that holds the server's key."""
    camera: CameraKeys = field(default_factory=dict)
    """With --dataset: the dataset's camera for a camera of the policy, where their names differ."""
    device: str | None = None
    """cpu, cuda, …; by default the checkpoint's."""


def holds_out(doing: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Decorate the `run` of a command that writes into --out: it holds that folder, or file, alone.

    Commands whose library function holds it (collect, label, evaluate) need no decorator.
    """

    def decorate(run: Callable[[Any], None]) -> Callable[[Any], None]:
        @functools.wraps(run)
        def held(options: Any) -> None:
            from inspire_vla.files import folder_lock

            with contextlib.nullcontext() if options.out is None else folder_lock(options.out, doing):
                run(options)

        return held

    return decorate


def given_options(options: Any) -> dict[str, str]:
    """Return the options that differ from their defaults, those of groups too: name of the field → flag."""
    given: dict[str, str] = {}
    hints = get_type_hints(type(options), include_extras=True)
    for one in fields(options):
        value = getattr(options, one.name)
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if is_dataclass(value):
            given |= given_options(value)
        elif default is not MISSING and value != default:
            renamed = [getattr(mark, "name", None) for mark in getattr(hints[one.name], "__metadata__", ())]
            given[one.name] = "--" + (next(filter(None, renamed), None) or one.name).replace("_", "-")
    return given


def refuse_unused(options: Any, names: Collection[str], who: str, instead: str = "leave that out.") -> None:
    """Raise InspireError if an option of these fields was given: `who`, which begins the message, would ignore it."""
    if unused := [flag for name, flag in given_options(options).items() if name in names]:
        raise InspireError(f"{who} does not use {', '.join(unused)}; {instead}")


def chosen_policy(
    options: PolicyOptions,
    *,
    default: str | None = None,
    name: str | None = None,
    mentions: "Overrides | None" = None,
    simulated: bool = True,
    patient: bool = False,
) -> "tuple[PolicyDescription, Factory]":
    """Return the description of the policy of --policy or --remote, and the factory of its agent.

    Args:
        default: the checkpoint without either option; None: one must be given.
        name: in tables; None: the policy's own.
        mentions: mention overrides besides those that the policy holds.
        simulated: refuse a policy that no simulator here can play, before anything heavy is loaded.
        patient: wait for a server that is away in the middle of the work.
    """
    from inspire_vla import benchmarks, policies

    if options.remote is not None:
        if options.policy is not None or options.device is not None:
            raise InspireError(
                "With --remote, policy and device are the server's; leave out --policy and --device."
            )
        print(f"Connecting to {options.remote} …", file=sys.stderr)
        described, factory = policies.remote(
            options.remote, options.api_key_env, name, mentions, patient=patient
        )
        policies.check_mentions(described, mentions)
        if simulated:
            benchmarks.check_inputs(described)
        return described, factory
    refuse_unused(options, ["api_key_env"], "A checkpoint of --policy")
    checkpoint = options.policy or default
    if checkpoint is None:
        raise InspireError("Which policy? Give --policy CHECKPOINT or --remote ws://HOST:PORT.")
    if simulated:
        benchmarks.check_inputs(policies.inputs(checkpoint))
    described = policies.describe(checkpoint, name)
    policies.check_mentions(described, mentions)
    return described, policies.agent_factory(checkpoint, options.device, mentions)


def mention_overrides(path: Path | None) -> "Overrides | None":
    """Read the file of --mentions; None without one. Raises InspireError for a file of another form."""
    if path is None:
        return None
    from inspire_vla.instruction import read_overrides

    return read_overrides(path)
