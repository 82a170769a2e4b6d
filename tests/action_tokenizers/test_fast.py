"""FAST."""

import json

import numpy as np
import pytest
from scipy.fft import dct
from tests.action_tokenizers.laws import TokenizerLaws, demonstrations
from tokenizers import ByteLevelBPETokenizer

from inspire_vla.action_tokenizers import Fast, UndecodableAction
from inspire_vla.action_tokenizers.fast import BYTE_OF_CHARACTER
from inspire_vla.errors import InspireError


class TestFast(TokenizerLaws):
    def make(self):
        return Fast.fit(demonstrations(), vocabulary_size=512)

    def error_bound(self, tokenizer):
        return tokenizer.max_error


class TestFastLongChunk(TestFast):
    """Enough coefficients that characters beyond the first 128 appear, which take two bytes."""

    def make(self):
        return Fast.fit(demonstrations(horizon=50, action_dim=3), vocabulary_size=400)


class TestFastFine(TestFast):
    def make(self):
        return Fast.fit(demonstrations(horizon=16), vocabulary_size=700, scale=40)


def test_the_stated_error_holds_for_any_action():
    tokenizer = Fast.fit(demonstrations(), vocabulary_size=300)
    wild = np.random.default_rng(0).choice([-1.0, 1.0], size=(500, 4, 7))
    assert np.abs(tokenizer.decode(tokenizer.encode(wild)) - wild).max() <= tokenizer.max_error + 1e-6


def test_a_larger_vocabulary_is_shorter_and_a_finer_scale_more_exact():
    chunks = demonstrations(horizon=16)
    lengths = [
        np.mean([len(codes) for codes in Fast.fit(chunks, vocabulary_size=size).encode(chunks)])
        for size in (256, 512, 1024)
    ]
    assert lengths[0] > lengths[1] > lengths[2]
    errors = [Fast.fit(chunks, vocabulary_size=512, scale=scale).max_error for scale in (5, 10, 20)]
    assert errors[0] > errors[1] > errors[2]


def test_fitting_twice_gives_the_same_codes():
    chunks = demonstrations()
    one, two = (Fast.fit(chunks, vocabulary_size=512) for _ in range(2))
    for ours, theirs in zip(one.encode(chunks), two.encode(chunks), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_low_frequencies_come_first():
    """A constant chunk is its first D coefficients and zeros: the order of the published flattening."""
    tokenizer = Fast.fit(demonstrations(), vocabulary_size=256)
    level = np.linspace(-0.6, 0.6, 7)
    codes = tokenizer.encode(np.tile(level, (4, 1)))
    assert len(codes) == 28  # 256 codes: no merges, a byte for a coefficient
    symbols = sorted(BYTE_OF_CHARACTER)
    integers = np.array([BYTE_OF_CHARACTER[symbols[code]] for code in codes]) + tokenizer.min_token
    np.testing.assert_array_equal(integers[:7], np.around(level * 2 * 10))
    assert (integers[7:] == 0).all()


def published_files(folder, chunks, min_token: int, **config):
    """Files as the published processor saves them, made with the library it uses."""
    integers = np.around(dct(chunks, axis=1, norm="ortho") * 10).astype(int)
    texts = ["".join(map(chr, row)) for row in (integers.reshape(len(chunks), -1) - min_token)]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=500, show_progress=False)
    folder.mkdir(exist_ok=True)
    bpe.save(str(folder / "tokenizer.json"))
    record = {
        "scale": 10,
        "min_token": min_token,
        "vocab_size": 500,
        "time_horizon": None,
        "action_dim": None,
    }
    (folder / "processor_config.json").write_text(json.dumps(record | config))
    return texts, bpe


