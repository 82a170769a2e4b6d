"""Uniform attention is chance; all of it on the object is one; overlays show it; a folder is written and read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.reports import synthetic

from inspire_vla.errors import InspireError
from inspire_vla.reports.attention import (
    Measurement,
    Share,
    attention_share,
    compared,
    summarise,
)
from inspire_vla.reports.attention_files import read_attention, write_attention
from inspire_vla.reports.attention_overlay import outlined, overlay

IMAGE = synthetic.frames(1, 0)[0]


def test_heat_is_where_the_weight_is():
    weights = np.zeros((8, 8))
    weights[2, 6] = 3.0
    changed = np.abs(np.asarray(overlay(IMAGE, weights), int) - np.asarray(overlay(IMAGE, 0 * weights), int))
    y, x = np.unravel_index(changed.sum(-1).argmax(), changed.shape[:2])
    assert (int(y) // 40, int(x) // 40) == (2, 6)


def test_scale_does_not_matter():
    weights = np.random.default_rng(0).random((8, 8))
    assert np.array_equal(np.asarray(overlay(IMAGE, weights)), np.asarray(overlay(IMAGE, 7 * weights)))


def test_looking_everywhere_alike_shows_no_heat():
    even = np.asarray(overlay(IMAGE, np.ones((8, 8))))
    assert np.array_equal(even, np.asarray(overlay(IMAGE, np.zeros((8, 8)))))
    assert overlay(IMAGE, None).size == (320, 320)


def test_an_outline_goes_around_the_mask_and_leaves_it_open():
    mask = np.zeros((80, 80), bool)
    mask[20:40, 30:60] = True
    plain = overlay(IMAGE, None, size=160)
    drawn = np.asarray(outlined(plain, mask, (255, 0, 255)))
    line = (drawn == (255, 0, 255)).all(-1)
    inside = np.kron(mask, np.ones((2, 2), bool))
    assert line.any()
    assert not (line & inside).any()
    assert np.array_equal(drawn[inside], np.asarray(plain)[inside])
    rows, columns = np.nonzero(line)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (38, 81, 58, 121)


@pytest.mark.parametrize("weights", [np.ones(3), -np.ones((2, 2)), np.full((2, 2), np.nan)])
def test_bad_weights_are_refused(weights):
    with pytest.raises(InspireError, match="weights"):
        overlay(IMAGE, weights)


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


def test_what_is_written_is_read(tmp_path: Path) -> None:
    attention = synthetic.attention()
    folder = write_attention(tmp_path / "deep" / "attention", attention)
    assert {p.name for p in folder.iterdir()} == {"attention.json", "figure.png", "shares.svg"}
    back = read_attention(folder)
    assert back.measured == attention.measured
    assert back.about == attention.about
    assert back.policies == ["base", "InSpire"]
    for old, new in zip(attention.examples[0].tiles, back.examples[0].tiles, strict=True):
        assert (new.policy, new.doing, new.about, new.share) == (old.policy, old.doing, old.about, old.share)
        difference = np.asarray(new.image, int) - np.asarray(old.image, int)
        assert np.abs(difference).mean() < 3  # JPEG
    with pytest.raises(InspireError, match="inspire attention"):
        read_attention(tmp_path)
