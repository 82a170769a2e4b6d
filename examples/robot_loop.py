"""Control a LeRobot robot by a policy server, with overlapping action chunks.

    inspire serve --policy nano_inspire
    python examples/robot_loop.py --remote ws://127.0.0.1:8000

For your own arm, replace TabletopRobot by its `Robot` and map its features in `to_request`.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from lerobot_tabletop import ACTION, STATE, TabletopRobot, TabletopRobotConfig

from inspire_vla.errors import InspireError
from inspire_vla.instruction import split_steps
from inspire_vla.serving.chunk_player import ChunkPlayer
from inspire_vla.serving.client import PolicyClient
from inspire_vla.serving.instruction_sequence import InstructionSequence, says_grasped
from inspire_vla.spatial import GRASPED


def to_request(observation: Mapping[str, Any], instruction: str) -> dict[str, Any]:
    """Convert LeRobot's flat observation to a request."""
    state = np.array([observation[name] for name in STATE], dtype=np.float32)
    return {"observation/image": observation["image"], "observation/state": state, "prompt": instruction}


def make_player(client: PolicyClient, ahead: int) -> ChunkPlayer:
    """Play `n_action_steps` of each chunk, and request the next one `ahead` steps earlier."""
    steps = client.metadata.get("n_action_steps")
    return ChunkPlayer(
        client.infer,
        n_action_steps=steps,
        ahead=ahead if steps is None else min(ahead, steps - 1),
        n_obs_steps=client.metadata.get("n_obs_steps", 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Control a LeRobot robot by a policy server.")
    parser.add_argument("--remote", default="ws://127.0.0.1:8000", help="policy server, default: %(default)s")
    parser.add_argument("--suite", default="tabletop_seen")
    parser.add_argument("--task", default="", help="default: the first of the suite")
    parser.add_argument(
        "--instructions",
        nargs="+",
        help="in place of the task's: one after the other; the answers tell when the next begins, and when all is done",
    )
    parser.add_argument(
        "--split-steps", action="store_true", help="give the steps of each instruction one after the other"
    )
    parser.add_argument("--seed", type=int, default=1_000_000)
    parser.add_argument("--hz", type=float, default=10.0, help="control steps a second, default: %(default)s")
    parser.add_argument(
        "--ahead",
        type=int,
        default=2,
        help="request the next chunk this many steps before the end of the current one; 0: no overlap",
    )
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    try:
        run(options)
    except InspireError as error:
        sys.exit(f"Error: {error}")


def run(options: argparse.Namespace) -> None:
    robot = TabletopRobot(TabletopRobotConfig(suite=options.suite, task=options.task, seed=options.seed))
    late = 0
    with (
        robot,
        PolicyClient(options.remote) as client,
        make_player(client, options.ahead) as player,
    ):
        instructions = options.instructions or [robot.instruction]
        if options.split_steps:
            instructions = [step for instruction in instructions for step in split_steps(instruction)]
        tasks = InstructionSequence(*instructions)
        in_steps = bool(options.instructions or options.split_steps)
        listens = in_steps and says_grasped(client.metadata.get("reasoning"))
        if len(tasks.instructions) > 1 and not listens:
            raise InspireError(
                f"{len(tasks.instructions)} instructions need a policy that answers {GRASPED!r} while it acts, and "
                f"{options.remote} serves none. Give one instruction, or serve an InSpire policy."
            )
        print(f"{client.metadata.get('name', 'a policy')}: {tasks.instruction}")
        answers: dict[str, str] = {}
        reply = None
        due = time.monotonic()
        for step in range(options.steps):
            action = player.step(to_request(robot.get_observation(), tasks.instruction))
            robot.send_action(dict(zip(ACTION, action, strict=True)))
            is_new, reply = player.reply is not reply, player.reply
            if reply.answers_by_mention != answers:
                answers = reply.answers_by_mention
                print(f"{step:4d}  " + ", ".join(f"{mention}: {word}" for mention, word in answers.items()))
            if listens and is_new and tasks.update(answers):
                print(f"{step:4d}  " + ("all done" if tasks.finished else f"next: {tasks.instruction}"))
            if robot.over or tasks.finished:
                break
            due += 1 / options.hz
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            else:
                late, due = late + 1, time.monotonic()
        outcome = "success" if robot.info["is_success"] else "no success"
        print(
            f"{outcome} after {player.steps} steps; waited for the policy {player.waits} times, late {late} times"
        )


if __name__ == "__main__":
    main()
