"""Numbers on the command line."""

import argparse


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, found {text}")
    return number


def port(text: str) -> int:
    """A port to listen on; 0 takes a free one."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"must be from 0 to 65535, found {text}")
    return number


def shard(text: str) -> tuple[int, int]:
    """ "2/8" → (2, 8)."""
    first, slash, count = text.partition("/")
    if not slash or not (first.isdigit() and count.isdigit() and int(first) < int(count)):
        raise argparse.ArgumentTypeError(f"is written I/N with 0 ≤ I < N, found {text!r}")
    return int(first), int(count)
