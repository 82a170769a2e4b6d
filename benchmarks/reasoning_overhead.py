"""What reasoning costs a control step: base model, the paper's way, one growing cache, guess and verify.

    python benchmarks/reasoning_overhead.py nano runs/nano_inspire    # replays rollouts of a checkpoint
    python benchmarks/reasoning_overhead.py minivla                   # real size, random weights; pi0fast, openvla
    python benchmarks/reasoning_overhead.py memory runs/nano_inspire  # does anything grow over 10,000 steps?
    python benchmarks/reasoning_overhead.py report                    # docs/performance.md from what was measured

A step is what depends on the model: encoding the pictures, all passes, choosing tokens, decoding the actions. The ways
are measured side by side on the same observation, one after the other in changing order, so that a slow moment of the
machine hits all alike; ratios are taken within an observation. The results of the ways are compared as well: but for
the base model all must say the same.
"""

import argparse
import gc
import json
import os
import random
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from official_style import decode_official_style
from torch import Tensor

from inspire_vla.decoding import AnswerSet, Decision, Grammar, decode
from inspire_vla.dialogue import Dialogue, build_dialogue
from inspire_vla.evaluation.provenance import provenance

RESULTS = Path(__file__).parents[1] / "docs" / "performance" / "reasoning_overhead.json"
WAYS = ("base", "official", "cached", "guessed")
INSTRUCTIONS = {
    1: "open the top drawer of the cabinet",
    2: "pick up the black bowl and place it on the plate",
    3: "pick up the red mug between the plate and the basket and put the yellow mug on the left plate",
}


class Ways:
    """The ways of deciding on one observation, timed."""

    def __init__(self, backbone: Any, grammar: Grammar) -> None:
        self.backbone, self.grammar = backbone, grammar
        self.order = random.Random(0)

    def time(
        self,
        observe: Callable[[], Tensor],
        asking: Dialogue,
        plain: Dialogue,
        guesses: dict[str, str],
        ways: Sequence[str] = WAYS,
    ) -> dict[str, tuple[float, Decision]]:
        """way → (seconds, decision)."""

        def ours(dialogue: Dialogue, guess: dict[str, str]) -> Decision:
            return decode(self.backbone, observe(), [dialogue], self.grammar, guesses=[guess])[0]

        calls: dict[str, Callable[[], Decision]] = {
            "base": lambda: ours(plain, {}),
            "official": lambda: decode_official_style(self.backbone, observe, asking, self.grammar),
            "cached": lambda: ours(asking, {}),
            "guessed": lambda: ours(asking, guesses),
        }
        found = {}
        for way in self.order.sample(list(ways), len(ways)):
            self._wait()
            start = time.perf_counter()
            decision = calls[way]()
            self._wait()
            found[way] = (time.perf_counter() - start, decision)
        said = {way: decision.token_ids for way, (_, decision) in found.items() if way != "base"}
        if len(set(said.values())) > 1:
            print("ways differ (a tie within rounding?):", said)
        return found

    def _wait(self) -> None:
        if self.backbone.device.type == "cuda":
            torch.cuda.synchronize()


def measure_nano(
    checkpoint: str, episodes: int, suites: Sequence[str], seconds: float, repeats: int
) -> dict[str, Any]:
    """Play episodes with the checkpoint, then decide again on what it saw, each way.

    A decision takes milliseconds, which any other process of the machine disturbs: the best of `repeats` counts.
    """
    from inspire_vla.lerobot_plugin.loading import load_policy

    agent = load_policy(checkpoint, device="cpu")
    policy = agent.policy
    frames = list(_play(agent, episodes, suites))
    ways = Ways(policy.backbone, policy.grammar)
    rows: list[dict[str, Any]] = []
    deadline = time.monotonic() + seconds
    last: dict[int, dict[str, str]] = {}
    for warm, (episode, batch, asked) in [*((True, f) for f in frames[:5]), *((False, f) for f in frames)]:
        dialogue = policy.writer.prompt(asked)
        plain = build_dialogue(asked, template=policy.backbone.template, reasoning=False)
        first = dict(zip(dialogue.mentions, policy.first_answers, strict=False))
        guesses = last.get(episode, first)

        def observe(batch: dict = batch) -> Tensor:
            with torch.inference_mode():
                return policy._observe(batch)

        tries = [ways.time(observe, dialogue, plain, guesses) for _ in range(1 if warm else repeats)]
        if warm:
            continue
        found = {way: min((t[way] for t in tries), key=lambda timed: timed[0]) for way in WAYS}
        rows.append(_row(len(dialogue.mentions), found, new=episode not in last))
        last[episode] = found["guessed"][1].words
        if time.monotonic() > deadline:
            break
    return {
        "title": "nano",
        "replayed_steps": len(rows),
        "episodes": len({f[0] for f in frames}),
        "suites": list(suites),
        "best_of": repeats,
        **_summary(rows),
    }


