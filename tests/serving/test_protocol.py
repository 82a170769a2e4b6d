"""Messages equal openpi's bytes, survive a round trip, and are validated at bounded cost."""

import random
import struct
import tracemalloc

import msgpack
import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.serving.protocol import MAX_ITEMS, MalformedMessage, pack, unpack

DTYPES = ("|b1", "|u1", "|i1", "<u2", "<i4", "<i8", "<f2", "<f4", "<f8", ">f4")


def test_an_array_is_these_bytes() -> None:
    array = np.array([[1, 2, 3]], dtype=np.float32)
    expected = (
        b"\x81\xa1a"  # {"a":
        b"\x84\xc4\x0b__ndarray__\xc3"  # {b"__ndarray__": true,
        b"\xc4\x04data\xc4\x0c"
        + struct.pack("<3f", 1, 2, 3)  # b"data": 12 bytes,
        + b"\xc4\x05dtype\xa3<f4"  # b"dtype": "<f4",
        b"\xc4\x05shape\x92\x01\x03"  # b"shape": [1, 3]}}
    )
    assert pack({"a": array}) == expected


def test_a_scalar_is_these_bytes() -> None:
    number = b"\xcb" + struct.pack(">d", 2.5)
    expected = b"\x83\xc4\x0d__npgeneric__\xc3\xc4\x04data" + number + b"\xc4\x05dtype\xa3<f4"
    assert pack(np.float32(2.5)) == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_arrays_survive_a_round_trip(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.asarray(np.random.default_rng(0).random(shape) * 100).astype(dtype)
    back = unpack(pack({"x": array}))["x"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("value", [np.float32(1.5), np.int64(-3), np.bool_(True), np.uint8(255)])
def test_scalars_keep_their_type(value: np.generic) -> None:
    back = unpack(pack(value))
    assert type(back) is type(value)
    assert back == value


def test_views_are_sent_in_c_order() -> None:
    array = np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)[::-1]
    np.testing.assert_array_equal(unpack(pack(array)), array)


def test_plain_values_survive_a_round_trip() -> None:
    message = {"prompt": "öffne", "n": [1, None, True, 2.5, b"bytes"], "deep": {"er": {}}}
    assert unpack(pack(message)) == message


@pytest.mark.parametrize(
    "value", [np.array([object()]), np.array([1j]), np.zeros(2, "f4,i4"), object(), {1, 2}]
)
def test_values_without_a_representation_are_refused(value: object) -> None:
    with pytest.raises(InspireError, match="cannot be sent"):
        pack({"x": value})


def array_map(data: object = b"\0" * 8, dtype: object = "<f4", shape: object = (2,)) -> bytes:
    return msgpack.packb({b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x92\x01",
        b"\x01\x02",
        msgpack.packb(msgpack.ExtType(5, b"x")),
        msgpack.packb({3: 4}),
        b"\xa2\xff\xfe",
        b"\x91" * 5000 + b"\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff1",
        array_map(dtype="|O"),
        array_map(dtype="<c8", shape=(1,)),
        array_map(dtype="V8", shape=(1,)),
        array_map(dtype="f4,f4"),
        array_map(dtype="(2,)f4"),
        array_map(dtype="nonsense"),
        array_map(dtype=7),
        array_map(dtype="<f4\n"),
        array_map(shape=(3,)),
        array_map(shape=(-1, -2)),
        array_map(shape=(2**62, 4)),
        array_map(shape=(0, 2**63), data=b""),
        array_map(shape=[1] * 9, data=b"\0\0\0\0"),
        array_map(shape=(2.0,)),
        array_map(shape=(True, 2)),
        array_map(shape="2"),
        array_map(data="text"),
        array_map(data=None),
        msgpack.packb({b"__ndarray__": True}),
        msgpack.packb({b"__npgeneric__": True, b"data": "x", b"dtype": "<f4"}),
        msgpack.packb({b"__npgeneric__": True, b"data": 10**4, b"dtype": "|u1"}),
        msgpack.packb({b"__npgeneric__": True, b"data": 1, b"dtype": "|O"}),
    ],
)
def test_malformed_messages_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        unpack(data)


def test_a_long_message_is_refused_before_decoding() -> None:
    with pytest.raises(MalformedMessage, match="at most 10 are accepted"):
        unpack(b"\0" * 11, max_bytes=10)


@pytest.mark.parametrize("bomb", [b"\x80", b"\x90", b"\x01"])
def test_a_short_message_cannot_create_many_objects(bomb: bytes) -> None:
    row = b"\xdc\x4e\x20" + bomb * 20_000  # a list of MAX_ITEMS
    data = b"\xdc\x00\xff" + row * 255
    assert len(data) > 5_000_000
    assert MAX_ITEMS == 20_000
    tracemalloc.start()
    with pytest.raises(MalformedMessage, match="elements"):
        unpack(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def test_mutated_messages_raise_nothing_else() -> None:
    rng = random.Random(0)
    whole = pack(
        {"observation/image": np.zeros((4, 4, 3), np.uint8), "s": np.float32(1), "prompt": "go", "l": [1, 2]}
    )
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        data = data[: rng.randint(0, len(data))] if rng.random() < 0.2 else data
        try:
            unpack(bytes(data))
        except MalformedMessage:
            continue
