"""Renaming published weights to ours: rules that name every tensor, so that nothing is lost unnoticed."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

DROP = None
"""Where a rule leads that leaves a tensor out on purpose."""


@dataclass(frozen=True)
class Mapped:
    """Attributes:
    state: tensors under our names.
    dropped: source names left out on purpose: parts of the original that are never run.
    unknown: source names that no rule knows.
    """

    state: dict[str, Tensor]
    dropped: tuple[str, ...]
    unknown: tuple[str, ...]


def rename(source: Mapping[str, Tensor], rules: Iterable[tuple[str, str | None]]) -> Mapped:
    """Rename by the first rule (regular expression of the whole name, replacement) that fits."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    state: dict[str, Tensor] = {}
    dropped, unknown = [], []
    for name, tensor in source.items():
        for pattern, replacement in compiled:
            match = pattern.fullmatch(name)
            if match is None:
                continue
            if replacement is DROP:
                dropped.append(name)
            else:
                state[match.expand(replacement)] = tensor
            break
        else:
            unknown.append(name)
    return Mapped(state, tuple(dropped), tuple(unknown))
