"""Processor time of a LIBERO control step: full beside fast rendering, with an image at every step and with none.

"Robosuite's own" is a step without an image, or a reset, as robosuite makes it. The others compute each physics step
once, and keep the rendering context over a reset. The first reset makes the simulation.

    OMP_NUM_THREADS=1 LP_NUM_THREADS=0 python benchmarks/libero_step.py

LP_NUM_THREADS=0 keeps Mesa's software renderer in one thread. Every kind takes its turn in each round, so that other
work on the machine does not favour one. `--picture FILE` also draws the same state in both ways, side by side.
"""

import argparse
import gc
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from inspire_vla.libero.benchmark import LiberoBenchmark

SCENES = {
    "living room": "LIVING_ROOM_SCENE2_pick_up_the_butter_and_put_it_in_the_basket",
    "kitchen": "KITCHEN_SCENE4_put_the_black_bowl_on_top_of_the_cabinet",
    "study": "STUDY_SCENE2_pick_up_the_book_and_place_it_in_the_back_compartment_of_the_caddy",
}

OWN, OWN_RESET = "no image, robosuite's own", "reset, robosuite's own"
KINDS = {OWN: 0, "no image": 0, "1 camera": 1, "2 cameras": 2}
"""What is timed: the number of cameras that are read at every step."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=30, help="of each kind a round, default: %(default)s")
    parser.add_argument("--pixels", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--picture", type=Path, help="PNG to write")
    options = parser.parse_args()
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    pictures: dict[tuple[str, str], np.ndarray] = {}
    for _ in range(options.rounds):
        for scene, task in SCENES.items():
            for render in ("full", "fast"):
                env = LiberoBenchmark(image_size=options.pixels, render=render).make("libero_90", task)
                for seed, what in enumerate(("first reset", "reset", OWN_RESET)):
                    if what == OWN_RESET:
                        inner = env._env._env.env
                        del inner._destroy_sim  # uncovers that of its class, which frees the context
                    started = time.process_time()
                    observation, _ = env.reset(seed=seed)
                    times[render, what].append(time.process_time() - started)
                    if seed == 0:
                        pictures[scene, render] = observation["pixels"]["image"]
                for what, count in KINDS.items():
                    once = inner.__dict__.pop("step") if what == OWN else None
                    started = time.process_time()
                    for step in range(options.steps):
                        action = np.array([0.1 * np.sin(step), 0.1, 0, 0, 0, 0, -1], dtype=np.float32)
                        observation, *_ = env.step(action)
                        for camera in ("image", "image2")[:count]:
                            observation["pixels"][camera]
                    times[render, what].append((time.process_time() - started) / options.steps)
                    if once is not None:
                        inner.step = once
                env.close()
                del env
                gc.collect()
    print("| processor time | full, ms | fast, ms | fast / full |\n|---|---|---|---|")
    for what in (*KINDS, "first reset", OWN_RESET, "reset"):
        full, fast = (1e3 * float(np.median(times[render, what])) for render in ("full", "fast"))
        print(f"| {what} | {full:.1f} | {fast:.1f} | {fast / full:.2f} |")
    if options.picture:
        from PIL import Image

        rows = [
            np.concatenate([pictures[scene, "full"], pictures[scene, "fast"]], axis=1) for scene in SCENES
        ]
        sheet = Image.fromarray(np.concatenate(rows[:2], axis=1))
        sheet.quantize(128).save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
