"""Would drafts from an answer history be accepted more often than the last answers? Only measured, not used."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from inspire_vla.decoding import decode
from inspire_vla.labels.columns import answer_column
from inspire_vla.spatial import NO_LABEL, decode_answers
from overhead.nano_replay import play

Words = tuple[str, ...]
"""The answers of one decision."""
MAX_AGE = 12
"""Maximum age of an answer, in decisions; older ones count as that old."""
MIN_EXAMPLES = 5
"""Minimum number of examples in the demonstrations for an entry of the table."""


class HistoryTable:
    """Maps the last answers, their ages and the answers before them to the next answers."""

    def __init__(self, episodes: Iterable[Sequence[Words]]) -> None:
        self._next: dict[Any, Counter[Words]] = defaultdict(Counter)
        for said in episodes:
            for step in range(1, len(said)):
                for key in _keys(said[:step]):
                    self._next[key][said[step]] += 1

    def __call__(self, said: Sequence[Words]) -> Words:
        """Return the most frequent next answers after `said`; the last answers if there are too few examples."""
        for key in _keys(said):
            found = self._next.get(key)
            if found and found.total() >= MIN_EXAMPLES:
                return found.most_common(1)[0][0]
        return said[-1]


def _keys(said: Sequence[Words]) -> list[Any]:
    """Keys of the table, the most specific first."""
    last, ages, before = said[-1], [], []
    for place, word in enumerate(last):
        other = next((n for n, words in enumerate(reversed(said)) if words[place] != word), None)
        ages.append(min(len(said) if other is None else other, MAX_AGE))
        before.append(None if other is None else said[-1 - other][place])
    return [(last, *ages, *before), (last, *ages)]


def measure_history_drafts(
    checkpoint: str, dataset: Path, episodes: int, suites: Sequence[str]
) -> dict[str, Any]:
    """Fit the table on labelled demonstrations, then compare both kinds of drafts in a checkpoint's rollouts."""
    from inspire_vla.lerobot_plugin.agent import load_policy

    agent = load_policy(checkpoint, device="cpu")
    policy = agent.policy
    shown = _demonstrations(dataset, policy.config.reasoning.mode, agent.n_action_steps)
    learned = [said for number, said in shown if number % 5]
    table = HistoryTable(learned)
    drafters: dict[str, Callable[[Sequence[Words]], Words]] = {
        "last": lambda said: said[-1],
        "history": table,
    }
    unseen = [
        {name: draft(said[:step]) == said[step] for name, draft in drafters.items()}
        for number, said in shown
        if number % 5 == 0
        for step in range(1, len(said))
    ]
    rows: list[dict[str, Any]] = []
    told: dict[int, list[Words]] = defaultdict(list)
    for episode, batch, asked in play(agent, episodes, suites):
        dialogue, said = policy.tokenizer.prompt_builder.prompt(asked), told[episode]
        with torch.inference_mode():
            prefix = policy.encode_observation(batch)
        row: dict[str, Any] = {"episode": episode}
        for name, draft in drafters.items():
            expected = draft(said) if said else policy.tokenizer.parts.initial_draft
            words = dict(zip(dialogue.mentions, expected, strict=False))
            (decision,) = decode(policy.backbone, prefix, [dialogue], policy.grammar, drafts=[words])
            extra = decision.forward_passes - (len(decision.token_ids) - len(decision.answers))
            row[name] = {
                "all_accepted": all(decision.accepted),
                "no_extra_pass": extra <= 0,
                "passes": decision.forward_passes,
            }
        said.append(decision.answers)
        rows.append(row)
    return {
        "demonstrations": {"decisions": len(unseen), **{n: _share(u[n] for u in unseen) for n in drafters}},
        "rollouts": {
            "decisions": len(rows),
            "episodes": len(told),
            **{
                name: {
                    what: _share(row[name][what] for row in rows)
                    for what in ("all_accepted", "no_extra_pass", "passes")
                }
                for name in drafters
            },
            "no_extra_pass_gained": _gained(rows),
        },
    }


def _demonstrations(dataset: Path, mode: str, stride: int) -> list[tuple[int, list[Words]]]:
    """(episode, its answers every `stride` frames), starting at each of the first `stride` frames."""
    column = answer_column(mode)
    found: dict[int, list[Words]] = defaultdict(list)
    for file in sorted((dataset / "data").rglob("*.parquet")):
        table = pq.read_table(file, columns=[column, "episode_index"])
        for number, codes in zip(table["episode_index"].to_pylist(), table[column].to_pylist(), strict=True):
            asked = np.array([code for code in codes if code != NO_LABEL], dtype=np.int16)
            found[number].append(tuple(decode_answers(asked, mode).tolist()))
    return [(number, said[start::stride]) for number, said in found.items() for start in range(stride)]


def _gained(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Gain in decisions without an extra pass, with a 95 % interval (bootstrap over episodes)."""
    by_episode: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        by_episode[row["episode"]].append(
            int(row["history"]["no_extra_pass"]) - int(row["last"]["no_extra_pass"])
        )
    sums = np.array([[sum(gains), len(gains)] for gains in by_episode.values()])
    resampled = np.random.default_rng(0).integers(len(sums), size=(5000, len(sums)))
    totals = sums[resampled].sum(axis=1)
    low, high = np.percentile(totals[:, 0] / totals[:, 1], (2.5, 97.5))
    return {"mean": float(sums[:, 0].sum() / sums[:, 1].sum()), "low": float(low), "high": float(high)}


def _share(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
