"""FAST (arXiv 2501.09747): the cosine transform of a chunk, quantised and compressed by byte-pair encoding.

    (H, D) ──DCT-II over time, orthonormal──▶ coefficients ──× scale, round──▶ integers
           ──row by row: lowest frequency of every dimension first──▶ H·D integers
           ──character chr(integer − min_token)──▶ text ──byte-level BPE──▶ codes

Source: the published processor (physical-intelligence/fast: scale 10, 2048 codes, min_token −354), whose files
`Fast.load_published` reads. Two things are stricter here. The published decoder turns codes that it cannot read into
zeros, which the robot takes for the mean action; this one raises `UndecodableAction`. The published encoder drops
characters that its vocabulary cannot write, so such a chunk cannot be decoded; this one clips each coefficient to the
alphabet, the nearest that the vocabulary can write. The alphabet of `Fast.fit` holds every coefficient that actions in
[-1, 1] can have; that of the published `fit` holds those of its data.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from inspire_vla.action_tokenizers import storage
from inspire_vla.action_tokenizers.base import (
    ActionTokenizer,
    UndecodableAction,
    checked_actions,
    checked_chunks,
    codes_in_range,
    positive_int,
)
from inspire_vla.errors import InspireError, reason_of
from inspire_vla.files import read_json

LARGEST_SYMBOL = 0x7FF
"""The largest character used. UTF-8 writes it in two bytes, 110xxxxx 10xxxxxx, and characters below 0x80 in one."""


class Fast(ActionTokenizer):
    """A varying number of codes per chunk; the chunk is complete after H·D coefficients.

    Round trip: |decode(encode(a)) − a| ≤ `max_error` for every a in [-1, 1] (fitted tokenizers). Actions outside
    [-1, 1], which quantile-normalised data has, are not clipped; their coefficients are clipped to the alphabet.
    """

    name: ClassVar[str] = "fast"

    def __init__(
        self, bpe: Tokenizer, *, horizon: int, action_dim: int, scale: float, min_token: int, max_token: int
    ) -> None:
        """`bpe`: byte-level BPE. The alphabet is the integers of [min_token, max_token] that it can write."""
        self.horizon = positive_int("horizon", horizon)
        self.action_dim = positive_int("action_dim", action_dim)
        _check_scale(scale)
        if not 0 <= max_token - min_token <= LARGEST_SYMBOL:
            raise InspireError(
                f"The alphabet [{min_token}, {max_token}] must hold 1 to {LARGEST_SYMBOL + 1} integers; "
                f"a smaller scale than {scale} makes it smaller."
            )
        self.scale, self.min_token, self.max_token = float(scale), int(min_token), int(max_token)
        self._bpe = bpe
        vocabulary = bpe.get_vocab(with_added_tokens=False)
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise InspireError("The ids of the BPE vocabulary must count from 0 without gaps.")
        if not isinstance(bpe.pre_tokenizer, ByteLevel):
            raise InspireError("The BPE is not byte-level.")
        self._pieces = [_Piece.of(_bytes_of(text)) for text in sorted(vocabulary, key=vocabulary.__getitem__)]
        self._heads = np.array([piece.head for piece in self._pieces])
        self._starts = np.array([piece.starts for piece in self._pieces])
        last = self.max_token - self.min_token
        self._valid = np.array([piece.valid and piece.largest <= last for piece in self._pieces])
        single = {BYTE_OF_CHARACTER[text] for text in vocabulary if text in BYTE_OF_CHARACTER}
        symbols = np.array([s for s in range(last + 1) if single.issuperset(chr(s).encode())], dtype=np.int16)
        if not symbols.size:
            raise InspireError("The BPE vocabulary can write no character of the alphabet.")
        distance = np.abs(np.arange(last + 1, dtype=np.int16)[:, None] - symbols)
        self._nearest_symbol = symbols[distance.argmin(1)]

    @classmethod
    def fit(cls, actions: np.ndarray, *, vocabulary_size: int = 1024, scale: float = 10.0) -> Self:
        """Learn the byte-pair merges from chunks (N, H, D). It uses no random numbers.

        Raises:
            InspireError: no chunks, NaN, or a vocabulary below the 256 bytes it must hold.
        """
        array = checked_chunks(actions)
        _, horizon, action_dim = array.shape
        if positive_int("vocabulary_size", vocabulary_size) < 256:
            raise InspireError(
                f"vocabulary_size must be at least 256, one for each byte, found {vocabulary_size}."
            )
        _check_scale(scale)
        integers = _quantised(array, scale)
        limit = math.ceil(scale * math.sqrt(horizon))  # |coefficient| ≤ √H for |action| ≤ 1
        low, high = min(-limit, int(integers.min())), max(limit, int(integers.max()))
        if high - low > LARGEST_SYMBOL:
            raise InspireError(
                f"Coefficients run from {low} to {high}: too many. Normalise the actions or lower scale."
            )
        bpe = Tokenizer(BPE())
        bpe.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
        trainer = BpeTrainer(
            vocab_size=vocabulary_size,
            min_frequency=2,
            show_progress=False,
            special_tokens=[],
            initial_alphabet=sorted(BYTE_OF_CHARACTER),
            max_token_length=10_000,
        )
        bpe.train_from_iterator(_texts(integers - low), trainer)
        return cls(bpe, horizon=horizon, action_dim=action_dim, scale=scale, min_token=low, max_token=high)

    @property
    def vocabulary_size(self) -> int:
        return len(self._pieces)

    @property
    def max_codes(self) -> int:
        return self.horizon * self.action_dim * (1 if self.max_token - self.min_token < 0x80 else 2)

    @property
    def max_error(self) -> float:
        """The largest |decode(encode(a)) − a| without clipping: half a quantisation step through the inverse DCT."""
        from scipy.fft import idct

        basis = idct(np.eye(self.horizon), axis=0, norm="ortho")
        return 0.5 / self.scale * float(np.abs(basis).sum(1).max())

    def encode(self, actions: np.ndarray) -> Any:
        """(H, D) → (n,) int64; (N, H, D) → a list of N such arrays of several lengths; and so on."""
        actions = checked_actions(actions, self.horizon, self.action_dim)
        flat = actions.reshape(-1, self.horizon, self.action_dim)
        symbols = np.clip(_quantised(flat, self.scale), self.min_token, self.max_token) - self.min_token
        texts = _texts(self._nearest_symbol[symbols])
        encodings = self._bpe.encode_batch(texts, add_special_tokens=False)
        codes = iter([np.array(encoding.ids, dtype=np.int64) for encoding in encodings])
        return _nested(codes, actions.shape[:-2])

    def decode(self, codes) -> np.ndarray:
        """(n,) codes → (H, D) float32; a list of N code sequences → (N, H, D); and so on.

        Raises:
            UndecodableAction: an unknown code, an incomplete character, too few or too many coefficients, or one
                outside the alphabet.
        """
        from scipy.fft import idct  # here, so that the package loads without scipy

        if len(codes) and isinstance(codes[0], (list, tuple, np.ndarray)):
            return np.stack([self.decode(sequence) for sequence in codes])
        sequence = np.asarray(codes)
        if sequence.ndim != 1 or (sequence.size and sequence.dtype.kind not in "iu"):
            raise UndecodableAction(f"Codes must be a sequence of integers, found {codes!r}.")
        data = b"".join(self._pieces[code].data for code in codes_in_range(sequence, self.vocabulary_size))
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UndecodableAction(f"The codes hold an incomplete character ({error.reason}).") from None
        needed = self.horizon * self.action_dim
        if len(text) != needed:
            raise UndecodableAction(f"The codes hold {len(text)} coefficients, a chunk has {needed}.")
        integers = np.array([ord(character) for character in text], dtype=np.float64) + self.min_token
        if integers.max() > self.max_token:
            raise UndecodableAction(
                f"A coefficient of {integers.max():.0f} is beyond the largest, {self.max_token}."
            )
        coefficients = integers.reshape(self.horizon, self.action_dim) / self.scale
        return idct(coefficients, axis=0, norm="ortho").astype(np.float32)

    def allowed_codes(self, prefix: Sequence[int] = ()) -> np.ndarray | None:
        """Return the codes (n,) that fit the missing coefficients and, after an incomplete character, complete it.

        They are ascending; None if the chunk is complete. Raises UndecodableAction for a `prefix` that is not allowed.
        """
        pending, started = self._progress(prefix)
        missing = self.horizon * self.action_dim - started
        if not pending and missing <= 0:
            return None
        fits = self._valid & (self._starts <= missing)
        if pending:
            last = self.max_token - self.min_token
            fits &= (self._heads > 0) & (_two_bytes(pending, self._heads) <= last)
        else:
            fits &= self._heads == 0
        return np.flatnonzero(fits)

    def _progress(self, prefix: Sequence[int]) -> tuple[int, int]:
        """Return (first byte of a character whose second is missing, or 0; characters started) after these codes."""
        pending = started = 0
        for code in prefix:
            if not 0 <= code < self.vocabulary_size:
                raise UndecodableAction(f"Codes lie in [0, {self.vocabulary_size}), found {code}.")
            piece = self._pieces[code]
            if not piece.valid or bool(piece.head) != bool(pending):
                raise UndecodableAction(f"Code {code} does not continue an incomplete character.")
            pending = piece.tail
            started += piece.starts
        return pending, started

    def save(self, folder: str | Path) -> None:
        numbers = {
            key: getattr(self, key) for key in ("horizon", "action_dim", "scale", "min_token", "max_token")
        }
        storage.write(folder, self.name, {**numbers, "bpe": json.loads(self._bpe.to_str())}, {})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        settings, _ = storage.read(folder, cls.name)
        bpe = _tokenizer(json.dumps(storage.setting(settings, "bpe", dict)), str(folder))
        integers = {
            key: storage.setting(settings, key, int)
            for key in ("horizon", "action_dim", "min_token", "max_token")
        }
        return cls(bpe, scale=storage.setting(settings, "scale", (int, float)), **integers)

    @classmethod
    def load_published(cls, folder: str | Path, *, horizon: int, action_dim: int) -> Self:
        """Load the published processor's files: `processor_config.json` (scale, min_token) and `tokenizer.json`.

        The latter is in `folder` or in `folder`/bpe_tokenizer, depending on the version of transformers that saved it.
        The caller gives horizon and dimension, as the published tokenizer serves any.

        Raises:
            InspireError: a missing or malformed file, or one made for another horizon or dimension.
        """
        folder = Path(folder)
        config = read_json(folder / "processor_config.json", dict[str, Any])
        for key, given in (("time_horizon", horizon), ("action_dim", action_dim)):
            if config.get(key) not in (None, given):
                raise InspireError(
                    f"The FAST processor in {folder} has {key} {config[key]!r}, asked for {given}."
                )
        paths = [folder / "tokenizer.json", folder / "bpe_tokenizer" / "tokenizer.json"]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise InspireError(
                f"{folder} holds no published FAST processor: no tokenizer.json there or in bpe_tokenizer/."
            )
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InspireError(f"{path} cannot be read: {reason_of(error)}.") from None
        min_token = storage.setting(config, "min_token", int)
        return cls(
            _tokenizer(text, str(path)),
            horizon=horizon,
            action_dim=action_dim,
            scale=storage.setting(config, "scale", (int, float)),
            min_token=min_token,
            max_token=min_token + LARGEST_SYMBOL,
        )


def _byte_of_character() -> dict[str, int]:
    """{character that GPT-2's byte-level vocabularies write for a byte: that byte}."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


BYTE_OF_CHARACTER = _byte_of_character()


def _bytes_of(text: str) -> bytes:
    """Return the bytes of a vocabulary entry, by the rule of the library's byte-level decoder.

    The published `fit` adds the raw character of every coefficient to the vocabulary. The encoder never uses such an
    entry, but a model may, and it decodes to the character itself.
    """
    if all(character in BYTE_OF_CHARACTER for character in text):
        return bytes(BYTE_OF_CHARACTER[character] for character in text)
    return text.encode("utf-8")


@dataclass(frozen=True)
class _Piece:
    """One vocabulary entry. It may begin and end inside a character."""

    data: bytes
    head: int  # its first byte if that completes the character before, else 0
    tail: int  # its last byte if that starts a character without completing it, else 0
    starts: int  # characters that start in it
    largest: int  # the largest character that it is sure to hold
    valid: bool  # whether it can be part of characters up to LARGEST_SYMBOL

    @classmethod
    def of(cls, data: bytes) -> "_Piece":
        """Analyse the bytes of an entry."""
        head = data[0] if data and _is_second(data[0]) else 0
        tail = starts = largest = 0
        valid = bool(data)
        for byte in data[1:] if head else data:
            if _is_second(byte):
                valid &= tail != 0
                largest = max(largest, _two_bytes(tail, byte))
                tail = 0
            else:
                valid &= tail == 0 and (byte < 0x80 or 0xC2 <= byte < 0xE0)
                starts += 1
                tail = byte if byte >= 0x80 else 0
                largest = max(largest, _two_bytes(byte, 0x80) if tail else byte)
        return cls(data, head, tail, starts, largest, valid)


def _two_bytes(first: int, second):
    """Return the character that two bytes encode; `second` may be an array."""
    return (first & 0x1F) << 6 | (second & 0x3F)


def _is_second(byte: int) -> bool:
    return 0x80 <= byte < 0xC0


def _check_scale(scale: float) -> None:
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale < math.inf:
        raise InspireError(f"scale must be a number above zero, found {scale!r}.")


def _quantised(actions: np.ndarray, scale: float) -> np.ndarray:
    """(N, H, D) → integers (N, H, D), rounded half to even as in the published processor."""
    from scipy.fft import dct

    return np.around(dct(actions, axis=1, norm="ortho") * scale).astype(np.int64)


def _texts(symbols: np.ndarray) -> list[str]:
    """(N, H, D) integers from 0 → one text per chunk."""
    return ["".join(map(chr, row)) for row in symbols.reshape(len(symbols), -1).tolist()]


def _nested(items, shape: tuple[int, ...]):
    return next(items) if not shape else [_nested(items, shape[1:]) for _ in range(shape[0])]


def _tokenizer(text: str, where: str) -> Tokenizer:
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the tokenizers library raises plain Exception
        raise InspireError(f"{where} holds no tokenizer: {reason_of(error)}.") from None
