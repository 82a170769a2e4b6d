"""What each subcommand does: read arguments, call a room, print what came out."""

import argparse
import json
import os
from pathlib import Path

from inspire_vla.errors import InspireError

RECIPE = "nano_tabletop"
"""Trained where no other is named."""


def train(options: argparse.Namespace) -> None:
    recipe, arguments = train_arguments(options)  # before LeRobot loads, which takes seconds
    from inspire_vla.lerobot_plugin.training import train as train_policy

    train_policy(arguments, recipe=recipe)


def train_arguments(options: argparse.Namespace) -> tuple[str | None, list[str]]:
    """Return the recipe (None when resuming) and the arguments for lerobot-train.

    Raises InspireError for a folder that cannot be written or resumed, or for what a resumed training would ignore.
    """
    out = Path(options.out)
    if options.resume:
        config = _saved_config(out)
        if not config.is_file():
            raise InspireError(f"nothing to resume in {out}: there is no {config.relative_to(out)}.")
        _refuse_another_training(options, config)
        arguments = [f"--config_path={config}", "--resume=true"]
    else:
        if options.dataset is None:
            raise InspireError("--dataset is needed: the folder that `inspire collect` has written.")
        if out.exists():
            raise InspireError(f"{out} exists. Give another --out, or --resume to go on with it.")
        arguments = [f"--dataset.root={options.dataset}", f"--output_dir={out}"]
    for name, value in (("steps", options.steps), ("batch_size", options.batch_size), ("seed", options.seed)):
        if value is not None:
            arguments.append(f"--{name}={value}")
    if options.start is not None:
        from inspire_vla.cli.policies import find

        arguments.append(f"--policy.path={find(options.start)}")
    if options.reasoning is not None:
        arguments.append(f"--policy.reasoning.enabled={str(options.reasoning).lower()}")
    return None if options.resume else options.recipe or RECIPE, [*arguments, *options.more]


def _saved_config(out: Path) -> Path:
    """Where the last checkpoint of a training says what was trained."""
    return out / "checkpoints" / "last" / "pretrained_model" / "train_config.json"


def _refuse_another_training(options: argparse.Namespace, config: Path) -> None:
    if options.recipe is not None:
        raise InspireError("--resume goes on with the checkpoint's own configuration; leave out --recipe.")
    if options.dataset is not None:
        root = (json.loads(config.read_text(encoding="utf-8")).get("dataset") or {}).get("root")
        if root is None or Path(root).resolve() != Path(options.dataset).resolve():
            raise InspireError(
                f"{options.out} is trained on {root}, and --resume goes on with that; found --dataset "
                f"{options.dataset}. Leave it out, or train from this checkpoint into another folder: --from "
                f"{options.out} --out NEW."
            )


def after_interruption(options: argparse.Namespace) -> str:
    """How to go on with a command that was interrupted."""
    if options.command != "train":
        return "What was finished is kept; the same command goes on from there."
    out = Path(options.out)
    if _saved_config(out).is_file():
        return f"`inspire train --out {out} --resume` goes on from the last checkpoint."
    return f"No checkpoint was saved yet{f': remove {out} to begin again' if out.exists() else ''}."


def evaluate(options: argparse.Namespace) -> None:
    from inspire_vla import reports
    from inspire_vla.cli import benchmarks, policies
    from inspire_vla.cli.serve import remote_policy
    from inspire_vla.evaluation import FIRST_SEED, EvaluationPlan, RayCluster
    from inspire_vla.evaluation import compare as compare_runs
    from inspire_vla.evaluation import evaluate as evaluate_policy

    if options.remote is not None:
        policy, agent = remote_policy(options)
    elif options.policy is not None:
        policy = policies.describe(options.policy, options.name)
        agent = policies.agent_for(options.policy, options.device)
    else:
        raise InspireError("Which policy? Give --policy CHECKPOINT or --remote ws://HOST:PORT.")
    chosen = benchmarks.choose(options, policy)
    plan = EvaluationPlan(
        suites=chosen.suites,
        episodes_per_task=options.episodes,
        policy={**policy, "layout_randomness": options.layout_randomness},
        tasks=None if options.task is None else tuple(options.task),
        first_seed=FIRST_SEED if options.first_seed is None else options.first_seed,
        n_action_steps=options.n_action_steps,
        max_steps=options.max_steps,
        control=options.control,
        videos_per_task=options.videos,
        shard=options.shard,
        extra={**chosen.says, "trained_on": policies.trained_on(options.policy)},
    )
    run = evaluate_policy(
        options.out,
        plan,
        benchmark=chosen.factory,
        agent=agent,
        workers=options.workers,
        slots=chosen.slots,
        video_writer=reports.write_episode_video if options.videos else None,
        ray=None if options.ray is None else RayCluster(options.ray, options.ray_gpus),
    )
    reports.print_comparison(compare_runs([run]))
    print(f"Run: {run.path}")


def compare(options: argparse.Namespace) -> None:
    from inspire_vla.evaluation import compare as compare_runs
    from inspire_vla.evaluation import read_run, write_comparison
    from inspire_vla.reports import print_comparison

    comparison = compare_runs([read_run(path) for path in options.runs])
    print_comparison(comparison, tasks=options.tasks)
    if options.out:
        write_comparison(options.out, comparison)
        print(f"Written: {options.out}")


def report(options: argparse.Namespace) -> None:
    from inspire_vla.evaluation import compare as compare_runs
    from inspire_vla.evaluation import read_run
    from inspire_vla.reports import read_attention, write_page

    comparison = compare_runs([read_run(path) for path in options.runs])
    attention = None if options.attention is None else read_attention(options.attention)
    page = write_page(
        options.out, comparison, title=options.title, attention=attention, max_videos=options.max_videos
    )
    print(f"Page: {page}")


def demo(options: argparse.Namespace) -> None:
    from inspire_vla.cli.demo import run_demo

    run_demo(
        Path(options.out),
        base=options.base,
        inspire=options.inspire,
        episodes=options.episodes,
        suites=options.suite,
        workers=options.workers,
        demonstrations=options.demonstrations,
        steps=options.steps,
    )


def doctor(options: argparse.Namespace) -> int:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from inspire_vla.cli.doctor import print_checks

    return print_checks()
