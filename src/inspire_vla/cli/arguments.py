"""The arguments of `inspire`. Nothing heavy is imported here, so that `--help` answers at once."""

import argparse
from collections.abc import Callable

from inspire_vla import __version__
from inspire_vla.cli import commands, label
from inspire_vla.cli.attention import attention, attention_arguments
from inspire_vla.cli.collect import collect, collect_arguments
from inspire_vla.cli.convert import convert, convert_arguments
from inspire_vla.cli.number_arguments import positive, shard
from inspire_vla.cli.pretrain import pretrain, pretrain_arguments
from inspire_vla.cli.reproduce import reproduce, reproduce_arguments
from inspire_vla.cli.serve import serve, serve_arguments
from inspire_vla.cli.steer import steer, steer_arguments
from inspire_vla.cli.view import view, view_arguments
from inspire_vla.jobs import usable_cores


def parser() -> argparse.ArgumentParser:
    """Return the parser; `parse_args().run(options)` runs the subcommand."""
    root = argparse.ArgumentParser(
        prog="inspire",
        description="Vision-language-action models that say where things are before they act.",
    )
    root.add_argument("--version", action="version", version=f"inspire_vla {__version__}")
    commands_of_root = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int | None], text: str
    ) -> argparse.ArgumentParser:
        sub = commands_of_root.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    _demo(
        command(
            "demo", commands.demo, "the whole road on the nano model: collect, train, act, compare, a page"
        )
    )
    collect_arguments(
        command("collect", collect, "let the scripted expert demonstrate; write a labelled dataset")
    )
    label.add_label_arguments(
        command("label", label.label, "label any LeRobot dataset with where the objects are")
    )
    label.add_labels_arguments(
        command("labels", label.labels, "show the labels of a dataset: words per task, timelines")
    )
    pretrain_arguments(
        command("pretrain", pretrain, "teach nano what things are called and where they are in an image")
    )
    _train(
        command(
            "train", commands.train, "train a policy with LeRobot (arguments after -- go to lerobot-train)"
        )
    )
    convert_arguments(
        command(
            "convert", convert, "make a checkpoint of published weights: OpenVLA, MiniVLA, pi0-FAST, others"
        )
    )
    _evaluate(command("evaluate", commands.evaluate, "let a policy act; resumable, writes a run"))
    _compare(
        command("compare", commands.compare, "hold runs against each other, paired by (task, initial state)")
    )
    _report(command("report", commands.report, "one self-contained HTML page from runs"))
    reproduce_arguments(
        command(
            "reproduce",
            reproduce,
            "the experiment of docs/appendix/protocol.md, from images to the results page",
        )
    )
    serve_arguments(command("serve", serve, "serve a policy to robots over openpi's web-socket protocol"))
    steer_arguments(command("steer", steer, "watch a policy in a page, and overrule what it says"))
    attention_arguments(command("attention", attention, "where base and InSpire look, in images and numbers"))
    view_arguments(command("view", view, "an episode in rerun, or a run's episodes as timelines"))
    command("doctor", commands.doctor, "check this installation: versions, rendering, plug-in, LIBERO")
    return root


def _train(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--dataset", help="folder of a labelled LeRobot dataset (not needed with --resume)")
    sub.add_argument("--out", required=True, help="folder for checkpoints")
    sub.add_argument("--recipe", help=f"named configuration, default: {commands.RECIPE}")
    sub.add_argument(
        "--reasoning",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="InSpire, or --no-reasoning: base",
    )
    sub.add_argument("--steps", type=positive)
    sub.add_argument("--batch-size", type=positive)
    sub.add_argument("--seed", type=int)
    sub.add_argument(
        "--from", dest="start", metavar="CHECKPOINT", help="start from this checkpoint's weights"
    )
    sub.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    sub.add_argument(
        "more", nargs="*", metavar="-- ARGUMENTS", help="for lerobot-train, such as --policy.vq.levels=3"
    )


def _evaluate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--policy", help="checkpoint folder, or a shipped one: nano_base, nano_inspire")
    sub.add_argument("--remote", metavar="URL", help="a policy server, such as ws://127.0.0.1:8000, instead")
    sub.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds the server's key")
    sub.add_argument(
        "--suite",
        nargs="+",
        default=["seen", "unseen"],
        help="suites, with commas or blanks between; or seen, unseen (default: both); also libero_90,libero_goal, …; "
        "libero_plus_spatial, …",
    )
    sub.add_argument("--task", nargs="+", help="only these tasks")
    sub.add_argument("--episodes", type=positive, default=10, help="per task, default: %(default)s")
    sub.add_argument("--out", required=True, help="folder of the run")
    sub.add_argument("--name", help="of the policy in tables; default: InSpire or base")
    sub.add_argument("--first-seed", type=int, help="episode e starts from seed FIRST+e")
    sub.add_argument(
        "--control",
        default="none",
        help="overrides of answers: none (default), truth, shuffled (the truth of another object), random",
    )
    sub.add_argument("--n-action-steps", type=positive, help="actions executed of each chunk")
    sub.add_argument("--max-steps", type=positive, help="control steps an episode, default: the task's own")
    sub.add_argument("--layout-randomness", type=float, default=0.0, metavar="0..1")
    sub.add_argument(
        "--videos", type=int, default=0, metavar="N", help="film the first N episodes of each task"
    )
    sub.add_argument(
        "--shard", type=shard, default=(0, 1), metavar="I/N", help="play every N-th episode from the I-th"
    )
    sub.add_argument("--workers", type=positive, default=usable_cores(), help="processes, default: all cores")
    sub.add_argument("--slots", type=positive, default=4, help="environments a process, default: %(default)s")
    sub.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="play on a Ray cluster: auto, HOST:PORT, ray://HOST:PORT; local starts one",
    )
    sub.add_argument(
        "--ray-gpus", type=float, default=0.0, help="part of a GPU for each worker of the cluster"
    )
    sub.add_argument("--device", help="cpu, cuda, …; default: the checkpoint's")
    sub.add_argument(
        "--mapping", metavar="JSON", help="LIBERO: {instruction: {mention: name}}, overrules grounding"
    )


def _compare(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="folders of runs; the others are held against the first",
    )
    sub.add_argument("--out", metavar="JSON", help="also write comparison.json")
    sub.add_argument("--tasks", action="store_true", help="show every task")


def _report(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs, the base model's first")
    sub.add_argument("--out", default="report.html", metavar="HTML", help="default: %(default)s")
    sub.add_argument("--title", default="InSpire and its base model")
    sub.add_argument("--max-videos", type=int, default=12)
    sub.add_argument("--attention", metavar="FOLDER", help="what `inspire attention --out` has written")


def _demo(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", default="runs/demo", help="default: %(default)s")
    sub.add_argument("--base", default="nano_base", help="checkpoint, default: %(default)s")
    sub.add_argument("--inspire", default="nano_inspire", help="checkpoint, default: %(default)s")
    sub.add_argument("--episodes", type=positive, default=1, help="per task and policy, default: %(default)s")
    sub.add_argument(
        "--suite", nargs="+", default=["seen", "unseen"], help="suites, or seen, unseen (default: both)"
    )
    sub.add_argument("--workers", type=positive, default=usable_cores(), help="processes, default: all cores")
    sub.add_argument("--demonstrations", type=positive, default=4, help="to collect, default: %(default)s")
    sub.add_argument("--steps", type=positive, default=10, help="training steps, default: %(default)s")
