"""What every action tokenizer keeps. A test class inherits `TokenizerLaws` and says how to make one.

class TestMine(TokenizerLaws):
    def make(self) -> ActionTokenizer: ...
    def error_bound(self, tokenizer) -> float: ...
"""

import json
import shutil

import numpy as np
import pytest

from inspire_vla.action_tokenizers import (
    KINDS,
    ActionTokenizer,
    ActionVocabulary,
    UndecodableAction,
    load_action_tokenizer,
)
from inspire_vla.errors import InspireError


def demonstrations(count: int = 400, horizon: int = 4, action_dim: int = 7, seed: int = 0) -> np.ndarray:
    """(count, horizon, action_dim) smooth motions in [-1, 1]; the last dimension is a gripper that snaps."""
    generator = np.random.default_rng(seed)
    start = generator.normal(size=(count, 1, action_dim)) * 0.4
    drift = generator.normal(size=(count, horizon, action_dim)).cumsum(1) * 0.05
    actions = np.clip(start + drift, -1, 1)
    switch = generator.integers(0, 3 * horizon, size=(count, 1))  # mostly beyond the chunk: no switch
    before = np.where(generator.random((count, 1)) < 0.5, -1.0, 1.0)
    actions[..., -1] = np.where(np.arange(horizon) < switch, before, -before)
    return actions


