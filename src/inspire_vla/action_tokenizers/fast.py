"""FAST (arXiv 2501.09747): a chunk as its cosine transform, quantised, and squeezed by byte-pair encoding.

    (H, D) ──DCT-II over time, orthonormal──▶ coefficients ──× scale, round──▶ integers
           ──row by row: lowest frequency of every dimension first──▶ H·D integers
           ──character chr(integer − min_token)──▶ text ──byte-level BPE──▶ codes

The conventions are those of the published processor (physical-intelligence/fast: scale 10, 2048 codes,
min_token −354), whose files `Fast.load_published` reads. Two things are stricter here. The published decoder
turns what it cannot read into zeros, which the robot takes for the mean action: ours raises
`UndecodableAction`. And the published encoder loses characters that it never saw: ours clips coefficients
to the alphabet, and a fitted alphabet holds every coefficient that actions in [-1, 1] can have.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from scipy.fft import dct, idct
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from inspire_vla.action_tokenizers import storage
from inspire_vla.action_tokenizers.base import (
    ActionTokenizer,
    UndecodableAction,
    checked_actions,
    positive_int,
)
from inspire_vla.action_tokenizers.utf8 import BYTE_OF_SYMBOL, LARGEST_SYMBOL, Piece, symbol
from inspire_vla.errors import InspireError


class Fast(ActionTokenizer):
    """A varying number of codes for a chunk; the chunk is complete when H·D coefficients have been said.

    Round trip: |decode(encode(a)) − a| ≤ `max_error` for every a in [-1, 1] (fitted tokenizers). Actions
    outside are not clipped (quantile-normalised data has such); their coefficients are, to the alphabet.
    """

    name: ClassVar[str] = "fast"

    def __init__(
        self, bpe: Tokenizer, *, horizon: int, action_dim: int, scale: float, min_token: int, max_token: int
    ) -> None:
        """`bpe`: byte-level BPE; the alphabet are the integers [min_token, max_token]."""
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
        texts = sorted(vocabulary, key=vocabulary.__getitem__)
        if not all(character in BYTE_OF_SYMBOL for text in texts for character in text):
            raise InspireError("The BPE vocabulary is not byte-level.")
        self._pieces = [Piece.of(bytes(BYTE_OF_SYMBOL[character] for character in text)) for text in texts]
        self._heads = np.array([piece.head for piece in self._pieces])
        self._characters = np.array([piece.characters for piece in self._pieces])
        last = self.max_token - self.min_token
        self._valid = np.array([piece.valid and piece.largest <= last for piece in self._pieces])

    @classmethod
    def fit(cls, actions: np.ndarray, *, vocabulary_size: int = 1024, scale: float = 10.0) -> Self:
        """Learn the byte-pair merges from chunks (N, H, D). Nothing is drawn: the same chunks give the same merges.

        Raises:
            InspireError: no chunks, NaN, or a vocabulary below the 256 bytes it must hold.
        """
        array = np.asarray(actions)
        if array.ndim != 3 or 0 in array.shape:
            raise InspireError(f"Chunks to fit on must have shape (N, H, D), found {array.shape}.")
        _, horizon, action_dim = array.shape
        array = checked_actions(array, horizon, action_dim)
        if positive_int("vocabulary_size", vocabulary_size) < 256:
            raise InspireError(
                f"vocabulary_size must be at least 256, one for each byte, found {vocabulary_size}."
            )
        _check_scale(scale)
        integers = _quantised(array, scale)
        reach = math.ceil(scale * math.sqrt(horizon))  # |coefficient| ≤ √H for |action| ≤ 1
        low, high = min(-reach, int(integers.min())), max(reach, int(integers.max()))
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
            initial_alphabet=sorted(BYTE_OF_SYMBOL),
            max_token_length=10_000,
        )
        bpe.train_from_iterator(_texts(integers, low), trainer)
        return cls(bpe, horizon=horizon, action_dim=action_dim, scale=scale, min_token=low, max_token=high)

    @property
    def vocabulary_size(self) -> int:
        return len(self._pieces)

    @property
    def max_codes(self) -> int:
        return self.horizon * self.action_dim * (1 if self.max_token - self.min_token < 0x80 else 2)

    @property
    def max_error(self) -> float:
        """Largest |decode(encode(a)) − a| with no coefficient clipped: half a step, inverse DCT."""
        basis = idct(np.eye(self.horizon), axis=0, norm="ortho")
        return 0.5 / self.scale * float(np.abs(basis).sum(1).max())

    def encode(self, actions: np.ndarray) -> Any:
        """(H, D) → (n,) int64; (N, H, D) → list of N such arrays of several lengths; and so on."""
        actions = checked_actions(actions, self.horizon, self.action_dim)
        flat = actions.reshape(-1, self.horizon, self.action_dim)
        integers = np.clip(_quantised(flat, self.scale), self.min_token, self.max_token)
        encodings = self._bpe.encode_batch(_texts(integers, self.min_token), add_special_tokens=False)
        codes = iter([np.array(encoding.ids, dtype=np.int64) for encoding in encodings])
        return _nested(codes, actions.shape[:-2])

    def decode(self, codes) -> np.ndarray:
        """(n,) codes → (H, D) float32; a list of N code sequences → (N, H, D); and so on.

        Raises:
            UndecodableAction: an unknown code, broken characters, too few or too many coefficients, or one
                that is not in the alphabet.
        """
        if len(codes) and isinstance(codes[0], (list, tuple, np.ndarray)):
            return np.stack([self.decode(sequence) for sequence in codes])
        sequence = np.asarray(codes)
        if sequence.ndim != 1 or (sequence.size and sequence.dtype.kind not in "iu"):
            raise UndecodableAction(f"Codes must be a sequence of integers, found {codes!r}.")
        if sequence.size and not ((sequence >= 0) & (sequence < self.vocabulary_size)).all():
            raise UndecodableAction(
                f"Codes lie in [0, {self.vocabulary_size}), found [{sequence.min()}, {sequence.max()}]."
            )
        data = b"".join(self._pieces[code].data for code in sequence)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UndecodableAction(f"The codes break a character in two ({error.reason}).") from None
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

    def allowed(self, position: int, prefix: Sequence[int] = ()) -> tuple[int, int] | None:
        """All codes until H·D coefficients are complete; `allowed_codes` tells which fit what is missing."""
        begun, said = self._progress(prefix)
        return (0, self.vocabulary_size) if begun or said < self.horizon * self.action_dim else None

    def allowed_codes(self, position: int, prefix: Sequence[int] = ()) -> np.ndarray | None:
        begun, said = self._progress(prefix)
        missing = self.horizon * self.action_dim - said
        if not begun and missing <= 0:
            return None
        fits = self._valid & (self._characters <= missing)
        if not begun:
            return fits & (self._heads == 0)
        return fits & (self._heads > 0) & (symbol(begun, self._heads) <= self.max_token - self.min_token)

    def _progress(self, prefix: Sequence[int]) -> tuple[int, int]:
        """(first byte of a character that still needs its second, or 0; characters begun) after these codes."""
        begun = said = 0
        for code in prefix:
            if not 0 <= code < self.vocabulary_size:
                raise UndecodableAction(f"Codes lie in [0, {self.vocabulary_size}), found {code}.")
            piece = self._pieces[code]
            if not piece.valid or bool(piece.head) != bool(begun):
                raise UndecodableAction(f"Code {code} breaks a character in two.")
            begun = piece.tail
            said += piece.characters
        return begun, said

    def save(self, folder: str | Path) -> None:
        storage.write(folder, self.name, {**self._numbers(), "bpe": json.loads(self._bpe.to_str())}, {})

    def _numbers(self) -> dict[str, Any]:
        return {
            key: getattr(self, key) for key in ("horizon", "action_dim", "scale", "min_token", "max_token")
        }

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        settings, _ = storage.read(folder, cls.name)
        bpe = _tokenizer(json.dumps(storage.setting(settings, "bpe", dict)), str(folder))
        whole = {
            key: storage.setting(settings, key, int)
            for key in ("horizon", "action_dim", "min_token", "max_token")
        }
        return cls(bpe, scale=storage.setting(settings, "scale", (int, float)), **whole)

    @classmethod
    def load_published(cls, folder: str | Path, *, horizon: int, action_dim: int) -> Self:
        """The published processor's files: `tokenizer.json` and `processor_config.json` (scale, min_token).

        Horizon and dimension are the caller's: the published tokenizer serves any.

        Raises:
            InspireError: a missing or malformed file, or one made for another horizon or dimension.
        """
        folder = Path(folder)
        texts = {}
        for name in ("processor_config.json", "tokenizer.json"):
            try:
                texts[name] = (folder / name).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InspireError(f"{folder} holds no published FAST processor: {name}: {error}.") from None
        try:
            config = json.loads(texts["processor_config.json"])
        except ValueError as error:
            raise InspireError(f"{folder / 'processor_config.json'} is not JSON: {error}.") from None
        if not isinstance(config, dict):
            raise InspireError(f"{folder / 'processor_config.json'} is not a JSON object.")
        for key, wanted in (("time_horizon", horizon), ("action_dim", action_dim)):
            if config.get(key) not in (None, wanted):
                raise InspireError(
                    f"The FAST processor in {folder} has {key} {config[key]!r}, asked for {wanted}."
                )
        min_token = storage.setting(config, "min_token", int)
        return cls(
            _tokenizer(texts["tokenizer.json"], f"{folder / 'tokenizer.json'}"),
            horizon=horizon,
            action_dim=action_dim,
            scale=storage.setting(config, "scale", (int, float)),
            min_token=min_token,
            max_token=min_token + LARGEST_SYMBOL,
        )


def _check_scale(scale: float) -> None:
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale < math.inf:
        raise InspireError(f"scale must be a number above zero, found {scale!r}.")


def _quantised(actions: np.ndarray, scale: float) -> np.ndarray:
    """(N, H, D) → integers (N, H, D): rounded half to even, as published."""
    return np.around(dct(actions, axis=1, norm="ortho") * scale).astype(np.int64)


def _texts(integers: np.ndarray, min_token: int) -> list[str]:
    symbols = (integers - min_token).reshape(len(integers), -1)
    return ["".join(map(chr, row)) for row in symbols.tolist()]


def _nested(items, shape: tuple[int, ...]):
    return next(items) if not shape else [_nested(items, shape[1:]) for _ in range(shape[0])]


def _tokenizer(text: str, where: str) -> Tokenizer:
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the tokenizers library raises plain Exception
        raise InspireError(f"{where} holds no tokenizer: {error}.") from None
