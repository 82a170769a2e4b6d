"""The benchmarks by the names of their suites. A worker process makes its benchmark from the returned factory.

A new benchmark is an object with `suites`, `tasks` and `make` (evaluation/protocols.py) and one entry of BENCHMARKS
and of _CLASSES.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inspire_vla.errors import InspireError, counted, did_you_mean
from inspire_vla.evaluation import Benchmark, Factory, PolicyShapes

DEFAULT = "tabletop"
"""The benchmark of suite names without a known prefix, among them the groups `seen`, `unseen` and `validation`."""


@dataclass(frozen=True)
class Selection:
    """What a policy is evaluated on.

    factory: makes the benchmark.
    slots: the most environments that one process may hold; None for no limit.
    notes: what a run records about the benchmark.
    played: what a run records of `Options` beside the policy; only a call with the same resumes it.
    """

    factory: Factory
    suites: tuple[str, ...]
    slots: int | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    played: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """What a run chooses about its benchmark.

    layout_randomness: tabletop only; see `TabletopBenchmark`.
    mapping: LIBERO only; file {instruction: {mention: name}} that overrules the grounding of mentions.
    render: LIBERO only; `full` or `fast`, see libero/rendering.py.
    """

    layout_randomness: float = 0.0
    mapping: str | None = None
    render: str = "full"


def select(suites: Sequence[str], policy: PolicyShapes, options: Options = Options()) -> Selection:
    """Select the benchmark that the suites belong to.

    Args:
        suites: names of suites of one benchmark, or of its groups, such as "seen".
        policy: `policies.inputs` or `policies.describe`; its cameras and image size are drawn.

    Raises:
        InspireError: the suites belong to two benchmarks, the benchmark is not installed, or it cannot draw what the
            policy takes.
    """
    check_inputs(policy)
    return _select(suites, {"cameras": tuple(policy["cameras"]), "image_size": policy["image_size"]}, options)


def check_suites(suites: Sequence[str], options: Options = Options()) -> tuple[tuple[str, ...], Benchmark]:
    """Return the suites, without names of groups, and their benchmark. The policy may not be there yet.

    Raises InspireError as `select` does, and for suites that no benchmark has.
    """
    selected = _select(suites, {}, options)
    benchmark: Benchmark = selected.factory()
    for suite in selected.suites:
        benchmark.tasks(suite)
    return selected.suites, benchmark


def _select(suites: Sequence[str], images: dict[str, Any], options: Options) -> Selection:
    """images: `cameras` and `image_size` of the policy; empty for those that the benchmark has by default."""
    names = {name: benchmark_of(name) for name in suites}
    kinds = sorted(set(names.values()))
    if len(kinds) != 1:
        raise InspireError(f"One run is of one benchmark; the suites {list(names)} belong to {kinds}.")
    return BENCHMARKS[kinds[0]](tuple(names), images, options)


SIMULATED_CAMERAS = ("image", "image2")
SIMULATED_STATE, SIMULATED_ACTION = 8, 7
"""Both simulators have these cameras, a state of 8 numbers and an action of 7."""


def check_inputs(policy: PolicyShapes) -> None:
    """Check that a simulator can draw what a policy takes. Nothing heavy is imported for this.

    policy: `policies.inputs` or `policies.describe`.

    Raises:
        InspireError: other cameras, images that are not square, or another robot; says what can be done instead.
    """
    lacking = []
    if unknown := [camera for camera in policy["cameras"] if camera not in SIMULATED_CAMERAS]:
        lacking.append(f"no camera {', '.join(map(repr, unknown))} (possible: {list(SIMULATED_CAMERAS)})")
    if policy["image_size"] is None:
        lacking.append(f"square images of one size only, not {policy['image_sizes']}")
    if (state := policy.get("state_dim", 0)) not in (0, SIMULATED_STATE):
        lacking.append(f"{counted(SIMULATED_STATE, 'number')} of state, not {state}")
    if (action := policy.get("action_dim", SIMULATED_ACTION)) != SIMULATED_ACTION:
        lacking.append(f"{counted(SIMULATED_ACTION, 'number')} of action, not {action}")
    if lacking:
        raise InspireError(
            f"The simulators here cannot play this policy: they have {'; '.join(lacking)}.\n"
            "Possible instead:\n"
            "  inspire evaluate --policy … --dataset DATASET            answers and actions against recorded episodes\n"
            "  inspire steer --policy … --dataset DATASET --episode 0   watch and override it on recorded frames\n"
            "  inspire serve --policy …                                 run it on the robot"
        )


def benchmark_of(suite: str) -> str:
    """Return the name of the benchmark that a suite belongs to: the first part of the suite's name."""
    prefix = suite.partition("_")[0]
    return prefix if prefix in BENCHMARKS else DEFAULT


def all_benchmarks() -> dict[str, Benchmark]:
    """Return each benchmark by the first part of its suites' names, also one that is not installed."""
    return {name: Factory(target)() for name, target in _CLASSES.items()}


