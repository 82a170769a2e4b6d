"""How the policies of an experiment fail, counted from the gripper's log: the numbers of docs/results.md's prose.

python scripts/how_they_fail.py evidence/laptop --preset laptop
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from inspire_vla.evaluation import EpisodeRecord, read_run
from inspire_vla.experiment import Preset, finished_part, read_preset

OFTEN = 3
"""So many times shut on nothing counts as trying again beside the thing."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--preset", default="laptop")
    options = parser.parse_args()
    preset, _ = finished_part(read_preset(options.preset), options.experiment)
    for kind in ("base", "inspire"):
        print(kind)
        on_seen(list(records(options.experiment, preset, kind, "seen")))
        on_unseen(list(records(options.experiment, preset, kind, "unseen")))


def records(experiment: Path, preset: Preset, kind: str, group: str) -> Iterator[EpisodeRecord]:
    """Episodes of all training seeds."""
    for seed in preset.seeds:
        yield from read_run(experiment / "runs" / name(preset, kind, seed, group)).records


def name(preset: Preset, kind: str, seed: int, group: str) -> str:
    return f"{kind}_r{preset.layout_randomness:g}_s{seed}_{group}"


def times(record: EpisodeRecord, state: str) -> int:
    return sum(found == state for _, found in record.gripper)


def on_seen(episodes: list[EpisodeRecord]) -> None:
    failed = [e for e in episodes if not e.success]
    picking = [e for e in failed if not e.instruction.startswith(("open", "close"))]
    never = sum(not times(e, "holding") for e in picking)
    again = sum(times(e, "closed") >= OFTEN for e in picking)
    print(f"  seen: {len(failed)} of {len(episodes)} fail, {len(picking)} with something to pick up: "
          f"nothing is ever held in {never}, the fingers shut on nothing {OFTEN} times or more in {again}")  # fmt: skip
    for word, some in (("succeed", [e for e in episodes if e.success]), ("fail", failed)):
        asked = sum(e.answers_scored for e in some)
        if asked:
            share = 100 * sum(e.answers_correct for e in some) / asked
            print(f"  answers in the {len(some)} episodes that {word}: {share:.1f} % true, n = {asked:,}")


def on_unseen(episodes: list[EpisodeRecord]) -> None:
    for suite in sorted({e.suite for e in episodes}):
        own = [e for e in episodes if e.suite == suite]
        held = sum(times(e, "holding") > 0 for e in own)
        let_go = sum(
            any(
                (a, b) == ("holding", "open")
                for (_, a), (_, b) in zip(e.gripper, e.gripper[1:], strict=False)
            )
            for e in own
        )
        print(f"  {suite}: something is held in {held} of {len(own)}, and let go again in {let_go}")


if __name__ == "__main__":
    main()
