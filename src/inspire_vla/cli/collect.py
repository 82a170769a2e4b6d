"""`inspire collect`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from inspire_vla.cli.options import Names, Positive, PositiveOrNone
from inspire_vla.errors import InspireError, possible
from inspire_vla.worker_processes import usable_cores


@dataclass(kw_only=True)
class Arguments:
    """Collect labelled demonstrations of the scripted expert as a LeRobot dataset."""

    episodes: Positive
    """Episodes over all tasks, distributed round-robin."""
    out: Path
    """Folder of the dataset, created."""
    env: Literal["tabletop", "libero"] | None = None
    """Environment; by default what the suite's name begins with."""
    suite: str | None = None
    """Suite, such as libero_object; by default tabletop_seen."""
    task: tuple[str, ...] = ()
    """LIBERO: only these tasks, by the names of their files; `list` shows them."""
    seed: int = 0
    """Seed of the demonstrations."""
    processes: Positive = field(default_factory=usable_cores)
    """Processes; by default one per core."""
    image_size: PositiveOrNone = None
    """Side of the images in pixels; by default 96, LIBERO: 128."""
    wrist: bool = False
    """Also record the wrist camera."""
    modes: Names = ("direction",)
    """Reasoning modes to label: direction, direction_3d, distance, distance_fine, position."""
    frame: str = "robot"
    """robot, official_libero, or the words at +x,+y,+z, as front,left,up."""
    noise: float | None = None
    """Noise of the executed actions, in units of the action."""
    perturbations: float | None = None
    """Probability per step that a perturbation of the end effector or gripper begins."""
    render: Literal["full", "fast"] | None = None
    """LIBERO: fast draws simplified meshes without multisampling and reflections, for computers without a GPU."""
    layout_randomness: float = 0.0
    """Tabletop: how much the layouts vary, from 0 to 1."""
    restart: bool = False
    """Remove what an interrupted call left."""


def check_planned(options: Arguments) -> None:
    """Raise InspireError for what a call would refuse before it begins."""
    from inspire_vla import benchmarks
    from inspire_vla.labels.collected_dataset import check_numbers
    from inspire_vla.spatial import canonical_answers, get_frame

    env, suite = _environment(options)
    for mode in options.modes:
        canonical_answers(mode)  # raises for an unknown one
    get_frame(options.frame)
    if env == "libero":
        from inspire_vla.libero.collection import supported_tasks
        from inspire_vla.libero.dataset import LARGEST_IMAGE
        from inspire_vla.libero.rendering import check_rendering

        supported_tasks(suite, options.task or None)
        check_rendering(options.render or "full")
    else:
        from inspire_vla.tabletop.env import LARGEST_IMAGE

        benchmarks.check_suites([suite])
    given = {name: getattr(options, name) for name in ("noise", "perturbations", "layout_randomness")}
    check_numbers(
        image_size=options.image_size,
        largest_image=LARGEST_IMAGE,
        probabilities={name: value for name, value in given.items() if value is not None},
        seed=options.seed,
    )


def _environment(options: Arguments) -> tuple[str, str]:
    """The environment and the suite. Raises InspireError for options of the other environment."""
    if options.env == "libero" and options.suite is None:
        from inspire_vla.libero.tasks import SPLIT_SUITES, SUITES

        raise InspireError(f"--env libero needs a --suite.{possible((*SUITES, *SPLIT_SUITES))}")
    suite = options.suite or "tabletop_seen"
    env = options.env or ("libero" if suite.startswith("libero_") else "tabletop")
    if env == "libero" and options.layout_randomness:
        raise InspireError("--layout-randomness is for the tabletop: LIBERO's task files fix the layouts.")
    if env == "tabletop" and options.render is not None:
        raise InspireError("--render is for LIBERO: the tabletop has one way to draw its images.")
    if env == "tabletop" and options.task:
        raise InspireError("--task is for LIBERO: a suite of the tabletop is collected as a whole.")
    return env, suite


def run(options: Arguments) -> None:
    env, suite = _environment(options)
    common: dict[str, Any] = {
        "seed": options.seed,
        "processes": options.processes,
        "modes": options.modes,
        "frame": options.frame,
        "resume": not options.restart,
    }
    if options.noise is not None:
        common["noise"] = options.noise
    if options.perturbations is not None:
        common["perturbations"] = options.perturbations
    if options.image_size is not None:
        common["image_size"] = options.image_size
    print((_libero if env == "libero" else _tabletop)(options, suite, common))


def _libero(options: Arguments, suite: str, common: dict[str, Any]) -> object:
    from inspire_vla.libero.collection import collect

    if options.render is not None:
        common["render"] = options.render
    cameras = ("image", "image2") if options.wrist else ("image",)
    return collect(
        suite, options.episodes, options.out, tasks=options.task or None, cameras=cameras, **common
    )


def _tabletop(options: Arguments, suite: str, common: dict[str, Any]) -> object:
    from inspire_vla.tabletop.collection import collect

    return collect(
        suite,
        options.episodes,
        options.out,
        wrist=options.wrist,
        layout_randomness=options.layout_randomness,
        **common,
    )
