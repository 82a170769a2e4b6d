"""Some of the values in one column of a dataset, as a command line names them: "observation.state:0,1,2"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, counted, did_you_mean


@dataclass(frozen=True)
class ColumnValues:
    """Some of the values in one column, written "name:0,1,2" or "name:ee_x,ee_y,ee_z" on a command line.

    names: of the values, until `resolve` has found their indices.
    """

    column: str
    indices: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "ColumnValues":
        """Read "name:0,1,2" or "name:ee_x,ee_y". Raises InspireError for another form."""
        column, colon, values = text.rpartition(":")
        parts = tuple(part.strip() for part in values.split(","))
        if colon and column and all(parts):
            if all(part.isdecimal() for part in parts):
                return cls(column, tuple(map(int, parts)))
            if not any(part.lstrip("-").isdecimal() for part in parts):
                return cls(column, names=parts)
        raise InspireError(
            f"a column is written name:0,1,2, or with the names of its values, as name:ee_x,ee_y,ee_z; found {text!r}."
        )

    def __str__(self) -> str:
        return f"{self.column}:{','.join(self.names or map(str, self.indices))}"

    def __len__(self) -> int:
        return len(self.names or self.indices)

    def resolve(self, names: Mapping[str, Sequence[str]]) -> "ColumnValues":
        """Replace names by indices. Raises InspireError for a name that the column does not have, or has twice."""
        if not self.names:
            return self
        known = list(names.get(self.column, ()))
        if not known:
            raise InspireError(
                f"the values of column {self.column!r} have no names, and {','.join(self.names)} is asked for. Give "
                f"indices, as in {self.column}:0,1,2."
            )
        for name in self.names:
            if known.count(name) != 1:
                how = "several values" if name in known else "no value"
                raise InspireError(
                    f"column {self.column!r} has {how} named {name!r}; indices are possible too, as in "
                    f"{self.column}:0,1,2.{did_you_mean(name, known)}"
                )
        return ColumnValues(self.column, tuple(known.index(name) for name in self.names))

    def names_in(self, names: Mapping[str, Sequence[str]]) -> list[str]:
        """The names of the values, where the column has names."""
        known = names.get(self.column, ())
        return [known[i] for i in self.indices if i < len(known)]

    def described(self, names: Mapping[str, Sequence[str]]) -> str:
        """The values with their names, for a person: "observation.state:0,1,2 (x, y, z)"."""
        known = ", ".join(self.names_in(names))
        return f"{self} ({known})" if known else f"{self}"

    def of(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Select the values, (T, n). Raises InspireError if there is no such column, or too few values in it."""
        if self.column not in columns:
            raise InspireError(f"there is no column {self.column!r}.{did_you_mean(self.column, columns)}")
        values = np.asarray(columns[self.column], dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if max(self.indices) >= values.shape[1]:
            raise InspireError(
                f"column {self.column!r} holds {counted(values.shape[1], 'number')}; number "
                f"{max(self.indices)} is asked for."
            )
        return values[:, list(self.indices)]
