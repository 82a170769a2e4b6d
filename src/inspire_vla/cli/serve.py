"""inspire serve, and the --remote of inspire evaluate."""

import argparse
from typing import Any

from inspire_vla.cli.number_arguments import port, positive
from inspire_vla.errors import InspireError

ABOUT = ("name", "checkpoint", "sha256", "backbone", "action_tokenizer")
"""What a server says of its checkpoint, besides what its clients need to know."""


def serve_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--policy", required=True, help="checkpoint folder, or a shipped one: nano_base, nano_inspire"
    )
    sub.add_argument(
        "--host", default="127.0.0.1", help="0.0.0.0 to be reached from elsewhere; default: %(default)s"
    )
    sub.add_argument("--port", type=port, default=8000, help="default: %(default)s")
    sub.add_argument(
        "--api-key-env", metavar="NAME", help="environment variable that holds the key clients must send"
    )
    sub.add_argument("--name", help="of the policy, told to clients; default: InSpire or base")
    sub.add_argument(
        "--camera",
        type=camera_key,
        nargs="+",
        default=[],
        metavar="CAMERA=KEY",
        help="key under which clients send a camera's image; default: observation/CAMERA",
    )
    sub.add_argument("--max-message-mb", type=float, default=16, metavar="MB", help="default: %(default)s")
    sub.add_argument("--max-connections", type=positive, default=64, help="default: %(default)s")
    sub.add_argument(
        "--requests-per-second",
        type=float,
        default=200,
        help="of one client; 0: no limit; default: %(default)s",
    )
    sub.add_argument("--max-batch", type=positive, default=16, help="default: %(default)s")
    sub.add_argument("--device", help="cpu, cuda, …; default: the checkpoint's")


def serve(options: argparse.Namespace) -> None:
    """Load, warm up, serve until interrupted."""
    import asyncio

    from inspire_vla.cli import policies
    from inspire_vla.serving.remote_agent import api_key_from
    from inspire_vla.serving.runtime import log_to_stderr
    from inspire_vla.serving.server import PolicyServer, ServerSettings

    key = api_key_from(options.api_key_env)
    about = policies.describe(options.policy, options.name)
    log_to_stderr()
    agent = policies.agent_for(options.policy, options.device)()
    settings = ServerSettings(
        host=options.host,
        port=options.port,
        api_key=key,
        max_message_bytes=int(options.max_message_mb * 2**20),
        max_connections=options.max_connections,
        requests_per_second=options.requests_per_second,
        max_batch=options.max_batch,
    )
    server = PolicyServer(
        agent, settings, keys=dict(options.camera), about={name: about[name] for name in ABOUT}
    )
    asyncio.run(server.run(lambda port: print(f"{about['name']} at ws://{options.host}:{port}", flush=True)))


def camera_key(text: str) -> tuple[str, str]:
    """ "image=observation/front" → ("image", "observation/front")."""
    camera, equals, key = text.partition("=")
    if not (camera and equals and key):
        raise argparse.ArgumentTypeError(f"is written CAMERA=KEY, found {text!r}")
    return camera, key


def remote_policy(options: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Return what the server at `options.remote` says of its policy, as a run's, and the factory of its agent."""
    from inspire_vla.evaluation import Factory
    from inspire_vla.serving.remote_agent import connect

    if options.policy is not None or options.device is not None:
        raise InspireError(
            "--remote has its policy and device at the server; leave out --policy and --device."
        )
    arguments = {"url": options.remote, "api_key_env": options.api_key_env}
    agent = connect(**arguments)
    said = agent.metadata
    agent.close()
    height, width = said["image_size"]
    if height != width:
        raise InspireError(f"The tabletop draws square images; the policy looks at {height} × {width}.")
    policy = {name: said.get(name) for name in ABOUT}
    policy |= {"reasoning": said["reasoning"], "cameras": sorted(said["cameras"]), "image_size": height}
    policy["name"] = options.name or said.get("name") or "remote"
    return policy, Factory("inspire_vla.serving.remote_agent:connect", arguments)