class TokenizerLaws:
    """Inherit, and give `make` and `error_bound`."""

    idempotent = True
    """Whether decode∘encode leaves a decoded chunk exactly as it is."""

    any_chunk = True
    """Whether it can say every chunk, or only such as it was fitted on."""

    def make(self) -> ActionTokenizer:
        raise NotImplementedError

    def error_bound(self, tokenizer: ActionTokenizer) -> float:
        """The stated bound on |decode(encode(a)) − a|, for the chunks of `chunks`."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def tokenizer(self) -> ActionTokenizer:
        return self.make()

    @pytest.fixture
    def chunks(self, tokenizer) -> np.ndarray:
        return demonstrations(100, tokenizer.horizon, tokenizer.action_dim, seed=1)

    def test_round_trip_within_the_stated_error(self, tokenizer, chunks):
        decoded = tokenizer.decode(tokenizer.encode(chunks))
        assert decoded.shape == chunks.shape
        assert decoded.dtype == np.float32
        assert np.abs(decoded - chunks).max() <= self.error_bound(tokenizer) + 1e-6

    def test_decoding_then_encoding_changes_nothing_more(self, tokenizer, chunks):
        once = tokenizer.decode(tokenizer.encode(chunks))
        twice = tokenizer.decode(tokenizer.encode(once))
        if self.idempotent:
            np.testing.assert_allclose(twice, once, atol=1e-6)
        else:
            assert np.abs(twice - once).max() <= self.error_bound(tokenizer) + 1e-6

    def test_codes_lie_in_the_vocabulary(self, tokenizer, chunks):
        for codes in tokenizer.encode(chunks):
            assert codes.dtype == np.int64
            assert 0 < len(codes) <= tokenizer.max_codes
            assert codes.min() >= 0
            assert codes.max() < tokenizer.vocabulary_size

    def test_singles_equal_the_batch(self, tokenizer, chunks):
        batch = tokenizer.encode(chunks)
        for chunk, codes in zip(chunks[:10], batch, strict=False):
            np.testing.assert_array_equal(tokenizer.encode(chunk), codes)
            np.testing.assert_array_equal(tokenizer.decode(codes), tokenizer.decode([codes])[0])
        grid = tokenizer.decode(tokenizer.encode(chunks[:6].reshape(2, 3, *chunks.shape[1:])))
        np.testing.assert_array_equal(grid.reshape(6, *chunks.shape[1:]), tokenizer.decode(batch[:6]))

    def test_allowed_admits_what_encode_produces_and_ends_there(self, tokenizer, chunks):
        for codes in tokenizer.encode(chunks):
            for position, code in enumerate(codes):
                allowed = tokenizer.allowed_codes(codes[:position])
                assert allowed.tolist() == sorted(set(allowed.tolist()))
                assert allowed[0] >= 0
                assert allowed[-1] < tokenizer.vocabulary_size
                assert code in allowed
            assert tokenizer.allowed_codes(codes) is None

    def test_whatever_is_allowed_decodes(self, tokenizer):
        """Any sequence of allowed codes decodes and ends."""
        generator = np.random.default_rng(0)
        for _ in range(20):
            codes: list[int] = []
            while (allowed := tokenizer.allowed_codes(codes)) is not None:
                codes.append(int(generator.choice(allowed)))
                assert len(codes) <= tokenizer.max_codes
            assert np.isfinite(tokenizer.decode(np.array(codes))).all()

    def test_actions_out_of_range_come_back_finite(self, tokenizer):
        wild = np.full((1, tokenizer.horizon, tokenizer.action_dim), 1e6)
        for sign in (1, -1):
            decoded = tokenizer.decode(tokenizer.encode(sign * wild))
            assert np.isfinite(decoded).all()
            assert np.abs(decoded).max() < 1e4
            if self.any_chunk:
                assert (np.sign(decoded) == sign).all()

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_what_is_no_number_is_refused(self, tokenizer, chunks, bad):
        chunks[3, 0, 0] = bad
        with pytest.raises(InspireError, match="NaN or infinite"):
            tokenizer.encode(chunks)

    def test_wrong_shapes_are_refused(self, tokenizer):
        horizon, action_dim = tokenizer.horizon, tokenizer.action_dim
        for shape in (
            (action_dim,),
            (horizon + 1, action_dim),
            (horizon, action_dim + 1),
            (action_dim, horizon, 1),
        ):
            with pytest.raises(InspireError, match=r"found \("):
                tokenizer.encode(np.zeros(shape))
        with pytest.raises(InspireError, match="numbers"):
            tokenizer.encode(np.full((horizon, action_dim), "left"))

    def test_codes_that_are_no_action_are_refused(self, tokenizer, chunks):
        codes = tokenizer.encode(chunks[0])
        too_few, too_many, none = codes[:-1], np.append(codes, codes), codes[:0]
        negative, beyond = np.full_like(codes, -1), np.full_like(codes, tokenizer.vocabulary_size)
        for sequence in (too_few, too_many, none, negative, beyond, codes + 0.5):
            with pytest.raises(UndecodableAction):
                tokenizer.decode(sequence)

    def test_a_saved_tokenizer_is_the_same(self, tokenizer, chunks, tmp_path):
        tokenizer.save(tmp_path)
        for loaded in (load_action_tokenizer(tmp_path), type(tokenizer).load(str(tmp_path))):
            assert type(loaded) is type(tokenizer)
            assert loaded.vocabulary_size == tokenizer.vocabulary_size
            assert (loaded.horizon, loaded.action_dim) == (tokenizer.horizon, tokenizer.action_dim)
            for ours, theirs in zip(tokenizer.encode(chunks), loaded.encode(chunks), strict=True):
                np.testing.assert_array_equal(ours, theirs)
                np.testing.assert_array_equal(tokenizer.decode(ours), loaded.decode(theirs))
        again = tmp_path / "again"
        loaded.save(again)
        for path in again.iterdir():
            assert path.read_bytes() == (tmp_path / path.name).read_bytes()

    def test_broken_files_are_refused(self, tokenizer, tmp_path):
        with pytest.raises(InspireError, match="No action tokenizer"):
            load_action_tokenizer(tmp_path)
        tokenizer.save(tmp_path / "good")
        record = json.loads((tmp_path / "good" / "action_tokenizer.json").read_text())
        broken = (
            "",
            "[]",
            json.dumps({"kind": record["kind"]}),
            json.dumps(record | {"kind": "telepathy"}),
            json.dumps(record | {"version": 99}),
            json.dumps(record | {"settings": {}}),
            json.dumps(record | {"settings": dict.fromkeys(record["settings"], True)}),
        )
        for number, content in enumerate(broken):
            folder = tmp_path / str(number)
            shutil.copytree(tmp_path / "good", folder)
            (folder / "action_tokenizer.json").write_text(content)
            with pytest.raises(InspireError):
                load_action_tokenizer(folder)
        for kind in KINDS.values():
            if kind is not type(tokenizer):
                with pytest.raises(InspireError, match="of kind"):
                    kind.load(tmp_path / "good")

    @pytest.mark.parametrize("layout", ["appended", "last_ids"])
    def test_ids_are_disjoint_from_words_and_come_back(self, tokenizer, chunks, layout):
        words = 5000
        vocabulary = getattr(ActionVocabulary, layout)(words, tokenizer.vocabulary_size)
        codes = tokenizer.encode(chunks[0])
        ids = vocabulary.to_ids(codes)
        np.testing.assert_array_equal(vocabulary.to_codes(ids), codes)
        text = np.setdiff1d(
            np.arange(words + tokenizer.vocabulary_size), vocabulary.to_ids(np.arange(vocabulary.size))
        )
        vocabulary.check_disjoint(text)
        assert not np.isin(ids, text).any()
