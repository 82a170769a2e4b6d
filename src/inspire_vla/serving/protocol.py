"""openpi's message format: msgpack, with arrays and NumPy scalars as small maps.

    array   {b"__ndarray__": True, b"data": bytes in C order, b"dtype": "<f4", b"shape": [H, D]}
    scalar  {b"__npgeneric__": True, b"data": number, b"dtype": "<f4"}

The bytes equal those of `msgpack_numpy` in openpi-client 0.1, which requires numpy < 2 and does not validate messages.
`unpack` works with any numpy and validates every message.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from inspire_vla.errors import InspireError, reason_of

MAX_BYTES = 16 * 2**20
"""Largest message. Three uint8 images of 1080 × 720 take 7 MiB."""
MAX_ITEMS = 20_000
"""Most elements in all lists and maps of one message together. Arrays count as one element."""
NUMERIC = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
"""Accepted dtypes: booleans, integers and real numbers. Objects, records, complex numbers and text are refused."""


class MalformedMessage(InspireError):
    """The bytes are not a message of the protocol, or exceed one of its limits."""


def pack(message: Any) -> bytes:
    """Return the bytes of a message. Raises InspireError for a value that the protocol cannot represent."""
    try:
        return msgpack.packb(message, default=_to_map)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InspireError(f"This cannot be sent: {reason_of(error)}.") from error


def unpack(data: bytes, *, max_bytes: int = MAX_BYTES) -> Any:
    """Return the message in `data`. Arrays are read-only views of `data`. Memory use is proportional to `data`.

    Raises:
        MalformedMessage: `data` is too long, is not exactly one msgpack message, or has more than MAX_ITEMS elements;
            or an array has a non-numeric dtype, or a shape that does not fit its bytes.
    """
    if len(data) > max_bytes:
        raise MalformedMessage(f"The message has {len(data)} bytes; at most {max_bytes} are accepted.")
    budget = _ItemBudget(MAX_ITEMS)
    try:
        return msgpack.unpackb(
            data,
            object_hook=budget.map_hook,
            list_hook=budget.list_hook,
            ext_hook=_refuse_extension,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
        )
    except MalformedMessage:
        raise
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError, RecursionError) as error:
        reason = reason_of(error)[:200]
        raise MalformedMessage(f"Malformed msgpack message of {len(data)} bytes: {reason}.") from error


class _ItemBudget:
    """Counts elements during decoding, so that a short message cannot create many objects."""

    def __init__(self, items: int) -> None:
        self.left = items

    def list_hook(self, items: list[Any]) -> list[Any]:
        self._spend(len(items))
        return items

    def map_hook(self, items: dict[Any, Any]) -> Any:
        self._spend(len(items))
        if b"__ndarray__" in items:
            return _array(items)
        if b"__npgeneric__" in items:
            return _scalar(items)
        return items

    def _spend(self, items: int) -> None:
        self.left -= items + 1
        if self.left < 0:
            raise MalformedMessage(
                f"The message has more than {MAX_ITEMS} elements. Send many numbers as an array."
            )


def _to_map(value: Any) -> Any:
    """Return a value that msgpack cannot represent as a map, with the keys in openpi's order."""
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind in "VOc":
            raise TypeError(f"arrays of dtype {value.dtype} are not numbers")
        if isinstance(value, np.ndarray):
            return {
                b"__ndarray__": True,
                b"data": value.tobytes(),
                b"dtype": value.dtype.str,
                b"shape": value.shape,
            }
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"the protocol has no {type(value).__name__}")


def _array(items: dict[Any, Any]) -> np.ndarray:
    data, shape = items.get(b"data"), items.get(b"shape")
    dtype = _dtype(items.get(b"dtype"))
    if not isinstance(data, bytes):
        raise MalformedMessage(f"An array's data must be bytes, found {type(data).__name__}.")
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise MalformedMessage(
            f"An array's shape must be a list of at most 8 sizes, found {str(shape)[:100]}."
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape)  # reshape checks the shape against the bytes


def _scalar(items: dict[Any, Any]) -> np.generic:
    value = items.get(b"data")
    dtype = _dtype(items.get(b"dtype"))
    if not isinstance(value, bool | int | float):
        raise MalformedMessage(f"A scalar's data must be a number, found {type(value).__name__}.")
    with np.errstate(over="ignore"):  # 1e300 becomes infinity in four bytes, as in openpi
        return dtype.type(value)


def _dtype(name: Any) -> np.dtype:
    if not isinstance(name, str) or NUMERIC.fullmatch(name) is None:
        raise MalformedMessage(
            f"Arrays of dtype {str(name)[:60]!r} are not accepted. Possible: booleans |b1, integers such as |u1 or "
            "<i8, and real numbers <f2, <f4, <f8."
        )
    return np.dtype(name)


def _refuse_extension(code: int, data: bytes) -> Any:
    raise MalformedMessage(f"The protocol has no msgpack extension type {code}.")
