"""openpi's wire format: msgpack, with arrays and NumPy scalars as small maps.

    array   {b"__ndarray__": True, b"data": bytes in C order, b"dtype": "<f4", b"shape": [H, D]}
    scalar  {b"__npgeneric__": True, b"data": number, b"dtype": "<f4"}

The same bytes as openpi-client 0.1's `msgpack_numpy`, which pins numpy < 2 and believes what it reads. Here numpy may
be 2, and a message is believed only as far as it holds together: see `unpack`.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from inspire_vla.errors import InspireError

MAX_BYTES = 16 * 2**20
"""Of one message: three cameras at 1080 × 720 in uint8 are 7 MiB."""
MAX_ITEMS = 20_000
"""Elements of all lists and maps of a message together; numbers in bulk travel as arrays."""
MAX_DIMENSIONS = 8
NUMERIC = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
"""dtypes that are taken: booleans, integers and real numbers. No objects, records, complex numbers or text."""


class MalformedMessage(InspireError):
    """Bytes that are not a message of the protocol, or break one of its limits."""


def pack(message: Any) -> bytes:
    """Return the bytes of a message. Raises InspireError for what the protocol cannot carry."""
    try:
        return msgpack.packb(message, default=_to_map)
    except (TypeError, OverflowError, RecursionError) as error:
        raise InspireError(f"This cannot be sent: {error}.") from error
    except InspireError:
        raise
    except ValueError as error:
        raise InspireError(f"This cannot be sent: {error}.") from error


def unpack(data: bytes, *, max_bytes: int = MAX_BYTES) -> Any:
    """Return the message of `data`. Arrays are read-only views of it.

    Raises MalformedMessage: too long, not msgpack, more than one message, more than MAX_ITEMS elements, or an array
    whose dtype is not numeric or whose shape does not fit its bytes. Takes memory in proportion to `data` at most.
    """
    if len(data) > max_bytes:
        raise MalformedMessage(f"A message of {len(data)} bytes; at most {max_bytes} are taken.")
    budget = _Budget(MAX_ITEMS)
    try:
        return msgpack.unpackb(
            data,
            object_hook=budget.of_map,
            list_hook=budget.of_list,
            ext_hook=_no_extension,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
        )
    except MalformedMessage:
        raise
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise MalformedMessage(f"Not a msgpack message ({reason[:200]}), {len(data)} bytes.") from error


class _Budget:
    """Counts elements while a message is read, so that few bytes cannot become many objects."""

    def __init__(self, items: int) -> None:
        self.left = items

    def spend(self, items: int) -> None:
        self.left -= items + 1
        if self.left < 0:
            raise MalformedMessage(
                f"A message of more than {MAX_ITEMS} elements; send numbers in bulk as arrays."
            )

    def of_list(self, items: list[Any]) -> list[Any]:
        self.spend(len(items))
        return items

    def of_map(self, items: dict[Any, Any]) -> Any:
        self.spend(len(items))
        if b"__ndarray__" in items:
            return _array(items)
        if b"__npgeneric__" in items:
            return _scalar(items)
        return items


def _to_map(value: Any) -> Any:
    """What msgpack itself cannot carry, as a map in openpi's order of keys."""
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind in "VOc":
            raise InspireError(f"Arrays of dtype {value.dtype} cannot be sent; send numbers.")
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
    raise TypeError(f"no way to send a {type(value).__name__}")


def _array(items: dict[Any, Any]) -> np.ndarray:
    data, shape = items.get(b"data"), items.get(b"shape")
    dtype = _dtype(items.get(b"dtype"))
    if not isinstance(data, bytes):
        raise MalformedMessage(f"An array's data must be bytes, found {type(data).__name__}.")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise MalformedMessage(f"An array's shape must be a list of at most {MAX_DIMENSIONS} sizes.")
    if not all(type(size) is int and 0 <= size <= MAX_BYTES for size in shape):
        raise MalformedMessage(f"An array of shape {str(shape)[:100]} cannot be.")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise MalformedMessage(
            f"An array of shape {shape} and dtype {dtype} takes {math.prod(shape) * dtype.itemsize} bytes, "
            f"found {len(data)}."
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def _scalar(items: dict[Any, Any]) -> np.generic:
    value = items.get(b"data")
    dtype = _dtype(items.get(b"dtype"))
    if not isinstance(value, bool | int | float):
        raise MalformedMessage(f"A scalar's data must be a number, found {type(value).__name__}.")
    with np.errstate(over="ignore"):  # 1e300 is infinite in four bytes, as it is for openpi
        return dtype.type(value)


def _dtype(name: Any) -> np.dtype:
    if not isinstance(name, str) or NUMERIC.fullmatch(name) is None:
        raise MalformedMessage(
            f"Arrays of dtype {str(name)[:60]!r} are not taken. Possible: booleans |b1, integers such as |u1 or <i8, "
            "and real numbers <f2, <f4, <f8."
        )
    return np.dtype(name)


def _no_extension(code: int, data: bytes) -> Any:
    raise MalformedMessage(f"msgpack extension type {code} is not part of the protocol.")