def _play(agent: Any, episodes: int, suites: Sequence[str]) -> Any:
    """(episode, preprocessed batch, instruction) of every decision in `episodes` rollouts, task after task."""
    from inspire_vla.evaluation import FIRST_SEED
    from inspire_vla.tabletop.benchmark import TabletopBenchmark

    benchmark = TabletopBenchmark()
    tasks = [(suite, task) for suite in suites for task in benchmark.tasks(suite)]
    random.Random(0).shuffle(tasks)
    for episode in range(episodes):
        suite, task = tasks[episode % len(tasks)]
        env = benchmark.make(suite, task)
        observation, info = env.reset(seed=FIRST_SEED + episode)
        over = False
        while not over:
            batch = agent.preprocessor(agent._batch([observation], [task.instruction]))
            yield episode, batch, task.instruction
            (decision,) = agent.act([observation], [task.instruction])
            actions = np.zeros((1, 7)) if decision.actions is None else decision.actions
            for action in actions[: agent.n_action_steps]:
                observation, _, terminated, truncated, info = env.step(action)
                over = terminated or truncated or bool(info["is_success"])
                if over:
                    break
        env.close()


def _row(objects: int, found: dict[str, tuple[float, Decision]], *, new: bool) -> dict[str, Any]:
    guessed = found["guessed"][1]
    return {
        "objects": objects,
        "first_of_episode": new,
        "right": sum(guessed.guessed),
        "ms": {way: 1000 * t for way, (t, _) in found.items()},
        "passes": {way: d.passes for way, (_, d) in found.items()},
    }


