"""`inspire steer`."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from inspire_vla.cli.options import Port, check_device, chosen_policy
from inspire_vla.errors import InspireError

VIEW_PIXELS = 448
"""Side of the image on the page; the policy's own images are smaller."""


@dataclass(kw_only=True)
class Arguments:
    """Open a page with the tabletop and a policy acting in it, whose answers can be overridden."""

    policy: str | None = None
    """Checkpoint: a folder, a shipped one, or user/name on the hub; by default nano_inspire."""
    remote: Annotated[str | None, arg(metavar="URL")] = None
    """A policy server, such as ws://127.0.0.1:8000, in place of --policy."""
    api_key_env: Annotated[str | None, arg(metavar="NAME")] = None
    """Environment variable that holds the server's key."""
    suite: str | None = None
    """Suite at the start; by default the first."""
    task: str | None = None
    """Task at the start; by default the suite's first."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 accepts other machines."""
    port: Port = 8080
    """Port of the page."""
    hz: float = 10.0
    """Control steps per second."""
    device: str | None = None
    """cpu, cuda, …; by default the checkpoint's."""


def run(options: Arguments) -> None:
    import asyncio
    import logging

    from inspire_vla.serving.runtime import log_to_stderr
    from inspire_vla.serving.steering.server import SteeringServer
    from inspire_vla.tabletop.benchmark import TabletopBenchmark

    check_device(options.device)
    if not options.hz > 0:
        raise InspireError(f"--hz must be positive, found {options.hz}.")
    log_to_stderr(logging.WARNING)
    policy, factory = chosen_policy(options, default="nano_inspire")
    agent = factory()
    agent.name = f"{policy['name']} · {policy['checkpoint']}"
    benchmark = TabletopBenchmark(policy["cameras"], policy["image_size"], render_size=VIEW_PIXELS)
    server = SteeringServer(
        agent, benchmark, host=options.host, port=options.port,
        suite=options.suite, task=options.task, hz=options.hz,
    )  # fmt: skip
    shown = "127.0.0.1" if options.host == "0.0.0.0" else options.host
    asyncio.run(server.run(lambda port: print(f"Open http://{shown}:{port}", flush=True)))
    print("Stopped.", flush=True)
