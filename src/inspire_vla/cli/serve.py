"""`inspire serve`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from inspire_vla.backbones.devices import check_device
from inspire_vla.cli.options import CameraKeys, Port, Positive, mention_overrides
from inspire_vla.errors import InspireError

MAX_MESSAGE_MB = 1024


@dataclass(kw_only=True)
class Arguments:
    """Serve a policy to robots over openpi's web-socket protocol."""

    policy: str
    """Checkpoint: a folder, an included one (nano_base, nano_inspire), or user/name on the hub."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 accepts other machines."""
    port: Port = 8000
    """Port to listen on."""
    api_key_env: Annotated[str | None, arg(metavar="NAME")] = None
    """Environment variable that holds the key clients must send."""
    name: str | None = None
    """Name of the policy, sent to clients; by default InSpire or base."""
    camera: CameraKeys = field(default_factory=dict)
    """Key under which clients send a camera's image; by default observation/CAMERA."""
    mentions: Annotated[Path | None, arg(metavar="JSON")] = None
    """File of mention overrides, as `inspire mentions --write` writes it, besides those that the checkpoint holds."""
    max_message_mb: float = 16
    """Largest message in MiB."""
    max_connections: Positive = 64
    """Most clients at once."""
    requests_per_second: float = 200
    """Limit per client; 0 for none."""
    max_batch: Positive = 16
    """Most requests that are decoded in one batch."""
    device: str | None = None
    """cpu, cuda, …; by default the checkpoint's."""


def run(options: Arguments) -> None:
    from inspire_vla import policies
    from inspire_vla.serving.remote_agent import api_key_from
    from inspire_vla.serving.runtime import log_to_stderr

    check_device(options.device)
    if not 0 < options.max_message_mb <= MAX_MESSAGE_MB:
        raise InspireError(
            f"--max-message-mb must lie between 0 and {MAX_MESSAGE_MB}, found {options.max_message_mb}."
        )
    if not options.requests_per_second >= 0:
        raise InspireError(f"--requests-per-second must be at least 0, found {options.requests_per_second}.")
    key = api_key_from(options.api_key_env)
    log_to_stderr()
    policies.serve(
        options.policy,
        name=options.name,
        device=options.device,
        mentions=mention_overrides(options.mentions),
        keys=options.camera,
        on_ready=lambda line: print(line, flush=True),
        host=options.host,
        port=options.port,
        api_key=key,
        max_message_bytes=int(options.max_message_mb * 2**20),
        max_connections=options.max_connections,
        requests_per_second=options.requests_per_second,
        max_batch=options.max_batch,
    )
    print("Stopped.", flush=True)