def measure_real_size(
    name: str, device: str, dtype: torch.dtype, repeats: int, objects: Sequence[int]
) -> dict[str, Any]:
    """Random weights and noise for pictures: right guesses and one wrong guess timed apart, then weighed as in life."""
    from real_sizes import SIZES, make

    backbone, bins, vocabulary = make(name, device, dtype)
    answers = AnswerSet(
        ("right", "left", "up", "down", "front", "back", "grasped"),
        backbone.text_tokenizer,
        backbone.template,
    )
    grammar = Grammar(backbone.text_tokenizer, answers, bins, vocabulary)
    ways = Ways(backbone, grammar)
    out: dict[str, Any] = {
        "title": SIZES[name].title,
        "dtype": str(dtype).removeprefix("torch."),
        "by_objects": {},
    }
    generator = torch.Generator().manual_seed(0)
    state = " ".join(["128"] * 8) if SIZES[name].state else None
    for count in objects:
        options: dict[str, Any] = {"template": backbone.template, "state_text": state}
        dialogue = build_dialogue(INSTRUCTIONS[count], max_objects=count, **options)
        assert len(dialogue.mentions) == count, dialogue.mentions
        plain = build_dialogue(INSTRUCTIONS[count], reasoning=False, **options)
        rows: list[dict[str, Any]] = []
        wrong: list[tuple[float, float, int]] = []  # ms, × base, passes
        for repeat in range(-1, repeats):
            images = torch.rand(1, backbone.pictures, 3, 224, 224, generator=generator).to(device, dtype)

            def observe(images: Tensor = images) -> Tensor:
                with torch.inference_mode():
                    return backbone.observe(images, None)

            if repeat < 0:  # warm up, and see what it says
                ways.time(observe, dialogue, plain, {}, ("cached",))
                continue
            right = ways.time(observe, dialogue, plain, {}, ("cached",))["cached"][1].words
            found = ways.time(observe, dialogue, plain, right)
            rows.append(_row(count, found, new=False))
            guess = dict(right)
            first, words = dialogue.mentions[0], answers.words
            guess[first] = words[words.index(right[first]) - 1]
            seconds, decision = ways.time(observe, dialogue, plain, guess, ("guessed",))["guessed"]
            wrong.append((1000 * seconds, seconds / found["base"][0], decision.passes))
        summary = _summary(rows)["by_objects"][str(count)]
        # Where what was said behind the wrong guess turned out right, no pass was lost, and there is nothing to see.
        lost = [w for w in wrong if w[2] > summary["passes"]["base"]] or wrong
        for key, values in zip(("ms", "ratio", "passes"), zip(*lost, strict=True), strict=True):
            summary[key]["one_pass_more"] = float(np.mean(values)) if key == "passes" else _spread(values)
        out["by_objects"][str(count)] = summary
        print(name, count, json.dumps(summary["ratio"]))
    return out


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians with quartiles, by number of objects and over all."""

    def of(rows: list[dict[str, Any]]) -> dict[str, Any]:
        ways = [way for way in WAYS if way in rows[0]["ms"]]
        asked = sum(row["objects"] for row in rows)
        followers = [row for row in rows if not row["first_of_episode"]]
        return {
            "steps": len(rows),
            "ms": {way: _spread([row["ms"][way] for row in rows]) for way in ways},
            "ratio": {way: _spread([row["ms"][way] / row["ms"]["base"] for row in rows]) for way in ways},
            "mean_ratio": {
                way: sum(row["ms"][way] for row in rows) / sum(row["ms"]["base"] for row in rows)
                for way in ways
            },
            "passes": {way: float(np.mean([row["passes"][way] for row in rows])) for way in ways},
            "answers_guessed_right": sum(row["right"] for row in rows) / asked,
            "steps_all_guessed_right": float(np.mean([row["right"] == row["objects"] for row in rows])),
            "steps_all_guessed_right_after_the_first": _share(
                [row["right"] == row["objects"] for row in followers]
            ),
            "steps_without_an_extra_pass": _share(
                [row["passes"]["guessed"] <= row["passes"]["base"] for row in rows]
            ),
        }

    counts = sorted({row["objects"] for row in rows})
    by_objects = {str(n): of([row for row in rows if row["objects"] == n]) for n in counts}
    return {"all": of(rows), "by_objects": by_objects}


def _share(holds: Sequence[bool]) -> float | None:
    return float(np.mean(holds)) if holds else None


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {"median": float(middle), "q25": float(low), "q75": float(high)}


def measure_memory(checkpoint: str, steps: int) -> dict[str, Any]:
    """Decide again and again, with instructions and guesses that change; note the process' memory."""
    from inspire_vla.lerobot_plugin.loading import load_policy
    from inspire_vla.tabletop.benchmark import TabletopBenchmark

    agent = load_policy(checkpoint, device="cpu")
    texts = [task.instruction for task in TabletopBenchmark().tasks("tabletop_seen")]
    shape = next(iter(agent.config.image_features.values())).shape
    cameras = [key.removeprefix("observation.images.") for key in agent.config.image_features]
    rng = np.random.default_rng(0)
    words = agent.policy.answer_set.words
    noted = {}
    for step in range(steps + 1):
        text = texts[step % len(texts)]
        picture = rng.integers(0, 255, (*shape[1:], 3), dtype=np.uint8)
        observation = {"pixels": dict.fromkeys(cameras, picture), "agent_pos": rng.normal(size=8)}
        guess = {m: str(rng.choice(words)) for m in agent.policy.writer.prompt(text).mentions}
        agent.act([observation], [text], guesses=[guess])
        if step % max(1, steps // 10) == 0:
            gc.collect()
            noted[step] = round(_resident_mib(), 1)
            print(step, noted[step], "MiB")
    early = noted[sorted(noted)[1]]
    return {"steps": steps, "resident_mib": noted, "growth_mib_after_the_first_tenth": noted[steps] - early}


def _resident_mib() -> float:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["nano", "minivla", "pi0fast", "openvla", "tiny", "memory", "report"])
    parser.add_argument("checkpoint", nargs="?", help="of nano; for `nano` and `memory`")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--suites", nargs="+", default=["tabletop_seen", "tabletop_goal", "tabletop_long"])
    parser.add_argument("--seconds", type=float, default=600, help="stop replaying after so long")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument(
        "--repeats", type=int, help="per observation of nano (3, the best counts), else in all (20)"
    )
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default=None, help="default: bfloat16 on a GPU, float32 on a CPU")
    parser.add_argument("--threads", type=int, default=None, help="of torch, on a CPU")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.what == "report":
        import overhead_report

        overhead_report.write(args.out)
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.what in ("nano", "memory") and not args.checkpoint:
        parser.error(f"{args.what} needs a checkpoint")
    load = os.getloadavg()[0]
    if args.what == "nano":
        found = measure_nano(args.checkpoint, args.episodes, args.suites, args.seconds, args.repeats or 3)
    elif args.what == "memory":
        found = measure_memory(args.checkpoint, args.steps)
    else:
        name = args.dtype or ("bfloat16" if args.device == "cuda" else "float32")
        found = measure_real_size(
            args.what, args.device, getattr(torch, name), args.repeats or 20, args.objects
        )
    found["device"] = args.device
    found["threads"] = torch.get_num_threads()
    found["load_before"] = round(load, 1)
    origin = provenance()
    origin["command"] = origin["command"].split(" --out")[0]  # where the numbers lie is nobody's business
    found["provenance"] = origin
    args.out.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    results[args.what if args.device == "cpu" else f"{args.what}_{args.device}"] = found
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    print(
        json.dumps(
            {
                k: v
                for k, v in found.items()
                if k in ("all", "by_objects", "growth_mib_after_the_first_tenth")
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
