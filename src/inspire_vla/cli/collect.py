"""`inspire collect`: the scripted expert of the tabletop, or of LIBERO."""

import argparse

from inspire_vla.cli.number_arguments import positive
from inspire_vla.errors import InspireError
from inspire_vla.jobs import usable_cores

ENVIRONMENTS = ("tabletop", "libero")


def collect_arguments(sub: argparse.ArgumentParser) -> None:
    """Arguments of `inspire collect`."""
    sub.add_argument("--env", choices=ENVIRONMENTS, help="default: what the suite's name begins with")
    sub.add_argument("--suite", default="tabletop_seen", help="default: %(default)s; libero_object, …")
    sub.add_argument("--task", nargs="+", help="LIBERO: only these, by their files' names")
    sub.add_argument("--episodes", type=positive, required=True, help="over all tasks, dealt round-robin")
    sub.add_argument("--out", required=True, help="folder of the dataset, to be made")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--processes", type=positive, default=usable_cores(), help="default: all cores")
    sub.add_argument("--image-size", type=positive, metavar="PIXELS", help="default: 96, LIBERO: 128")
    sub.add_argument("--wrist", action="store_true", help="also the wrist camera")
    sub.add_argument("--modes", nargs="+", default=["direction"], help="reasoning modes to label")
    sub.add_argument(
        "--frame",
        default="robot",
        help="robot (default), official_libero, or the words at +x,+y,+z, as front,left,up",
    )
    sub.add_argument("--noise", type=float, help="of the executed action, in units of it")
    sub.add_argument(
        "--perturbations",
        type=float,
        help="tabletop only: chance, a step, that hand or gripper are disturbed for some",
    )
    sub.add_argument("--layout-randomness", type=float, default=0.0, metavar="0..1", help="tabletop only")
    sub.add_argument("--restart", action="store_true", help="throw away what an interrupted call left")


def collect(options: argparse.Namespace) -> None:
    """Collect and print what came out."""
    env = options.env or ("libero" if options.suite.startswith("libero_") else "tabletop")
    if options.task and env != "libero":
        raise InspireError("--task is for LIBERO: a suite of the tabletop is collected as a whole.")
    if options.layout_randomness and env == "libero":
        raise InspireError(
            "--layout-randomness is the tabletop's: LIBERO's task files say where things stand."
        )
    if options.perturbations is not None and env == "libero":
        raise InspireError("--perturbations is the tabletop's: LIBERO's expert has noise alone (--noise).")
    common = {
        "seed": options.seed,
        "processes": options.processes,
        "modes": options.modes,
        "frame": options.frame,
        "resume": not options.restart,
    }
    if options.noise is not None:
        common["noise"] = options.noise
    if options.image_size is not None:
        common["image_size"] = options.image_size
    if env == "libero":
        from inspire_vla.libero.collection import collect as collect_libero

        cameras = ("image", "image2") if options.wrist else ("image",)
        print(
            collect_libero(
                options.suite, options.episodes, options.out, tasks=options.task, cameras=cameras, **common
            )
        )
    else:
        from inspire_vla.tabletop.collection import collect as collect_tabletop

        if options.perturbations is not None:
            common["perturbations"] = options.perturbations
        print(
            collect_tabletop(
                options.suite,
                options.episodes,
                options.out,
                wrist=options.wrist,
                layout_randomness=options.layout_randomness,
                **common,
            )
        )
