"""LIBERO as `inspire evaluate` wants it."""

from collections.abc import Mapping, Sequence
from typing import Any

from inspire_vla.evaluation import Factory


def libero(cameras: Sequence[str] = ("image",), image_size: int = 256, mapping: Any = None) -> Any:
    """Make the benchmark; called in every worker."""
    from inspire_vla.libero.benchmark import LiberoBenchmark

    return LiberoBenchmark(cameras, image_size, mapping)


def libero_for(policy: Mapping[str, Any], mapping: str | None = None) -> Factory:
    """Return the factory of the benchmark with the images that a policy's description asks for.

    `mapping`: file that overrules which thing a mention means.

    Raises LiberoMissing (an InspireError) unless LIBERO and its assets are installed.
    """
    from inspire_vla.libero.grounding import read_mapping
    from inspire_vla.libero.simulation import require_libero

    require_libero()
    table = None if mapping is None else read_mapping(mapping)
    arguments = {"cameras": tuple(policy["cameras"]), "image_size": policy["image_size"], "mapping": table}
    return Factory("inspire_vla.cli.libero:libero", arguments)


def conditions(suites: Sequence[str]) -> dict[str, Any]:
    """What a run on LIBERO says of how it was played."""
    from inspire_vla.libero.benchmark import MAX_STEPS, LiberoBenchmark
    from inspire_vla.libero.tasks import PLUS_SUITES

    return {
        "step_limits": {suite: MAX_STEPS[PLUS_SUITES.get(suite, suite)] for suite in suites},
        "step_limits_from": "OpenVLA, MiniVLA, InSpire and pi0-FAST as published",
        "initial_states": {suite: LiberoBenchmark.initial_states[suite] for suite in suites},
        "initial_state_of_an_episode": "number seed modulo their number",
    }
