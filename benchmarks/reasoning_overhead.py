"""Cost of reasoning per decision: base model, the paper's method, a KV cache, speculative decoding.

    python benchmarks/reasoning_overhead.py nano CHECKPOINT     # replays rollouts of a checkpoint
    python benchmarks/reasoning_overhead.py minivla             # real size, random weights; pi0fast, openvla
    python benchmarks/reasoning_overhead.py memory CHECKPOINT   # memory over 10,000 steps
    python benchmarks/reasoning_overhead.py history CHECKPOINT --dataset DEMONSTRATIONS   # other drafts
    python benchmarks/reasoning_overhead.py report              # writes docs/appendix/performance_details.md

All of it on a CPU; on a GPU run `benchmarks/gpu.py`.

A step is everything that depends on the model: encoding the images, all forward passes, sampling tokens, decoding the
actions. The methods run in turn on the same observation, in random order, so that a slow moment of the machine affects
all of them, and ratios are taken within an observation. On one CPU thread the clock is processor time. All methods
except the base model must give the same tokens.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from overhead import history_drafts, report
from overhead.memory import measure_memory
from overhead.nano_replay import measure_nano
from overhead.real_sizes import NAMES, measure_real_size

from inspire_vla.evaluation.provenance import provenance

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "performance" / "reasoning_overhead.json"
"""The published numbers. A measurement changes them only with --out."""
MEASURED = ROOT / "runs" / "overhead" / "reasoning_overhead.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["nano", *NAMES, "memory", "history", "report"])
    parser.add_argument("checkpoint", nargs="?", help="of nano; for `nano`, `memory` and `history`")
    parser.add_argument("--dataset", type=Path, help="labelled demonstrations; for `history`")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--suites", nargs="+", default=["tabletop_seen", "tabletop_goal", "tabletop_long"])
    parser.add_argument(
        "--seconds", type=float, default=600, help="stop after so long; real sizes go on later"
    )
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument(
        "--repeats", type=int, help="per observation of nano (3, the best counts), else in all (20)"
    )
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--depth", type=float, default=1.0, help="share of a real size's layers, if memory is short"
    )
    parser.add_argument("--threads", type=int, default=None, help="of torch")
    parser.add_argument("--kept", type=Path, default=ROOT / "runs" / "overhead", help="rows of real sizes")
    parser.add_argument(
        "--out", type=Path, help=f"default: {MEASURED.relative_to(ROOT)}; of `report`, the published numbers"
    )
    args = parser.parse_args()
    if args.what == "report":
        report.write(args.out or RESULTS)
        return
    args.out = args.out or MEASURED
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.what in ("nano", "memory", "history") and not args.checkpoint:
        parser.error(f"{args.what} needs a checkpoint")
    if args.what == "history" and not args.dataset:
        parser.error("history needs a --dataset")
    origin = provenance()
    load = os.getloadavg()[0]
    if args.what == "nano":
        result = measure_nano(args.checkpoint, args.episodes, args.suites, args.seconds, args.repeats or 3)
    elif args.what == "memory":
        result = measure_memory(args.checkpoint, args.steps)
    elif args.what == "history":
        result = history_drafts.measure_history_drafts(
            args.checkpoint, args.dataset, args.episodes, args.suites
        )
    else:
        result = measure_real_size(
            args.what,
            args.repeats or 20,
            args.objects,
            depth=args.depth,
            seconds=args.seconds,
            kept=args.kept / f"{args.what}_cpu_float32_{args.depth:g}.jsonl",
        )
    result["device"] = "cpu"
    result["threads"] = torch.get_num_threads()
    result["load_before"] = round(load, 1)
    for private in (" --out", " --kept"):  # local paths are not published
        origin["command"] = origin["command"].split(private)[0]
    result["provenance"] = origin
    args.out.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    depth = "" if args.depth == 1 else f"_{args.depth:g}"
    results[f"{args.what}{depth}"] = result
    args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    shown = ("all", "by_objects", "best_ms", "growth_mib_after_the_first_tenth", "rollouts")
    print(json.dumps({k: v for k, v in result.items() if k in shown}, indent=1))


if __name__ == "__main__":
    main()
