"""Time of reading a dataset's items for training: LeRobot's own, with images decoded when read, and decoded before.

    python benchmarks/reading_items.py datasets/seen --items 200 --rounds 5

The dataset has its images in image files, as `inspire collect` writes them. In each round the same items, drawn anew,
are read in the three ways, one after the other. So a slow moment of the machine hits all. The clock is the process's
own time. A ratio is the median of the rounds'.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from lerobot.datasets import LeRobotDataset

from inspire_vla.lerobot_plugin.frame_cache import FrameCache

HORIZON = 4
"""Actions of a chunk."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    fps = LeRobotDataset("local/read", root=options.dataset).fps
    times = {"action": [step / fps for step in range(HORIZON)]}
    dataset = LeRobotDataset("local/read", root=options.dataset, delta_timestamps=times, return_uint8=True)
    if dataset.meta.video_keys:
        parser.error(f"{options.dataset} has its images in videos: {dataset.meta.video_keys}")
    cameras, columns = dataset.meta.camera_keys, ["observation.state"]
    when_read, before = FrameCache(dataset), FrameCache(dataset)
    when_read._decode_when_read(cameras, columns, HORIZON, None)
    with tempfile.TemporaryDirectory() as folder:
        before.load(horizon=HORIZON, cameras=cameras, columns=columns, folder=Path(folder))
        ways = {"LeRobot's items": dataset, "decoded when read": when_read, "decoded before": before}
        rng, taken = np.random.default_rng(0), {name: list[float]() for name in ways}
        for _ in range(options.rounds):
            chosen = rng.integers(0, len(dataset), options.items).tolist()
            for name, items in ways.items():
                started = time.process_time()
                for number in chosen:
                    items[number]
                taken[name].append(1e3 * (time.process_time() - started) / options.items)
    first, *others = taken
    print(
        f"{len(cameras)} cameras, {len(dataset):,} frames, {options.rounds} rounds of {options.items} items"
    )
    print(f"{first}: {np.median(taken[first]):.2f} ms an item")
    for name in others:
        low, ratio, high = np.quantile(np.array(taken[first]) / taken[name], [0.25, 0.5, 0.75])
        print(f"{name}: {np.median(taken[name]):.2f} ms, {ratio:.1f} times as fast [{low:.1f}, {high:.1f}]")


if __name__ == "__main__":
    main()
