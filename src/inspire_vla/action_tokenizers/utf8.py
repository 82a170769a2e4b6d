"""Pieces of byte-level BPE: which bytes a vocabulary entry stands for, and how they fit into characters.

Characters up to U+07FF matter here: one byte below U+0080, else a first byte 110xxxxx and a second 10xxxxxx.
"""

from dataclasses import dataclass

LARGEST_SYMBOL = 0x7FF


def _printable_bytes() -> dict[str, int]:
    """The character that GPT-2's byte-level vocabularies write for each of the 256 bytes → that byte."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


BYTE_OF_SYMBOL = _printable_bytes()


@dataclass(frozen=True)
class Piece:
    """One vocabulary entry, which may begin and end within a character."""

    data: bytes
    head: int  # its first byte if that ends a character begun before, else 0
    tail: int  # its last byte if that begins a character it does not end, else 0
    characters: int  # characters that begin in it
    largest: int  # the largest symbol it must hold at the least
    valid: bool  # whether it can stand among characters up to LARGEST_SYMBOL

    @classmethod
    def of(cls, data: bytes) -> "Piece":
        """Take the bytes apart."""
        head = data[0] if data and _is_second(data[0]) else 0
        tail = characters = largest = 0
        valid = bool(data)
        for byte in data[1:] if head else data:
            if _is_second(byte):
                valid &= tail != 0
                largest = max(largest, symbol(tail, byte))
                tail = 0
            else:
                valid &= tail == 0 and (byte < 0x80 or 0xC2 <= byte < 0xE0)
                characters += 1
                tail = byte if byte >= 0x80 else 0
                largest = max(largest, symbol(byte, 0x80) if tail else byte)
        return cls(data, head, tail, characters, largest, valid)


def symbol(first: int, second):
    """The character that two bytes make; `second` may be an array."""
    return (first & 0x1F) << 6 | (second & 0x3F)


def _is_second(byte: int) -> bool:
    return 0x80 <= byte < 0xC0
