"""inspire steer: the tabletop in a page, a policy at work in it, and its answers to overrule."""

import argparse
from typing import Any

from inspire_vla.cli.number_arguments import port
from inspire_vla.errors import InspireError

VIEW_PIXELS = 448
"""Side of the image that the page shows; the policy's own is smaller."""


def steer_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--policy", help="checkpoint folder, or a shipped one; default: nano_inspire")
    sub.add_argument("--remote", metavar="URL", help="a policy server, such as ws://127.0.0.1:8000, instead")
    sub.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds the server's key")
    sub.add_argument("--suite", help="to begin with, default: the first")
    sub.add_argument("--task", help="to begin with, default: the suite's first")
    sub.add_argument(
        "--host", default="127.0.0.1", help="0.0.0.0 to be reached from elsewhere; default: %(default)s"
    )
    sub.add_argument("--port", type=port, default=8080, help="of the page, default: %(default)s")
    sub.add_argument("--hz", type=float, default=10.0, help="control steps a second, default: %(default)s")
    sub.add_argument("--device", help="cpu, cuda, …; default: the checkpoint's")
    sub.set_defaults(name=None)


def steer(options: argparse.Namespace) -> None:
    """Serve the page until interrupted."""
    import asyncio
    import logging

    from inspire_vla.cli import policies
    from inspire_vla.cli.serve import remote_policy
    from inspire_vla.serving.runtime import log_to_stderr
    from inspire_vla.serving.steering.server import SteeringServer

    if not options.hz > 0:
        raise InspireError(f"--hz must be positive, found {options.hz}.")
    log_to_stderr(logging.WARNING)
    if options.remote is not None:
        policy, factory = remote_policy(options)
    else:
        chosen = options.policy or "nano_inspire"
        policy, factory = policies.describe(chosen), policies.agent_for(chosen, options.device)
    agent = factory()
    agent.name = f"{policy['name']} · {policy['checkpoint']}"
    server = SteeringServer(
        agent, _live_tabletop(policy), host=options.host, port=options.port,
        suite=options.suite, task=options.task, hz=options.hz,
    )  # fmt: skip
    shown = "127.0.0.1" if options.host == "0.0.0.0" else options.host
    asyncio.run(server.run(lambda port: print(f"Open http://{shown}:{port}", flush=True)))


def _live_tabletop(policy: dict[str, Any]) -> Any:
    """The tabletop, with larger images to look at."""
    from inspire_vla.tabletop.benchmark import TabletopBenchmark

    return TabletopBenchmark(policy["cameras"], policy["image_size"], render_size=VIEW_PIXELS)
