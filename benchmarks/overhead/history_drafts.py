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
        for answers in episodes:
            for step in range(1, len(answers)):
                for key in _keys(answers[:step]):
                    self._next[key][answers[step]] += 1

    def __call__(self, answers: Sequence[Words]) -> Words:
        """Return the most frequent next answers after `answers`; the last answers if there are too few examples."""
        for key in _keys(answers):
            counts = self._next.get(key)
            if counts and counts.total() >= MIN_EXAMPLES:
                return counts.most_common(1)[0][0]
        return answers[-1]


def _keys(answers: Sequence[Words]) -> list[Any]:
    """Keys of the table, the most specific first."""
    last, ages, before = answers[-1], [], []
    for index, word in enumerate(last):
        other = next((n for n, words in enumerate(reversed(answers)) if words[index] != word), None)
        ages.append(min(len(answers) if other is None else other, MAX_AGE))
        before.append(None if other is None else answers[-1 - other][index])
    return [(last, *ages, *before), (last, *ages)]


def measure_history_drafts(
    checkpoint: str, dataset: Path, episodes: int, suites: Sequence[str]
) -> dict[str, Any]:
    """Fit the table on labelled demonstrations, then compare both kinds of drafts in a checkpoint's rollouts."""
    from inspire_vla.lerobot_plugin.agent import load_policy

    agent = load_policy(checkpoint, device="cpu")
    policy = agent.policy
    demonstrations = _demonstrations(dataset, policy.config.reasoning.mode, agent.n_action_steps)
    training = [answers for number, answers in demonstrations if number % 5]
    table = HistoryTable(training)
    drafters: dict[str, Callable[[Sequence[Words]], Words]] = {
        "last": lambda answers: answers[-1],
        "history": table,
    }
    unseen = [
        {name: draft(answers[:step]) == answers[step] for name, draft in drafters.items()}
        for number, answers in demonstrations
        if number % 5 == 0
        for step in range(1, len(answers))
    ]
    rows: list[dict[str, Any]] = []
    history: dict[int, list[Words]] = defaultdict(list)
    for episode, batch, instruction in play(agent, episodes, suites):
        dialogue, answers = policy.tokenizer.prompt_builder.prompt(instruction), history[episode]
        with torch.inference_mode():
            prefix = policy.encode_observation(batch)
        row: dict[str, Any] = {"episode": episode}
        for name, draft in drafters.items():
            expected = draft(answers) if answers else policy.tokenizer.parts.initial_draft
            words = dict(zip(dialogue.mentions, expected, strict=False))
            (decision,) = decode(policy.backbone, prefix, [dialogue], policy.grammar, drafts=[words])
            extra = decision.forward_passes - (len(decision.token_ids) - len(decision.answers))
            row[name] = {
                "all_accepted": all(decision.accepted),
                "no_extra_pass": extra <= 0,
                "passes": decision.forward_passes,
            }
        answers.append(decision.answers)
        rows.append(row)
    return {
        "demonstrations": {"decisions": len(unseen), **{n: _share(u[n] for u in unseen) for n in drafters}},
        "rollouts": {
            "decisions": len(rows),
            "episodes": len(history),
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
    episodes: dict[int, list[Words]] = defaultdict(list)
    for file in sorted((dataset / "data").rglob("*.parquet")):
        table = pq.read_table(file, columns=[column, "episode_index"])
        for number, codes in zip(table["episode_index"].to_pylist(), table[column].to_pylist(), strict=True):
            labelled = np.array([code for code in codes if code != NO_LABEL], dtype=np.int16)
            episodes[number].append(tuple(decode_answers(labelled, mode).tolist()))
    return [
        (number, answers[start::stride]) for number, answers in episodes.items() for start in range(stride)
    ]


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
