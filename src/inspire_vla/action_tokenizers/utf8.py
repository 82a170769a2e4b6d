"""Pieces of byte-level BPE: which bytes a vocabulary entry stands for, and how they fit into characters."""

from dataclasses import dataclass, field


def _printable_bytes() -> dict[str, int]:
    """The character that GPT-2's byte-level vocabularies write for each of the 256 bytes → that byte."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


BYTE_OF_SYMBOL = _printable_bytes()


@dataclass(frozen=True)
class Piece:
    """One vocabulary entry's bytes, which may begin and end within a character."""

    data: bytes
    leading: int = field(init=False)  # bytes at its start that belong to a character begun before
    characters: int = field(init=False)  # characters that begin in it
    pending: int = field(init=False)  # bytes its last character still needs
    valid: bool = field(init=False)  # whether it can stand in UTF-8 at all

    def __post_init__(self) -> None:
        leading = characters = pending = 0
        valid = bool(self.data)
        for byte in self.data:
            if 0x80 <= byte < 0xC0:  # continues a character
                if characters == 0:
                    leading += 1
                else:
                    valid &= pending > 0
                    pending -= 1
            else:
                valid &= pending == 0 and byte not in (0xC0, 0xC1) and byte < 0xF5
                characters += 1
                pending = 0 if byte < 0x80 else 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
        valid &= leading <= 3
        for name, value in (
            ("leading", leading),
            ("characters", characters),
            ("pending", pending),
            ("valid", valid),
        ):
            object.__setattr__(self, name, value)
