"""What threads without work should do, sleep or spin, when a policy is alone and beside other programs.

    python benchmarks/waiting_threads.py --rounds 5
    python benchmarks/waiting_threads.py --work decisions --settings GOMP_SPINCOUNT=3000

PyTorch divides an operation among as many threads as there are cores, and by default those that are done spin until the
last one is. Where another program needs the cores too, they spin in its time and in that of the thread they wait for.
Each measurement is a process of its own, because the setting is read once. It makes training steps of a policy for
some seconds with all cores, or decisions for one robot. The settings follow each other within a round; a ratio is the
median over rounds, against the settings as they come. Another program is one that keeps one core busy. Wall-clock time,
because what others take is the question.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from inspire_vla.worker_processes import usable_cores

INSTRUCTION = "pick up the red cube and place it on the blue plate"


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default="nano_inspire", help="checkpoint folder, or an included one")
    parser.add_argument("--work", choices=list(WORK), default="training")
    parser.add_argument("--batch-size", type=int, default=32, help="of a training step")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--settings", nargs="+", default=["OMP_WAIT_POLICY=PASSIVE"], metavar="NAME=VALUE")
    parser.add_argument(
        "--busy", type=int, nargs="+", help="numbers of other programs; default: up to the cores"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(repetitions_per_second(WORK[options.work](options), options.seconds))
        return []
    results = []
    for others in options.busy or range(usable_cores() + 1):
        rates: dict[str, list[float]] = {setting: [] for setting in ("", *options.settings)}
        with busy(others):
            for number in range(options.rounds):
                for setting in sorted(rates, reverse=bool(number % 2)):
                    rates[setting].append(measure(options, setting))
        for setting in options.settings:
            ratios = np.array(rates[setting]) / np.array(rates[""])
            results.append(
                {
                    "work": options.work,
                    "setting": setting,
                    "cores": usable_cores(),
                    "busy programs": others,
                    "a second, unset": round(float(np.median(rates[""])), 3),
                    "a second": round(float(np.median(rates[setting])), 3),
                    "ratio_median": round(float(np.median(ratios)), 3),
                    "ratio_quartiles": np.percentile(ratios, [25, 75]).round(3).tolist(),
                    "rounds": options.rounds,
                }
            )
            print(json.dumps(results[-1]), flush=True)
    return results


def measure(options: argparse.Namespace, setting: str) -> float:
    """Repetitions a second of a process with a setting of its environment, NAME=VALUE; "" is none."""
    removed = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in removed}
    name, _, value = setting.partition("=")
    command = [
        sys.executable, __file__, "--child", f"--policy={options.policy}", f"--batch-size={options.batch_size}",
        f"--seconds={options.seconds}", f"--work={options.work}",
    ]  # fmt: skip
    added = {name: value} if name else {}
    done = subprocess.run(command, env=environment | added, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


@contextmanager
def busy(count: int) -> Iterator[None]:
    """`count` programs that do nothing but keep a core busy each."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def training_step(options: argparse.Namespace) -> Callable[[], Any]:
    """A training step of the policy on noise."""
    import torch
    from training_step import noise

    from inspire_vla.lerobot_plugin.agent import load_policy

    policy = load_policy(options.policy, keep_weights_dtype=True).policy.train()
    batch = noise(policy, options.batch_size, "cpu")
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=1e-6)

    def step() -> None:
        policy.forward(batch)[0].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def decision(options: argparse.Namespace) -> Callable[[], Any]:
    """A decision of the policy on images of noise."""
    from inspire_vla.lerobot_plugin.agent import load_policy
    from inspire_vla.lerobot_plugin.observation_forms import camera_of

    agent = load_policy(options.policy)
    config, rng = agent.config, np.random.default_rng(0)
    shapes = {camera_of(key): feature.shape for key, feature in config.image_features.items()}
    pixels = {name: rng.integers(0, 256, (*shape[1:], 3), np.uint8) for name, shape in shapes.items()}
    state = config.robot_state_feature
    observation = {"pixels": pixels, "agent_pos": np.zeros(state.shape[0] if state else 0, np.float32)}
    return lambda: agent.act(observation, INSTRUCTION)


WORK = {"training": training_step, "decisions": decision}


def repetitions_per_second(repeat: Callable[[], Any], seconds: float) -> float:
    """How often a second `repeat` is done, after two to warm up."""
    repeat(), repeat()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        repeat()
        count += 1
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
