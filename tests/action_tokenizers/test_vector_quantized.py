"""Residual vector quantisation."""

import json

import numpy as np
import pytest
from tests.action_tokenizers.laws import TokenizerLaws, demonstrations

from inspire_vla.action_tokenizers import ResidualVQ, UndecodableAction
from inspire_vla.errors import InspireError

WEIGHTS = [1, 1, 1, 1, 1, 1, 5]


class TestResidualVQ(TokenizerLaws):
    any_chunk = False
    idempotent = False  # the nearest mean to a sum of means need not be its first one

    def make(self):
        return ResidualVQ.fit(demonstrations(), codes_per_level=32, levels=2, dimension_weights=WEIGHTS)

    def error_bound(self, tokenizer):
        return 1.0  # learned: what is promised is `errors`, on the chunks it was learned from


def test_stated_errors_are_those_of_its_data():
    chunks = demonstrations()
    tokenizer = ResidualVQ.fit(chunks, codes_per_level=64, levels=2, dimension_weights=WEIGHTS)
    error = tokenizer.decode(tokenizer.encode(chunks)) - chunks
    np.testing.assert_allclose(tokenizer.errors["rmse"], np.sqrt((error**2).mean((0, 1))), atol=1e-5)
    assert tokenizer.errors["chunks"] == len(chunks)
    assert tokenizer.errors["same_sign"][-1] == 1.0


def test_codes_are_exact_where_there_are_as_many_as_chunks():
    """With a mean for every distinct chunk nothing is lost, whatever the scale of a dimension."""
    distinct = demonstrations(16)
    chunks = np.repeat(distinct, 5, axis=0)
    tokenizer = ResidualVQ.fit(chunks, codes_per_level=16, levels=1)
    np.testing.assert_allclose(tokenizer.decode(tokenizer.encode(chunks)), chunks, atol=1e-5)


def test_each_level_helps():
    chunks = demonstrations()
    errors = [
        np.mean(ResidualVQ.fit(chunks, codes_per_level=32, levels=levels).errors["rmse"])
        for levels in (1, 2, 3)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_weight_buys_precision():
    chunks = demonstrations()
    plain, weighted = (
        ResidualVQ.fit(chunks, codes_per_level=32, dimension_weights=weights).errors["rmse"][0]
        for weights in (None, [4, 1, 1, 1, 1, 1, 1])
    )
    assert weighted < plain


def test_the_seed_fixes_everything():
    chunks = demonstrations()
    one, two, other = (ResidualVQ.fit(chunks, codes_per_level=32, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.codebooks, two.codebooks)
    assert (one.codebooks != other.codebooks).any()


def test_each_level_has_its_own_codes():
    tokenizer = ResidualVQ.fit(demonstrations(), codes_per_level=32, levels=2)
    codes = tokenizer.encode(demonstrations(200, seed=3))
    assert (codes[:, 0] < 32).all()
    assert (codes[:, 1] >= 32).all()
    with pytest.raises(UndecodableAction, match="level"):
        tokenizer.decode(codes[:, ::-1])


def test_repeated_chunks_and_constant_dimensions():
    tokenizer = ResidualVQ.fit(np.zeros((50, 4, 7)), codes_per_level=8, levels=2)
    assert np.abs(tokenizer.decode(tokenizer.encode(np.zeros((4, 7))))).max() == 0


@pytest.mark.parametrize(
    ("chunks", "settings", "message"),
    [
        (np.zeros((0, 4, 7)), {}, "shape"),
        (np.zeros((10, 7)), {}, "shape"),
        (demonstrations(20), {"codes_per_level": 32}, "too few"),
        (np.full((50, 4, 7), np.nan), {"codes_per_level": 8}, "NaN"),
        (demonstrations(50), {"codes_per_level": 0}, "at least 1"),
        (demonstrations(50), {"codes_per_level": 8, "levels": 1.5}, "whole number"),
        (demonstrations(50), {"codes_per_level": 8, "dimension_weights": [1, 2]}, "dimension_weights"),
        (demonstrations(50), {"codes_per_level": 8, "dimension_weights": [0] * 7}, "dimension_weights"),
    ],
)
def test_bad_input_is_said(chunks, settings, message):
    with pytest.raises(InspireError, match=message):
        ResidualVQ.fit(chunks, **settings)


def test_arrays_that_do_not_belong_to_the_json_are_refused(tmp_path):
    chunks = demonstrations()
    ResidualVQ.fit(chunks, codes_per_level=8, seed=0).save(tmp_path / "one")
    ResidualVQ.fit(chunks, codes_per_level=8, seed=1).save(tmp_path / "two")
    name = "action_tokenizer.safetensors"
    (tmp_path / "one" / name).write_bytes((tmp_path / "two" / name).read_bytes())
    with pytest.raises(InspireError, match="digests differ"):
        ResidualVQ.load(tmp_path / "one")
    (tmp_path / "two" / name).write_bytes(b"\x00" * 20)
    with pytest.raises(InspireError, match="cannot be read"):
        ResidualVQ.load(tmp_path / "two")


def test_clusters_are_found():
    """Chunks around ten centres: each centre gets a code of its own."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(-0.9, 0.9, size=(10, 1, 3))
    chunks = (centres[:, None] + rng.normal(size=(10, 30, 1, 3)) * 0.005).reshape(-1, 1, 3)
    tokenizer = ResidualVQ.fit(chunks, codes_per_level=10, levels=1)
    codes = tokenizer.encode(centres)
    assert len(np.unique(codes)) == 10
    assert np.abs(tokenizer.decode(codes) - centres).max() < 0.005


def test_codes_are_the_nearest_centres():
    rng = np.random.default_rng(0)
    book = rng.uniform(-1, 1, (1, 17, 2, 3))
    ones = np.ones(3)
    tokenizer = ResidualVQ(book, centre=0 * ones, scale=ones, dimension_weights=ones)
    chunks = rng.uniform(-1, 1, (10_000, 2, 3))
    distances = ((chunks[:, None] - book[0]) ** 2).sum((2, 3))
    np.testing.assert_array_equal(tokenizer.encode(chunks)[:, 0], distances.argmin(1))


def test_errors_are_in_the_file(tmp_path):
    ResidualVQ.fit(demonstrations(), codes_per_level=8).save(tmp_path)
    assert json.loads((tmp_path / "action_tokenizer.json").read_text())["settings"]["errors"]["same_sign"]
