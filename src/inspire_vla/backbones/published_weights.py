"""Published weights under the parameter names of a backbone: renamed by rules, so that nothing is left out unseen."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RenamedWeights:
    """Published weights under the parameter names of a backbone.

    Attributes:
        state: the renamed tensors.
        dropped: source names that a rule leaves out: parts of the original that are never run.
        unknown: source names that no rule matches.
    """

    state: dict[str, Tensor]
    dropped: tuple[str, ...]
    unknown: tuple[str, ...]


def rename_weights(source: Mapping[str, Tensor], rules: Iterable[tuple[str, str | None]]) -> RenamedWeights:
    """Rename each tensor by the first matching rule: (regular expression of the whole name, replacement).

    None as replacement drops the tensor.
    """
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    state: dict[str, Tensor] = {}
    dropped, unknown = [], []
    for name, tensor in source.items():
        matches = ((pattern.fullmatch(name), replacement) for pattern, replacement in compiled)
        match, replacement = next(((m, r) for m, r in matches if m), (None, None))
        if match is None:
            unknown.append(name)
        elif replacement is None:
            dropped.append(name)
        else:
            state[match.expand(replacement)] = tensor
    return RenamedWeights(state, tuple(dropped), tuple(unknown))


def count_layers(names: Iterable[str], prefix: str) -> int:
    """The number of layers, from names such as `prefix.11.weight`."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return 1 + max(int(match.group(1)) for name in names if (match := pattern.match(name)))
