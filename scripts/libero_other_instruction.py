"""How often a policy does the task that it was trained on in a scene, although another one is asked for.

python scripts/libero_other_instruction.py POLICY OUT [--episodes 5]

Tasks of `libero_90_small_train` are played with the instruction of a held-out task of the same scene. "Success" then
means that the policy did what it was trained to do there, and not what it was told. LIBERO's fixed initial states, and
fast rendering. With the task's own instruction: `inspire evaluate --suite libero_90_small_train`.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from inspire_vla import policies
from inspire_vla.evaluation import EvaluationPlan, compare, evaluate
from inspire_vla.files import read_json
from inspire_vla.libero.benchmark import LiberoBenchmark
from inspire_vla.libero.split import scene_of
from inspire_vla.libero.tasks import SPLIT_FILE, instruction_of
from inspire_vla.reports.tables import print_comparison

TRAIN, HELD_OUT = "libero_90_small_train", "libero_90_small_heldout"


def others() -> dict[str, str]:
    """{task trained on: instruction of a held-out task of its scene}; each of a scene gets another one in turn."""
    split = read_json(SPLIT_FILE, dict[str, list[str]])
    instructions: dict[str, str] = {}
    for task in split[TRAIN]:
        beside = [other for other in split[HELD_OUT] if scene_of(other) == scene_of(task)]
        if beside:
            before = sum(scene_of(one) == scene_of(task) for one in instructions)
            instructions[task] = instruction_of(beside[before % len(beside)])
    return instructions


class OtherInstruction(LiberoBenchmark):
    """LIBERO, where tasks that were trained on have the instruction of another task of their scene."""

    def make(self, suite: str, task: str) -> Any:
        env = super().make(suite, task)
        env.instruction = others()[task]
        return env


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("policy", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--episodes", type=int, default=5)
    options = parser.parse_args()
    about = policies.describe(str(options.policy))
    benchmark = partial(OtherInstruction, about["cameras"], about["image_size"], render="fast")
    trained_on = policies.trained_on(str(options.policy))
    plan = EvaluationPlan(
        suites=(TRAIN,),
        episodes_per_task=options.episodes,
        policy={**about, "instructions": others()},
        tasks=tuple(others()),
        extra={"trained_on": None if trained_on is None else list(trained_on)},
    )
    agent = policies.agent_factory(str(options.policy), None, None)
    run = evaluate(options.out, plan, benchmark=benchmark, agent=agent, workers=1, slots=1)
    print_comparison(compare([run]), tasks=True)


if __name__ == "__main__":
    main()
