"""Success rate of the scripted expert on the tasks of LIBERO, one attempt per scene.

    python benchmarks/libero_expert.py runs/expert.jsonl --suites libero_object --scenes 10 --minutes 8

Each attempt is one line of the file, so the same command continues after an interruption. All tasks of a scene number
come before the next scene number, so an incomplete run is balanced over tasks. A crash is a failure, with its message.
"""

import argparse
import json
import time
from pathlib import Path

from inspire_vla.evaluation import wilson
from inspire_vla.libero.collection import NOISE, Conditions, attempt_task, seed_of
from inspire_vla.libero.expert import unsupported_reason
from inspire_vla.libero.simulation import shared_simulation
from inspire_vla.libero.tasks import instruction_of, read_problem, task_files


def lines_of(path: Path) -> tuple[int, list[dict]]:
    """Return the size and the records of the complete lines; an incomplete last line is ignored."""
    text = path.read_bytes() if path.exists() else b""
    whole = text.rfind(b"\n") + 1
    return whole, [json.loads(line) for line in text[:whole].splitlines()]


def play(suite: str, path: Path, scene: int, seed: int, noise: float) -> dict:
    """Return the record of one attempt."""
    conditions = Conditions(suite, (path.stem,), seed, (), None, noise)
    line: dict = {"suite": suite, "task": path.stem, "scene": scene, "seed": seed, "noise": noise}
    started = time.process_time()
    try:
        drawn = seed_of(conditions, path.stem, scene, 0)
        attempt = attempt_task(shared_simulation(str(path), None), path, conditions, drawn)
        line |= {"success": attempt is not None, "steps": None if attempt is None else len(attempt[1])}
    except Exception as error:
        line |= {"success": False, "steps": None, "error": f"{type(error).__name__}: {error}"}
    return line | {"processor_s": round(time.process_time() - started, 1)}


def table(lines: list[dict], suites: list[str]) -> str:
    """Success by suite and by task, with Wilson's 95 % intervals."""
    rows = ["| suite, task | success | n | steps, median |", "|---|---|---|---|"]
    for suite in suites:
        of_suite = [line for line in lines if line["suite"] == suite]
        groups = {f"**{suite}**": of_suite}
        for task in sorted({line["task"] for line in of_suite}):
            groups[task.replace("_", " ")] = [line for line in of_suite if line["task"] == task]
        for name, group in groups.items():
            steps = sorted(line["steps"] for line in group if line["success"])
            estimate = wilson(len(steps), len(group))
            rows.append(
                f"| {name} | {estimate} | {len(group)} | {steps[len(steps) // 2] if steps else '–'} |"
            )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("record", type=Path)
    parser.add_argument("--suites", nargs="+", default=["libero_object"])
    parser.add_argument("--scenes", type=int, default=10, help="of each task, default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", type=float, default=NOISE, help="default: %(default)s, as inspire collect")
    parser.add_argument("--minutes", type=float, help="begin no attempt after so long")
    options = parser.parse_args()
    started = time.monotonic()
    whole, lines = lines_of(options.record)
    done = {(line["suite"], line["task"], line["scene"], line["seed"], line["noise"]) for line in lines}
    options.record.parent.mkdir(parents=True, exist_ok=True)
    with options.record.open("a", encoding="utf-8") as file:
        file.truncate(whole)
        for suite in options.suites:
            paths = [
                p for p in task_files(suite) if unsupported_reason(read_problem(p), instruction_of(p)) is None
            ]
            for scene, path in ((scene, path) for scene in range(options.scenes) for path in paths):
                if (suite, path.stem, scene, options.seed, options.noise) in done:
                    continue
                if options.minutes is not None and time.monotonic() - started > 60 * options.minutes:
                    break
                line = play(suite, path, scene, options.seed, options.noise)
                lines.append(line)
                file.write(json.dumps(line) + "\n")
                file.flush()
    print(table(lines, options.suites))


if __name__ == "__main__":
    main()
