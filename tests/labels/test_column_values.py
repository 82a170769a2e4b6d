"""Values of a column are named by index or by name."""

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels.column_values import ColumnValues


def test_names_of_a_column_without_names_are_refused_with_advice() -> None:
    with pytest.raises(
        InspireError, match=r"values of column 's' have no names, and x,y,z .*as in s:0,1,2\.$"
    ):
        ColumnValues.parse("s:x,y,z").resolve({"other": ["x", "y", "z"]})