class TestPublished(TokenizerLaws):
    """The published processor's files: same codes as the library gives, and the same laws."""

    def make(self):
        return self.loaded

    @pytest.fixture(scope="class", autouse=True)
    def _files(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("fast") / "processor"
        type(self).texts, type(self).bpe = published_files(folder, demonstrations(), -354)
        type(self).loaded = Fast.load_published(folder, horizon=4, action_dim=7)

    @pytest.fixture(scope="class")
    def tokenizer(self, _files):
        return self.loaded

    def error_bound(self, tokenizer):
        return tokenizer.max_error

    def test_codes_are_those_of_the_library(self, tokenizer):
        for codes, text in zip(tokenizer.encode(demonstrations()), self.texts, strict=True):
            assert codes.tolist() == self.bpe.encode(text).ids


def test_published_files_are_checked(tmp_path):
    chunks = demonstrations()
    with pytest.raises(InspireError, match=r"processor_config\.json"):
        Fast.load_published(tmp_path, horizon=4, action_dim=7)
    published_files(tmp_path / "other", chunks, -354, time_horizon=50)
    with pytest.raises(InspireError, match="time_horizon 50, asked for 4"):
        Fast.load_published(tmp_path / "other", horizon=4, action_dim=7)
    published_files(tmp_path / "word", chunks, -354, scale="ten")
    with pytest.raises(InspireError, match="scale"):
        Fast.load_published(tmp_path / "word", horizon=4, action_dim=7)
    (tmp_path / "word" / "tokenizer.json").write_text("{}")
    with pytest.raises(InspireError, match="no tokenizer"):
        Fast.load_published(tmp_path / "word", horizon=4, action_dim=7)


def integers_of(chunks, scale: float = 10) -> np.ndarray:
    return np.around(dct(chunks, axis=1, norm="ortho") * scale).astype(int)


@pytest.fixture(scope="module")
def original():
    """The original algorithm as LeRobot ships it. The data is small, so the alphabet has gaps."""
    from lerobot.policies.molmoact2.molmoact2_hf_model.action_tokenizer import UniversalActionProcessor

    return UniversalActionProcessor.fit(list(demonstrations(300, 50, 3)), vocab_size=700)


@pytest.fixture(scope="module", params=["top_level", "bpe_tokenizer"])
def original_files(request, original, tmp_path_factory):
    """The original's files in both layouts that versions of transformers write."""
    folder = tmp_path_factory.mktemp("original")
    original.save_pretrained(folder)
    if request.param == "bpe_tokenizer":
        (folder / "bpe_tokenizer").mkdir()
        for path in folder.glob("tokenizer*.json"):
            path.rename(folder / "bpe_tokenizer" / path.name)
    return folder


class TestOriginal(TokenizerLaws):
    """Files of the original `fit`, whose vocabulary holds raw control characters."""

    any_chunk = False

    @pytest.fixture(scope="class")
    def tokenizer(self, original_files):
        return Fast.load_published(original_files, horizon=50, action_dim=3)

    def error_bound(self, tokenizer):
        return 1.0  # a coefficient that is not in the alphabet is clipped

    def test_ids_and_actions_are_those_of_the_original(self, tokenizer, original):
        chunks = demonstrations(1200, 50, 3, seed=5)
        alphabet = np.unique(integers_of(demonstrations(300, 50, 3)))
        known = np.isin(integers_of(chunks), alphabet).all((1, 2))
        assert 0.5 < known.mean() < 1
        ours, theirs = tokenizer.encode(chunks), original(chunks)
        decoded = original.decode(theirs, time_horizon=50, action_dim=3)
        for number in np.flatnonzero(known):
            assert ours[number].tolist() == theirs[number]
            np.testing.assert_allclose(tokenizer.decode(ours[number]), decoded[number], atol=1e-6)

    def test_coefficients_outside_the_alphabet_are_clipped(self, tokenizer, original):
        """The original's codes of such a chunk decode to nothing."""
        chunks = demonstrations(1200, 50, 3, seed=5)
        integers, alphabet = integers_of(chunks), np.unique(integers_of(demonstrations(300, 50, 3)))
        unknown = np.flatnonzero(~np.isin(integers, alphabet).all((1, 2)))
        assert len(unknown) > 10
        for number in unknown:
            back = integers_of(tokenizer.decode(tokenizer.encode(chunks[number]))[None])[0]
            nearest = alphabet[np.abs(integers[number][..., None] - alphabet).argmin(-1)]
            np.testing.assert_array_equal(back, nearest)
        inside = (integers.min((1, 2)) >= alphabet[0])[unknown]  # the original clips what is below
        for codes in original(chunks[unknown[inside]]):
            with pytest.raises(UndecodableAction):
                tokenizer.decode(codes)

    def test_every_code_decodes_as_in_the_original(self, tokenizer, original):
        """Also the raw characters, which the encoder never uses."""
        for code in range(tokenizer.vocabulary_size):
            text = original.bpe_tokenizer.decode([code])
            alone = Fast(
                tokenizer._bpe, horizon=len(text), action_dim=1, scale=10, min_token=0, max_token=0x7FF
            )
            if "\ufffd" in text:
                with pytest.raises(UndecodableAction):
                    alone.decode([code])
            else:
                integers = integers_of(alone.decode([code])[None])[0, :, 0]
                assert integers.tolist() == [ord(character) for character in text]


def test_a_bpe_that_is_not_byte_level_is_refused(tmp_path):
    published_files(tmp_path, demonstrations(), -354)
    record = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    (tmp_path / "tokenizer.json").write_text(json.dumps(record | {"pre_tokenizer": None}), encoding="utf-8")
    with pytest.raises(InspireError, match="not byte-level"):
        Fast.load_published(tmp_path, horizon=4, action_dim=7)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(InspireError, match="bpe_tokenizer"):
        Fast.load_published(tmp_path, horizon=4, action_dim=7)


def test_nothing_undecodable_becomes_zeros():
    """Half a character, or a coefficient beyond the alphabet: the published decoder gives the mean action there."""
    tokenizer = Fast.fit(demonstrations(horizon=50, action_dim=3), vocabulary_size=256)
    codes = tokenizer.encode(np.full((50, 3), 1.0))
    symbols = sorted(BYTE_OF_CHARACTER)
    of_byte = {byte: symbols.index(symbol) for symbol, byte in BYTE_OF_CHARACTER.items()}
    assert len(codes) > 150  # a character of two bytes is there
    first_half = next(i for i, code in enumerate(codes) if code == of_byte[0xC2])
    with pytest.raises(UndecodableAction, match="incomplete character"):
        tokenizer.decode(np.delete(codes, first_half))
    beyond = chr(0x7FF).encode()
    huge = np.array([of_byte[byte] for byte in beyond * 150])
    with pytest.raises(UndecodableAction, match="beyond the largest"):
        tokenizer.decode(huge)


@pytest.mark.parametrize(
    ("chunks", "settings", "message"),
    [
        (np.zeros((0, 4, 7)), {}, "shape"),
        (np.full((5, 4, 7), np.inf), {}, "NaN or infinite"),
        (demonstrations(5), {"vocabulary_size": 100}, "at least 256"),
        (demonstrations(5), {"scale": 1e5}, "too many"),
        (demonstrations(5), {"scale": 0}, "scale"),
        (demonstrations(5), {"scale": float("nan")}, "scale"),
    ],
)
def test_bad_input_is_said(chunks, settings, message):
    with pytest.raises(InspireError, match=message):
        Fast.fit(chunks, **settings)
