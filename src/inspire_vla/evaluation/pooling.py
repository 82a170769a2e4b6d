"""Several runs of one kind of policy as one: its seen and its unseen suites, its training seeds."""

from collections.abc import Sequence
from dataclasses import replace

from inspire_vla.errors import InspireError
from inspire_vla.evaluation.records import EpisodeRecord, Run

REPLICA = 10**12
"""Added to the seeds of the second training seed's episodes, twice to the third's: far from any episode's seed."""


def replica_of(record: EpisodeRecord) -> int:
    """Which replica (0, 1, …) an episode of a pooled run is of."""
    return record.seed // REPLICA


def pool(runs_of_replicas: Sequence[Sequence[Run]], name: str) -> Run:
    """One run of all episodes. Episodes of different replicas (training seeds) are told apart by their seeds.

    Pool base and InSpire alike, and an episode of a base policy still meets the same one of the InSpire policy that was
    trained with the same seed.

    Raises InspireError without runs.
    """
    if not runs_of_replicas or not all(runs_of_replicas):
        raise InspireError(f"There are no runs of {name!r} to pool.")
    records = [
        replace(record, seed=record.seed + replica * REPLICA, policy=name)
        for replica, runs in enumerate(runs_of_replicas)
        for run in runs
        for record in run.records
    ]
    first = runs_of_replicas[0][0]
    info = first.info | {
        "policy": {**first.info.get("policy", {}), "name": name},
        "pooled": [str(run.path) for runs in runs_of_replicas for run in runs],
    }
    return Run(first.path, info, tuple(records))
