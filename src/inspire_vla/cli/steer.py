"""`inspire steer`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspire_vla.backbones.devices import check_device
from inspire_vla.cli.options import PolicyOptions, Port, chosen_policy
from inspire_vla.errors import InspireError

if TYPE_CHECKING:
    from inspire_vla.evaluation import PolicyDescription

DEFAULT_POLICY = "nano_inspire"
VIEW_PIXELS = 448
"""Side of the image on the page; the policy's own images are smaller."""


@dataclass(kw_only=True)
class Arguments(PolicyOptions):
    """Open a page with the tabletop, or a recorded episode, and a policy whose answers can be overridden."""

    policy: str | None = None
    """Checkpoint: a folder, an included one, or user/name on the hub; by default nano_inspire."""
    dataset: Path | None = None
    """In place of the tabletop: the recorded frames of a LeRobot dataset (a folder, or user/name). They do not follow
    the policy's actions."""
    episode: int = 0
    """With --dataset: the first episode."""
    suite: str | None = None
    """Suite at the start; by default the first."""
    task: str | None = None
    """Task at the start, by default the suite's first; `list` shows the names."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 accepts other machines."""
    port: Port = 8080
    """Port of the page."""
    hz: float | None = None
    """Control steps per second; by default 10, or as recorded."""


def run(options: Arguments) -> None:
    check_device(options.device)
    if options.hz is not None and not options.hz > 0:
        raise InspireError(f"--hz must be positive, found {options.hz}.")
    if options.dataset is None and (options.camera or options.episode):
        raise InspireError("--episode and --camera belong to --dataset.")
    if options.dataset is not None and (options.suite or options.task):
        raise InspireError("--suite and --task are the simulator's; with --dataset give --episode.")
    from inspire_vla.evaluation import select_tasks
    from inspire_vla.serving.runtime import check_port

    check_port(options.host, options.port)
    policy, factory = chosen_policy(options, default=DEFAULT_POLICY, simulated=options.dataset is None)
    benchmark, hz = _playback(options, policy) if options.dataset else _tabletop(policy)
    suite = options.suite or next(iter(benchmark.suites()))
    select_tasks(benchmark, [suite], [options.task] if options.task else None)  # before the policy is loaded

    import asyncio
    import logging

    from inspire_vla.serving.runtime import log_to_stderr
    from inspire_vla.serving.steering.server import SteeringServer

    log_to_stderr(logging.WARNING)
    print(f"Loading {policy['name']} …", file=sys.stderr)
    agent = factory()
    agent.name = f"{policy['name']} · {policy['checkpoint']}"
    server = SteeringServer(
        agent, benchmark, host=options.host, port=options.port,
        suite=options.suite, task=options.task, hz=options.hz or hz,
    )  # fmt: skip
    shown = "127.0.0.1" if options.host == "0.0.0.0" else options.host
    asyncio.run(server.run(lambda port: print(f"Open http://{shown}:{port}", flush=True)))
    print("Stopped.", flush=True)


def _tabletop(policy: "PolicyDescription") -> tuple[Any, float]:
    from inspire_vla.tabletop.benchmark import TabletopBenchmark

    size = policy["image_size"]
    assert size is not None  # as `check_inputs` has found
    return TabletopBenchmark(policy["cameras"], size, render_size=VIEW_PIXELS), 10.0


def _playback(options: Arguments, policy: "PolicyDescription") -> tuple[Any, float]:
    from inspire_vla import policies
    from inspire_vla.evaluation import PlaybackBenchmark
    from inspire_vla.labels.find_dataset import find_dataset

    assert options.dataset is not None
    checkpoint = None if options.remote else options.policy or DEFAULT_POLICY
    benchmark = PlaybackBenchmark(
        find_dataset(options.dataset),
        policies.playback_inputs(policy, options.camera, checkpoint=checkpoint),
        first_episode=options.episode,
    )
    if options.episode not in {segment.episode for segment in benchmark.segments}:
        raise InspireError(
            f"{options.dataset} has no episode {options.episode} that the policy can be asked about; it has "
            f"{benchmark.reader.episodes}, from 0."
        )
    return benchmark, benchmark.reader.fps
