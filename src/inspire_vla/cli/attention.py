"""inspire attention: how much of a policy's attention lies on the objects that the instruction mentions."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError


def attention_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--policy", nargs="+", required=True, help="checkpoints, such as nano_base nano_inspire")
    sub.add_argument(
        "--suite", nargs="+", default=["seen", "unseen"], help="suites, or seen, unseen (default: both)"
    )
    sub.add_argument("--episodes", type=int, default=3, help="initial states a task, default: %(default)s")
    sub.add_argument("--out", metavar="JSON", help="also write every share")
    sub.add_argument("--device", help="cpu, cuda, …; default: the checkpoints'")


def attention(options: argparse.Namespace) -> None:
    """Measure over the suites' initial states and print the medians."""
    from rich.console import Console
    from rich.table import Table

    from inspire_vla.cli import policies
    from inspire_vla.reports.attention_share import summary

    if options.episodes < 1:
        raise InspireError(f"--episodes must be at least 1, found {options.episodes}.")
    found: dict[str, dict[str, list[Any]]] = {}
    for checkpoint in options.policy:
        policy = policies.describe(checkpoint)
        name = f"{policy['name']} ({policy['checkpoint']})"
        rows = found.setdefault(name, {})
        agent = policies.agent_for(checkpoint, options.device)()
        for doing, share in _shares(agent, policy, options.suite, options.episodes):
            rows.setdefault(doing, []).append(share)
    table = Table(title="Attention on the objects mentioned, % of the picture's (median, quartiles)")
    for head in ("policy", "while", "n", "share", "by chance", "times chance"):
        table.add_column(head, justify="left" if head in ("policy", "while") else "right")
    summaries = {name: {doing: summary(s) for doing, s in rows.items()} for name, rows in found.items()}
    for name, of in summaries.items():
        for doing, s in of.items():
            if s["n"]:
                share = f"{s['share_50']:.1%} [{s['share_25']:.1%}–{s['share_75']:.1%}]"
                table.add_row(
                    name, doing, str(s["n"]), share, f"{s['chance_50']:.1%}", f"{s['ratio_50']:.1f}"
                )
    Console().print(table)
    if options.out:
        every = {
            name: {doing: [vars(s) for s in rows] for doing, rows in its.items()}
            for name, its in found.items()
        }
        data = {"suites": options.suite, "episodes": options.episodes, "summary": summaries, "shares": every}
        Path(options.out).write_text(json.dumps(data, indent=1), encoding="utf-8")
        print(f"Written: {options.out}")


def _shares(
    agent: Any, policy: dict[str, Any], suites: list[str], episodes: int
) -> Iterator[tuple[str, Any]]:
    """(answering or acting, share of all mentioned objects together) for every initial state."""
    import numpy as np

    from inspire_vla.cli import benchmarks
    from inspire_vla.evaluation import FIRST_SEED
    from inspire_vla.lerobot_plugin.attention import attention_over_picture
    from inspire_vla.reports.attention_share import attention_share
    from inspire_vla.tabletop.segmentation import target_masks

    size = policy["image_size"]
    benchmark = benchmarks.tabletop_for(policy)()
    for suite in benchmarks.expand(suites, benchmark.suites()):
        for task in benchmark.tasks(suite):
            env = benchmark.make(suite, task)
            for episode in range(episodes):
                observation, info = env.reset(seed=FIRST_SEED + episode)
                mask = np.asarray(target_masks(env, "image", size, size).any(axis=0))
                for doing, weights in attention_over_picture(agent, observation, info["task"]).items():
                    yield doing, attention_share(weights, mask)
            env.close()
