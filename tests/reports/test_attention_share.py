"""Even attention is chance; all of it on the object is one; parts count in part."""

from dataclasses import replace

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.reports.attention_share import (
    Measurement,
    Share,
    as_rows,
    attention_share,
    compared,
    summarise,
)


def half() -> np.ndarray:
    mask = np.zeros((8, 8), bool)
    mask[:, :4] = True
    return mask


def test_even_attention_is_chance() -> None:
    share = attention_share(np.ones((4, 4)), half())
    assert share == Share(0.5, 0.5)
    assert share.ratio == 1.0


def test_attention_on_the_object_alone_is_all_of_it() -> None:
    weights = np.zeros((4, 4))
    weights[2, 1] = 3.0
    assert attention_share(weights, half()).share == 1.0
    weights[2, 3] = 1.0
    assert attention_share(weights, half()).share == 0.75


def test_a_patch_covered_in_part_counts_in_part() -> None:
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = True
    weights = np.zeros((4, 4))
    weights[0, 0] = 1.0
    assert attention_share(weights, mask).share == 0.25
    assert attention_share(weights, mask).area == pytest.approx(1 / 64)


def test_weights_scale_away() -> None:
    weights = np.random.default_rng(0).random((4, 4))
    assert attention_share(weights, half()).share == pytest.approx(attention_share(9 * weights, half()).share)


@pytest.mark.parametrize(
    "weights", [np.ones((3, 4)), np.zeros((4, 4)), -np.ones((4, 4)), np.full((4, 4), np.nan), np.ones(4)]
)
def test_what_is_no_attention_is_refused(weights: np.ndarray) -> None:
    with pytest.raises(InspireError):
        attention_share(weights, half())


def measured(
    policy: str, shares: list[list[float]], *, doing: str = "acting", area: float = 0.1
) -> list[Measurement]:
    """A list of shares for each task."""
    return [
        Measurement(policy, "seen", "suite", f"task {t}", seed, doing, None, share, area)
        for t, row in enumerate(shares)
        for seed, share in enumerate(row)
    ]


def test_what_cannot_be_seen_is_left_out() -> None:
    assert summarise(measured("base", [[0.1]], area=0.0)) == []
    (row,) = summarise(measured("base", [[0.2, 0.4], [0.6]]) + measured("base", [[0.0]], area=0.0))
    assert (row["n"], row["tasks"]) == (3, 2)
    assert row["share_50"] == 0.4
    assert row["ratio_50"] == pytest.approx(4.0)


def test_the_interval_knows_that_states_of_one_task_are_alike() -> None:
    """Ten tasks, each with a hundred equal shares, are ten observations and not a thousand."""
    shares = np.random.default_rng(1).uniform(0, 0.5, 10)
    (alone,) = summarise(measured("base", [[s] for s in shares]))
    (often,) = summarise(measured("base", [[s] * 100 for s in shares]))
    for row in (alone, often):
        assert row["low"] < row["mean"] < row["high"]
    assert often["high"] - often["low"] == pytest.approx(alone["high"] - alone["low"])
    assert 0.6 < (alone["high"] - alone["low"]) / (3.92 * shares.std() / 10**0.5) < 1.1


def test_policies_are_compared_on_the_same_states() -> None:
    base = measured("base", [[0.1, 0.5], [0.3, 0.2]])
    more = [replace(m, policy="InSpire", share=m.share + 0.05) for m in base]
    (row,) = compared([*base, *more, *measured("InSpire", [[0.9]], doing="answering")])
    assert (row["policy"], row["to"], row["n"]) == ("InSpire", "base", 4)
    assert [row["mean"], row["low"], row["high"]] == pytest.approx([0.05] * 3)
    assert compared(base) == []


def test_rows_come_back() -> None:
    base = measured("base", [[0.1, 0.5]])
    assert [Measurement(**row) for row in as_rows(base)] == base
