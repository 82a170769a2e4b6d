"""Speed and size of labelling, against the project's targets.

    OMP_NUM_THREADS=1 python benchmarks/labelling.py [--episodes 1000] [--frames 150]

- the geometric rule: at least 5 million offsets a second on one core
- a dataset of 1,000 episodes × 150 frames labelled from demonstration: at most 30 s on two cores (one is used here)
- storage: at most 2 bytes per frame and object
- for comparison: one JSON file per frame, as in the paper's released code

Times are processor time and wall-clock time. On a shared machine only processor time is meaningful.
"""

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.parquet import matrix
from inspire_vla.labels.storage import label_dataset
from inspire_vla.spatial import canonical_answers, relate_codes

INSTRUCTION = "put the red cube on the plate"
NAMES = {
    "observation.state": [
        "x",
        "y",
        "z",
        "axis_angle_x",
        "axis_angle_y",
        "axis_angle_z",
        "finger_left",
        "finger_right",
    ],
    "action": ["dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper"],
}


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Return (processor time, wall-clock time) in seconds."""
    processor, clock = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - processor, time.perf_counter() - clock


def synthetic(root: Path, episodes: int, frames: int, seed: int = 0) -> None:
    """Write a LeRobot v3 dataset of pick-and-place paths without images, 100 episodes per file."""
    generator = np.random.default_rng(seed)
    (root / "meta").mkdir(parents=True)
    features = {
        name: {"dtype": "float32", "shape": [len(names)], "names": names} for name, names in NAMES.items()
    }
    info = {"codebase_version": "v3.0", "fps": 10, "features": features, "total_episodes": episodes}
    info["total_frames"] = episodes * frames
    listed = root / "meta/episodes/chunk-000/file-000.parquet"
    listed.parent.mkdir(parents=True)
    pq.write_table(pa.table({"episode_index": list(range(episodes))}), listed)
    (root / "meta/info.json").write_text(json.dumps(info), encoding="utf-8")
    pq.write_table(pa.table({"task_index": [0], "task": [INSTRUCTION]}), root / "meta/tasks.parquet")
    third = frames // 3
    for number, first in enumerate(range(0, episodes, 100)):
        count = min(100, episodes - first)
        corners = generator.uniform([0.3, -0.3, 0.02], [0.7, 0.3, 0.3], (count, 4, 3))
        parts = [
            corners[:, i, None]
            + (corners[:, i + 1] - corners[:, i])[:, None] * np.linspace(0, 1, n)[None, :, None]
            for i, n in enumerate((third, third, frames - 2 * third))
        ]
        state = np.zeros((count, frames, 8), np.float32)
        state[..., :3] = np.concatenate(parts, axis=1) + generator.normal(0, 0.002, (count, frames, 3))
        action = np.zeros((count, frames, 7), np.float32)
        action[..., 6], state[..., 6:] = -1, 0.04
        action[:, third : 2 * third, 6], state[:, third + 2 : 2 * third + 1, 6:] = 1, 0.02
        table = pa.table(
            {
                "observation.state": pa.FixedSizeListArray.from_arrays(pa.array(state.ravel()), 8),
                "action": pa.FixedSizeListArray.from_arrays(pa.array(action.ravel()), 7),
                "episode_index": np.repeat(np.arange(first, first + count), frames),
                "task_index": np.zeros(count * frames, np.int64),
            }
        )
        path = root / f"data/chunk-000/file-{number:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)


def json_per_frame(source: Path, out: Path, frames: int) -> int:
    """Write one file of words per frame, as the paper's code does. Returns the bytes on disk."""
    words = canonical_answers("direction")
    out.mkdir()
    for path in sorted(source.glob("data/**/*.parquet")):
        codes = matrix(pq.read_table(path)["observation.answers.direction"])
        for i, row in enumerate(codes[:frames].tolist()):
            answers = {"the red cube": words[row[0]], "the plate": words[row[1]]}
            (out / f"{path.stem}_{i}.json").write_text(json.dumps(answers), encoding="utf-8")
        frames -= min(frames, len(codes))
    return sum(entry.stat().st_blocks * 512 for entry in os.scandir(out))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument(
        "--json-frames", type=int, default=10_000, help="written as JSON, default: %(default)s"
    )
    parser.add_argument("--json", help="write the numbers here")
    options = parser.parse_args()
    result: dict[str, object] = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
    }
    offsets = np.random.default_rng(0).normal(size=(2_000_000, 3))
    grasped = np.zeros(len(offsets), dtype=bool)
    relate_codes(offsets[:1000], grasped[:1000])
    best = min(timed(lambda: relate_codes(offsets, grasped))[0] for _ in range(5))
    result["rule_million_offsets_per_s"] = round(len(offsets) / best / 1e6, 1)
    print(f"rule: {len(offsets) / best / 1e6:.1f} million offsets/s on one core (target: 5)")
    folder = Path(tempfile.mkdtemp(prefix="labelling_"))
    try:
        synthetic(folder / "source", options.episodes, options.frames)
        processor, clock = timed(
            lambda: label_dataset(folder / "source", DemonstrationLabeller(), out=folder / "labelled")
        )
        rows = options.episodes * options.frames
        result |= {"episodes": options.episodes, "frames": rows}
        result |= {"label_processor_s": round(processor, 2), "label_clock_s": round(clock, 2)}
        print(
            f"labelling {options.episodes} × {options.frames} from demonstration: {processor:.1f} s of one core, "
            f"{clock:.1f} s wall clock (target: 30 on two cores)"
        )
        bytes_each = {
            column: sum(
                file.metadata.row_group(g).column(c).total_compressed_size
                for file in map(pq.ParquetFile, sorted(folder.glob("labelled/data/**/*.parquet")))
                for g in range(file.metadata.num_row_groups)
                for c in range(file.metadata.num_columns)
                if file.metadata.row_group(g).column(c).path_in_schema.startswith(column)
            )
            / rows
            / 2
            for column in ("observation.answers.direction", "labels.confidence")
        }
        result["bytes_per_frame_and_object"] = {k: round(v, 3) for k, v in bytes_each.items()}
        print(f"storage, bytes per frame and object: {bytes_each} (target: 2)")
        size, written = 0, min(rows, options.json_frames)

        def write_files() -> None:
            nonlocal size
            size = json_per_frame(folder / "labelled", folder / "json", written)

        processor, clock = timed(write_files)
        result |= {
            "json_frames": written,
            "json_processor_s": round(processor, 2),
            "json_clock_s": round(clock, 2),
        }
        result["json_bytes_per_frame_and_object"] = round(size / written / 2, 1)
        print(
            f"one JSON file per frame, writing {written}: {processor:.1f} s of one core, {clock:.1f} s wall clock, "
            f"{size / written / 2:.0f} bytes on disk per frame and object"
        )
    finally:
        shutil.rmtree(folder)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
