"""How often the tabletop's expert succeeds, how long it takes, and the share of each direction word in its episodes.

python benchmarks/tabletop_expert.py --suite tabletop_seen --episodes 12 --layout-randomness 0.25
"""

import argparse
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from inspire_vla.perturbations import ActionPerturber
from inspire_vla.spatial import relate
from inspire_vla.tabletop.env import TabletopEnv
from inspire_vla.tabletop.expert import Expert
from inspire_vla.tabletop.suites import SUITES
from inspire_vla.tabletop.tasks import Task


@dataclass
class Outcome:
    """The episodes of one task."""

    episodes: int = 0
    steps: list[int] = field(default_factory=list)
    failed_seeds: list[int] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)

    @property
    def successes(self) -> int:
        return self.episodes - len(self.failed_seeds)


def run_expert(
    task: Task, seeds: range, *, noise: float, perturbations: float, layout_randomness: float
) -> Outcome:
    """Let the expert try `task` once for each seed."""
    env = TabletopEnv(task, cameras=(), layout_randomness=layout_randomness)
    outcome = Outcome()
    for seed in seeds:
        _, info = env.reset(seed=seed)
        expert = Expert(env)
        perturb = ActionPerturber(np.random.default_rng(seed), noise=noise, perturbations=perturbations)
        success = truncated = False
        steps = 0
        while not (success or truncated):
            outcome.words.update(relate(info["gripper_to_object_m"], info["grasped"]).tolist())
            _, _, success, truncated, info = env.step(perturb(expert.action()))
            steps += 1
        outcome.episodes += 1
        outcome.steps.append(steps)
        outcome.failed_seeds += [] if success else [seed]
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", choices=sorted(SUITES), action="append", help="default: all")
    parser.add_argument("--episodes", type=int, default=3, help="of each task, default: %(default)s")
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--perturbations", type=float, default=0.0)
    parser.add_argument("--layout-randomness", type=float, default=0.0)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.episodes)
    for suite in options.suite or SUITES:
        words: Counter[str] = Counter()
        successes = episodes = 0
        for task in SUITES[suite]:
            result = run_expert(
                task, seeds, noise=options.noise, perturbations=options.perturbations,
                layout_randomness=options.layout_randomness,
            )  # fmt: skip
            words += result.words
            successes, episodes = successes + result.successes, episodes + result.episodes
            failed = f"  failed: {result.failed_seeds}" if result.failed_seeds else ""
            steps = f"{np.mean(result.steps):5.0f} of {task.max_steps}"
            print(f"  {result.successes:3d}/{result.episodes:<3d} {steps}  {task.name}{failed}", flush=True)
        print(f"{suite}: {successes}/{episodes} = {100 * successes / episodes:.1f} %")
        print("   " + "  ".join(f"{word} {100 * n / words.total():.1f} %" for word, n in words.most_common()))


if __name__ == "__main__":
    main()
