"""What reasoning costs a control step: base model, the paper's way, one growing cache, guess and verify.

    python benchmarks/reasoning_overhead.py nano CHECKPOINT     # replays rollouts of a checkpoint
    python benchmarks/reasoning_overhead.py minivla             # real size, random weights; pi0fast, openvla
    python benchmarks/reasoning_overhead.py memory CHECKPOINT   # does anything grow over 10,000 steps?
    python benchmarks/reasoning_overhead.py habit CHECKPOINT --dataset DEMONSTRATIONS   # better guesses?
    python benchmarks/reasoning_overhead.py report              # docs/performance.md from what was measured

A step is what depends on the model: encoding the images, all passes, choosing tokens, decoding the actions. The ways
are measured side by side on the same observation, one after the other in changing order, so that a slow moment of the
machine hits all alike; ratios are taken within an observation. On one thread of a CPU the clock is the processor's,
which stands still while another process has the core. The results of the ways are compared as well: but for the base
model all must say the same.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from overhead import habit, report
from overhead.memory import measure_memory
from overhead.nano_replay import measure_nano
from overhead.real_sizes import SIZES, measure_real_size

from inspire_vla.evaluation.provenance import provenance

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "performance" / "reasoning_overhead.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["nano", *SIZES, "memory", "habit", "report"])
    parser.add_argument("checkpoint", nargs="?", help="of nano; for `nano`, `memory` and `habit`")
    parser.add_argument("--dataset", type=Path, help="labelled demonstrations; for `habit`")
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
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default=None, help="default: bfloat16 on a GPU, float32 on a CPU")
    parser.add_argument("--threads", type=int, default=None, help="of torch, on a CPU")
    parser.add_argument("--kept", type=Path, default=ROOT / "runs" / "overhead", help="rows of real sizes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.what == "report":
        report.write(args.out)
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.what in ("nano", "memory", "habit") and not args.checkpoint:
        parser.error(f"{args.what} needs a checkpoint")
    if args.what == "habit" and not args.dataset:
        parser.error("habit needs a --dataset")
    origin = provenance()
    load = os.getloadavg()[0]
    if args.what == "nano":
        found = measure_nano(args.checkpoint, args.episodes, args.suites, args.seconds, args.repeats or 3)
    elif args.what == "memory":
        found = measure_memory(args.checkpoint, args.steps)
    elif args.what == "habit":
        found = habit.measure_habit(args.checkpoint, args.dataset, args.episodes, args.suites)
    else:
        name = args.dtype or ("bfloat16" if args.device == "cuda" else "float32")
        found = measure_real_size(
            args.what,
            args.device,
            getattr(torch, name),
            args.repeats or 20,
            args.objects,
            depth=args.depth,
            seconds=args.seconds,
            kept=args.kept / f"{args.what}_{args.device}_{name}_{args.depth:g}.jsonl",
        )
    found["device"] = args.device
    found["threads"] = torch.get_num_threads()
    found["load_before"] = round(load, 1)
    for private in (" --out", " --kept"):  # where the numbers lie is nobody's business
        origin["command"] = origin["command"].split(private)[0]
    found["provenance"] = origin
    args.out.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    device = "" if args.device == "cpu" else f"_{args.device}"
    depth = "" if args.depth == 1 else f"_{args.depth:g}"
    results[f"{args.what}{device}{depth}"] = found
    args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    shown = ("all", "by_objects", "best_ms", "growth_mib_after_the_first_tenth", "rollouts")
    print(json.dumps({k: v for k, v in found.items() if k in shown}, indent=1))


if __name__ == "__main__":
    main()
