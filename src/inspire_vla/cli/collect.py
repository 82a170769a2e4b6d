"""`inspire collect`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from inspire_vla.cli.options import Names, Positive, PositiveOrNone
from inspire_vla.errors import InspireError
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
    suite: str = "tabletop_seen"
    """Suite, such as tabletop_seen or libero_object."""
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


def run(options: Arguments) -> None:
    env = options.env or ("libero" if options.suite.startswith("libero_") else "tabletop")
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
    print((_libero if env == "libero" else _tabletop)(options, common))


def _libero(options: Arguments, common: dict[str, Any]) -> object:
    if options.layout_randomness:
        raise InspireError("--layout-randomness is for the tabletop: LIBERO's task files fix the layouts.")
    from inspire_vla.libero.collection import collect

    if options.render is not None:
        common["render"] = options.render
    cameras = ("image", "image2") if options.wrist else ("image",)
    return collect(
        options.suite, options.episodes, options.out, tasks=options.task or None, cameras=cameras, **common
    )


def _tabletop(options: Arguments, common: dict[str, Any]) -> object:
    if options.render is not None:
        raise InspireError("--render is for LIBERO: the tabletop has one way to draw its images.")
    if options.task:
        raise InspireError("--task is for LIBERO: a suite of the tabletop is collected as a whole.")
    from inspire_vla.tabletop.collection import collect

    return collect(
        options.suite,
        options.episodes,
        options.out,
        wrist=options.wrist,
        layout_randomness=options.layout_randomness,
        **common,
    )
