"""Failure analysis of an experiment: what the gripper of base and InSpire did, for docs/appendix/analysis.md.

python scripts/failure_analysis.py evidence/laptop_27_tasks --preset laptop_27_tasks
"""

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from inspire_vla.evaluation import EpisodeRecord, read_run
from inspire_vla.experiment import Preset, finished_part, read_preset

REPEATED = 3
"""Number of empty grasps in an episode that counts as repeated."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--preset", default="laptop_27_tasks")
    options = parser.parse_args()
    preset, _ = finished_part(read_preset(options.preset), options.experiment)
    for kind in ("base", "inspire"):
        print(kind)
        analyse_seen(list(records(options.experiment, preset, kind, "seen")))
        analyse_unseen(list(records(options.experiment, preset, kind, "unseen")))


def records(experiment: Path, preset: Preset, kind: str, group: str) -> Iterator[EpisodeRecord]:
    """Yield the episodes of all training seeds."""
    for seed in preset.seeds:
        name = f"{preset.policy(kind, seed=seed)}_{group}"
        yield from read_run(experiment / "runs" / name).records


def count(record: EpisodeRecord, state: str) -> int:
    """Return how often the gripper entered a state: "open", "closed" (on nothing) or "holding"."""
    return sum(entered == state for _, entered in record.gripper)


def released(record: EpisodeRecord) -> bool:
    """Return whether something was grasped and released again."""
    states = [state for _, state in record.gripper]
    return ("holding", "open") in pairwise(states)


def analyse_seen(episodes: list[EpisodeRecord]) -> None:
    """Print grasps in failed episodes, and the accuracy of answers by outcome."""
    failed = [e for e in episodes if not e.success]
    picking = [e for e in failed if not e.instruction.startswith(("open", "close"))]
    never = sum(not count(e, "holding") for e in picking)
    repeated = sum(count(e, "closed") >= REPEATED for e in picking)
    print(f"  seen: {len(failed)} of {len(episodes)} fail, {len(picking)} of them on pick-and-place tasks: "
          f"no grasp in {never}, {REPEATED} or more empty grasps in {repeated}")  # fmt: skip
    for outcome, some in (("succeed", [e for e in episodes if e.success]), ("fail", failed)):
        n = sum(e.answers_scored for e in some)
        if n:
            accuracy = 100 * sum(e.answers_correct for e in some) / n
            print(
                f"  answer accuracy in the {len(some)} episodes that {outcome}: {accuracy:.1f} %, n = {n:,}"
            )


def analyse_unseen(episodes: list[EpisodeRecord]) -> None:
    """Print grasps and releases by suite."""
    for suite in sorted({e.suite for e in episodes}):
        of_suite = [e for e in episodes if e.suite == suite]
        grasped = sum(count(e, "holding") > 0 for e in of_suite)
        print(
            f"  {suite}: a grasp in {grasped} of {len(of_suite)}, a release in {sum(map(released, of_suite))}"
        )


if __name__ == "__main__":
    main()
