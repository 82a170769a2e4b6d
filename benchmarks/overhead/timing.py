"""One decision made in every method, each timed; rows of such times, and their medians."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inspire_vla.backbones.base import Backbone
from inspire_vla.decoding import Decision, FlowHead, Grammar, decode
from inspire_vla.dialogue import Dialogue
from overhead.per_question import decode_per_question

METHODS = ("base", "per_question", "cached", "speculative")
Timed = dict[str, tuple[float, Decision]]
"""method → (seconds, decision)"""


@dataclass(frozen=True)
class Task:
    """One decision: the images, InSpire's dialogue, the base model's dialogue without questions, and the state."""

    observe: Callable[[], Tensor]
    asking: Dialogue
    plain: Dialogue
    states: Callable[[], Tensor | None] = lambda: None


class MethodTimer:
    """Times the methods in turn, in random order, so that a slow moment of the machine affects all of them."""

    def __init__(self, backbone: Backbone, grammar: Grammar, flow: FlowHead | None = None) -> None:
        self.backbone, self.grammar, self.flow = backbone, grammar, flow
        self.order = random.Random(0)
        on_gpu = backbone.device.type == "cuda"
        one_thread = not on_gpu and torch.get_num_threads() == 1
        # Processor time does not include the time in which another process has the core.
        self.clock, self.clock_name = (
            (time.process_time, "processor time") if one_thread else (time.perf_counter, "wall clock")
        )
        self._wait: Callable[[], object] = torch.cuda.synchronize if on_gpu else lambda: None

    def time(self, task: Task, drafts: Mapping[str, str], methods: Sequence[str] = METHODS) -> Timed:
        """Decide by each of the methods."""

        def speculative(dialogue: Dialogue, draft: Mapping[str, str]) -> Decision:
            return decode(
                self.backbone,
                task.observe(),
                [dialogue],
                self.grammar,
                drafts=[draft],
                states=task.states(),
                flow=self.flow,
            )[0]

        calls: dict[str, Callable[[], Decision]] = {
            "base": lambda: speculative(task.plain, {}),
            "per_question": lambda: decode_per_question(
                self.backbone, task.observe, task.asking, self.grammar, task.states, self.flow
            ),
            "cached": lambda: speculative(task.asking, {}),
            "speculative": lambda: speculative(task.asking, drafts),
        }
        timed: Timed = {}
        for method in self.order.sample(list(methods), len(methods)):
            self._wait()
            start = self.clock()
            decision = calls[method]()
            self._wait()
            timed[method] = (self.clock() - start, decision)
        return timed

    def best(
        self, task: Task, drafts: Mapping[str, str], methods: Sequence[str] = METHODS, *, tries: int
    ) -> Timed:
        """Return the fastest of `tries` decisions by each method, to reduce the effect of other processes."""
        timed = [self.time(task, drafts, methods) for _ in range(tries)]
        return {method: min((one[method] for one in timed), key=lambda took: took[0]) for method in methods}


def outputs_differ(timed: Timed) -> bool:
    """Return whether two methods (except the base model) give different tokens, as rounding can cause at a tie."""
    return len({d.token_ids for method, (_, d) in timed.items() if method != "base"}) > 1


def row_of(timed: Timed, objects: int, *, new: bool = False) -> dict[str, Any]:
    """Return the numbers of one decision, as JSON. `new`: it is the first of an episode.

    A row may hold "wrong" as well: milliseconds and passes of a decision whose wrong draft was made to cost a pass.
    """
    return {
        "objects": objects,
        "first_of_episode": new,
        "accepted": sum(timed["speculative"][1].accepted),
        "differ": outputs_differ(timed),
        "ms": {method: 1000 * seconds for method, (seconds, _) in timed.items()},
        "passes": {method: decision.forward_passes for method, (_, decision) in timed.items()},
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return medians and quartiles, by number of objects and over all."""
    counts = sorted({row["objects"] for row in rows})
    by_objects = {str(n): _summary([row for row in rows if row["objects"] == n]) for n in counts}
    return {"all": _summary(rows), "by_objects": by_objects}


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    timed = {
        method: [row for row in rows if method in row["ms"]] for method in METHODS
    }  # a row may lack a method
    followers = [row for row in rows if not row["first_of_episode"]]

    def share(holds: Callable[[dict[str, Any]], bool], among: Sequence[dict[str, Any]]) -> float | None:
        return float(np.mean([holds(row) for row in among])) if among else None

    def all_accepted(row: dict[str, Any]) -> bool:
        return row["accepted"] == row["objects"]

    def no_extra_pass(row: dict[str, Any]) -> bool:
        return row["passes"]["speculative"] <= row["passes"]["base"]

    def total(method: str, among: Sequence[dict[str, Any]]) -> float:
        return sum(row["ms"][method] for row in among)

    methods = [method for method in METHODS if timed[method]]
    ratio = {method: [row["ms"][method] / row["ms"]["base"] for row in timed[method]] for method in methods}
    ratio["no_extra_pass"] = [
        r for r, row in zip(ratio["speculative"], rows, strict=True) if no_extra_pass(row)
    ]
    ratio["extra_pass"] = [
        r for r, row in zip(ratio["speculative"], rows, strict=True) if not no_extra_pass(row)
    ]
    ratio["extra_pass"] += [row["wrong"]["ms"] / row["ms"]["base"] for row in rows if "wrong" in row]
    return {
        "steps": len(rows),
        "ms": {method: spread([row["ms"][method] for row in timed[method]]) for method in methods},
        "ratio": {method: spread(ratios) for method, ratios in ratio.items() if ratios},
        "mean_ratio": {
            method: total(method, timed[method]) / total("base", timed[method]) for method in methods
        },
        "passes": {
            method: float(np.mean([row["passes"][method] for row in timed[method]])) for method in methods
        },
        "outputs_differ": sum(row["differ"] for row in rows),
        "answers_accepted": sum(row["accepted"] for row in rows) / sum(row["objects"] for row in rows),
        "steps_all_accepted": share(all_accepted, rows),
        "steps_all_accepted_after_the_first": share(all_accepted, followers),
        "steps_without_an_extra_pass": share(no_extra_pass, rows),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {"median": float(middle), "q25": float(low), "q75": float(high)}