def find_suites(names: Sequence[str], benchmarks: Mapping[str, Benchmark]) -> dict[str, Benchmark]:
    """Return suite → its benchmark; groups such as "seen" stand for their suites. Raises InspireError if unknown."""
    owners = {suite: benchmark for benchmark in benchmarks.values() for suite in benchmark.suites()}
    groups = {
        suite: group for one in benchmarks.values() for suite, group in getattr(one, "groups", {}).items()
    }
    suites = expand(names, groups)
    for suite in suites:
        if suite not in owners:
            raise InspireError(f"Unknown suite {suite!r}.{did_you_mean(suite, [*owners, *groups.values()])}")
    return {suite: owners[suite] for suite in suites}


def unsupported_by_expert(suite: str) -> dict[str, str] | None:
    """Return {task: why} of the tasks that the scripted expert cannot do; None where it plays none of the suite.

    Raises LiberoMissing where LIBERO is not installed.
    """
    if benchmark_of(suite) != "libero":
        return {}
    from inspire_vla.libero.collection import supported_tasks
    from inspire_vla.libero.tasks import SPLIT_SUITES, SUITES

    return supported_tasks(suite, None)[1] if suite in (*SUITES, *SPLIT_SUITES) else None


def rendering_note(suites: Sequence[str], render: str, trained_with: Iterable[str | None]) -> str | None:
    """What to say where LIBERO's images are drawn in another way than those that a policy was trained on.

    trained_with: of each dataset, `full`, `fast` or None (not known).
    """
    known = {one for one in trained_with if one is not None}
    if not known or render in known or any(benchmark_of(suite) != "libero" for suite in suites):
        return None
    other = known.pop()
    return (
        f"note: the policy was trained on images drawn with --render {other}, and this run draws them with --render "
        f"{render}. Its success may differ for that alone; --render {other} draws what it knows."
    )


def expand(names: Sequence[str], groups: Mapping[str, str]) -> tuple[str, ...]:
    """Replace the names of groups by the suites in them. Other names stay.

    groups: suite → its group, such as "seen".
    """
    suites: list[str] = []
    for name in names:
        suites += [suite for suite, group in groups.items() if group == name] or [name]
    return tuple(dict.fromkeys(suites))


def _tabletop(suites: tuple[str, ...], images: dict[str, Any], options: Options) -> Selection:
    if options.render != "full":
        raise InspireError("--render is for LIBERO: the tabletop has one way to draw its images.")
    if options.mapping is not None:
        raise InspireError("--mapping is for LIBERO: the tabletop knows which object a mention refers to.")
    from inspire_vla.tabletop.benchmark import TabletopBenchmark

    factory = Factory(_CLASSES["tabletop"], {**images, "layout_randomness": options.layout_randomness})
    played = {"layout_randomness": options.layout_randomness}
    return Selection(factory, expand(suites, TabletopBenchmark.groups), played=played)


def _libero(suites: tuple[str, ...], images: dict[str, Any], options: Options) -> Selection:
    if options.layout_randomness:
        raise InspireError(
            "--layout-randomness is for the tabletop: LIBERO's initial states fix the layouts."
        )
    from inspire_vla.libero.benchmark import MAX_STEPS, LiberoBenchmark
    from inspire_vla.libero.grounding import check_mapping, read_mapping
    from inspire_vla.libero.installation import require_libero
    from inspire_vla.libero.tasks import PLUS_SUITES, PRO_SUITES, base_suite

    require_libero()
    table = None if options.mapping is None else read_mapping(options.mapping)
    if table is not None:
        changed = [suite for suite in suites if suite in {*PLUS_SUITES, *PRO_SUITES}]
        benchmark = LiberoBenchmark()
        check_mapping(table, {i for suite in changed for i in benchmark.instructions(suite).values()})
    known = [suite for suite in suites if suite in LiberoBenchmark.initial_states]
    notes = {
        "step_limits": {suite: MAX_STEPS[base_suite(suite)] for suite in known},
        "step_limits_from": "OpenVLA, MiniVLA, InSpire and pi0-FAST as published",
        "initial_states": {suite: LiberoBenchmark.initial_states[suite] for suite in known},
        "initial_state_of_an_episode": "number seed modulo their number",
    }
    arguments = {**images, "mapping": table, "render": options.render}
    factory = Factory(_CLASSES["libero"], arguments)
    return Selection(factory, suites, slots=1, notes={"libero": notes})  # one rendering context per process


_CLASSES = {
    "tabletop": "inspire_vla.tabletop.benchmark:TabletopBenchmark",
    "libero": "inspire_vla.libero.benchmark:LiberoBenchmark",
}
BENCHMARKS: dict[str, Callable[[tuple[str, ...], dict[str, Any], Options], Selection]] = {
    "tabletop": _tabletop,
    "libero": _libero,
}
"""First part of a suite's name → the function that selects its benchmark."""
