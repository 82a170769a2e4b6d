"""The command `inspire`: thin. Each subcommand reads its arguments and calls a room; rooms load when called."""

import sys
from collections.abc import Sequence

from inspire_vla.cli.arguments import parser
from inspire_vla.cli.commands import after_interruption
from inspire_vla.cli.devices import check_device
from inspire_vla.errors import InspireError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code: 0 done, 2 input that cannot be worked with, 130 interrupted."""
    options = parser().parse_args(arguments)
    try:
        if getattr(options, "ray", None) is None:  # a cluster's machines may have what this one lacks
            check_device(getattr(options, "device", None))
        return options.run(options) or 0
    except InspireError as error:
        print(f"inspire {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nStopped. {after_interruption(options)}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `inspire … | head`
        sys.stderr.close()
        return 1
