"""LIBERO as `inspire evaluate` wants it."""

from collections.abc import Mapping, Sequence
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import Factory


def libero(cameras: Sequence[str] = ("image",), image_size: int = 256, mapping: Any = None) -> Any:
    """Make the benchmark; called in every worker."""
    from inspire_vla.libero.benchmark import LiberoBenchmark

    return LiberoBenchmark(cameras, image_size, mapping)


def wants_libero(suites: Sequence[str]) -> bool:
    """Whether these suites are LIBERO's. Raises InspireError for a mixture: a run is of one simulator."""
    chosen = [suite.startswith("libero_") for suite in suites]
    if any(chosen) and not all(chosen):
        raise InspireError(f"suites of LIBERO and of the tabletop do not mix in one run: {list(suites)}.")
    return any(chosen)


def libero_for(policy: Mapping[str, Any], mapping: str | None = None) -> Factory:
    """Return the factory of the benchmark with the pictures that a policy's description asks for.

    `mapping`: file that overrules which thing a mention means.

    Raises LiberoMissing (an InspireError) unless LIBERO and its assets are installed.
    """
    from inspire_vla.libero.grounding import read_mapping
    from inspire_vla.libero.simulation import require_libero

    require_libero()
    table = None if mapping is None else read_mapping(mapping)
    arguments = {"cameras": tuple(policy["cameras"]), "image_size": policy["image_size"], "mapping": table}
    return Factory("inspire_vla.cli.libero:libero", arguments)
