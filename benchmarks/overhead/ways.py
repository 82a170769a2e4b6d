"""One decision made in every way, each timed; rows of such times, and their medians."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inspire_vla.backbones.base import Backbone
from inspire_vla.decoding import Decision, Grammar, decode
from inspire_vla.dialogue import Dialogue
from overhead.official_style import decode_official_style

WAYS = ("base", "official", "cached", "guessed")
Timed = dict[str, tuple[float, Decision]]
"""{way: (seconds, decision)}"""


@dataclass(frozen=True)
class Task:
    """What is decided on: the images, the dialogue, and the base model's dialogue, which asks nothing."""

    observe: Callable[[], Tensor]
    asking: Dialogue
    plain: Dialogue


class Ways:
    """The ways of deciding. They run one after the other in changing order, so that all meet the same machine."""

    def __init__(self, backbone: Backbone, grammar: Grammar) -> None:
        self.backbone, self.grammar = backbone, grammar
        self.order = random.Random(0)
        on_gpu = backbone.device.type == "cuda"
        one_thread = not on_gpu and torch.get_num_threads() == 1
        # The processor's clock stands still while another process has the core.
        self.clock, self.clock_name = (
            (time.process_time, "processor time") if one_thread else (time.perf_counter, "wall clock")
        )
        self._wait: Callable[[], object] = torch.cuda.synchronize if on_gpu else lambda: None

    def time(self, task: Task, drafts: Mapping[str, str], ways: Sequence[str] = WAYS) -> Timed:
        """Decide in each of the ways. Raises AssertionError if one of them says something else than the others."""

        def ours(dialogue: Dialogue, draft: Mapping[str, str]) -> Decision:
            return decode(self.backbone, task.observe(), [dialogue], self.grammar, drafts=[draft])[0]

        calls: dict[str, Callable[[], Decision]] = {
            "base": lambda: ours(task.plain, {}),
            "official": lambda: decode_official_style(self.backbone, task.observe, task.asking, self.grammar),
            "cached": lambda: ours(task.asking, {}),
            "guessed": lambda: ours(task.asking, drafts),
        }
        found: Timed = {}
        for way in self.order.sample(list(ways), len(ways)):
            self._wait()
            start = self.clock()
            decision = calls[way]()
            self._wait()
            found[way] = (self.clock() - start, decision)
        return found

    def best(self, task: Task, drafts: Mapping[str, str], ways: Sequence[str] = WAYS, *, tries: int) -> Timed:
        """The shortest of `tries` decisions in each way, all ways in turn: what else ran then counts least."""
        timed = [self.time(task, drafts, ways) for _ in range(tries)]
        return {way: min((one[way] for one in timed), key=lambda took: took[0]) for way in ways}


def ways_differ(found: Timed) -> bool:
    """Whether two ways (the base model aside) said different things, which a tie within rounding can do."""
    return len({d.token_ids for way, (_, d) in found.items() if way != "base"}) > 1


def row_of(found: Timed, objects: int, *, new: bool = False) -> dict[str, Any]:
    """The numbers of one decision, as JSON. `new`: it is the first of an episode.

    A row may hold "wrong" as well: milliseconds and passes of a decision whose wrong draft was made to cost a pass.
    """
    return {
        "objects": objects,
        "first_of_episode": new,
        "right": sum(found["guessed"][1].accepted),
        "differ": ways_differ(found),
        "ms": {way: 1000 * seconds for way, (seconds, _) in found.items()},
        "passes": {way: decision.forward_passes for way, (_, decision) in found.items()},
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians with quartiles, by number of objects and over all."""
    counts = sorted({row["objects"] for row in rows})
    by_objects = {str(n): _summary([row for row in rows if row["objects"] == n]) for n in counts}
    return {"all": _summary(rows), "by_objects": by_objects}


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    timed = {way: [row for row in rows if way in row["ms"]] for way in WAYS}  # not all ways in all rows
    followers = [row for row in rows if not row["first_of_episode"]]

    def share(holds: Callable[[dict[str, Any]], bool], among: Sequence[dict[str, Any]]) -> float | None:
        return float(np.mean([holds(row) for row in among])) if among else None

    def all_right(row: dict[str, Any]) -> bool:
        return row["right"] == row["objects"]

    def free(row: dict[str, Any]) -> bool:
        return row["passes"]["guessed"] <= row["passes"]["base"]

    def total(way: str, among: Sequence[dict[str, Any]]) -> float:
        return sum(row["ms"][way] for row in among)

    ways = [way for way in WAYS if timed[way]]
    ratio = {way: [row["ms"][way] / row["ms"]["base"] for row in timed[way]] for way in ways}
    ratio["no_pass_lost"] = [r for r, row in zip(ratio["guessed"], rows, strict=True) if free(row)]
    ratio["pass_lost"] = [r for r, row in zip(ratio["guessed"], rows, strict=True) if not free(row)]
    ratio["pass_lost"] += [row["wrong"]["ms"] / row["ms"]["base"] for row in rows if "wrong" in row]
    return {
        "steps": len(rows),
        "ms": {way: spread([row["ms"][way] for row in timed[way]]) for way in ways},
        "ratio": {way: spread(found) for way, found in ratio.items() if found},
        "mean_ratio": {way: total(way, timed[way]) / total("base", timed[way]) for way in ways},
        "passes": {way: float(np.mean([row["passes"][way] for row in timed[way]])) for way in ways},
        "ways_differ": sum(row["differ"] for row in rows),
        "answers_guessed_right": sum(row["right"] for row in rows) / sum(row["objects"] for row in rows),
        "steps_all_guessed_right": share(all_right, rows),
        "steps_all_guessed_right_after_the_first": share(all_right, followers),
        "steps_without_an_extra_pass": share(free, rows),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {"median": float(middle), "q25": float(low), "q75": float(high)}
