"""Which step of a two-step instruction is done, if the steps are named in one order and in the other (docs/results.md).

python scripts/order_of_steps.py evidence/laptop evidence/long_reversed

The second folder has the runs of `inspire evaluate --suite tabletop_long_reversed`, named MODEL_sSEED.
"""

import argparse
from pathlib import Path

from inspire_vla.evaluation import EpisodeRecord, read_run
from inspire_vla.evaluation.statistics import wilson
from inspire_vla.tabletop.suites import SUITES

SEEDS = range(4)
FORWARD, REVERSED = "tabletop_long", "tabletop_long_reversed"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", type=Path)
    parser.add_argument("reversed_runs", type=Path)
    options = parser.parse_args()
    for model in ("base", "inspire"):
        forward, backward = [], []
        for seed in SEEDS:
            forward += _records(options.experiment / "runs" / f"{model}_r0.25_s{seed}_unseen", FORWARD)
            backward += _records(options.reversed_runs / f"{model}_s{seed}", REVERSED)
        # Those that were evaluated in both orders, from the same initial states.
        pairs = {_key(record) for record in backward}
        forward = [record for record in forward if _key(record) in pairs]
        if len(forward) != len(backward):
            raise SystemExit(f"{model}: {len(forward)} episodes in one order, {len(backward)} in the other.")
        for name, records, position in (
            ("one step, named last", forward, 1),
            ("the same step, named first", backward, 0),
            ("the other step, named last", backward, 1),
            ("the same step, named first", forward, 0),
        ):
            reached = wilson(sum(record.goals[position] is not None for record in records), len(records))
            print(f"{model:8} {name:28} n = {len(records)}  reached in {reached}")
        for order, records in (("as in long", forward), ("reversed", backward)):
            success = wilson(sum(record.success for record in records), len(records))
            print(f"{model:8} all of it, {order:17} n = {len(records)}  {success}")


def _records(run: Path, suite: str) -> list[EpisodeRecord]:
    return [record for record in read_run(run).records if record.suite == suite]


def _key(record: EpisodeRecord) -> tuple[frozenset, int]:
    """The scene with its goals in any order, and the initial state."""
    (task,) = [task for task in SUITES[record.suite] if task.name == record.task]
    return frozenset([task.scene.name, *task.goal.goals]), record.seed


if __name__ == "__main__":
    main()
