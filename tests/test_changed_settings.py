"""Changed settings are named with both values."""

import math

import pytest

from inspire_vla.changed_settings import changed_settings


@pytest.mark.parametrize(
    ("earlier", "now", "expected"),
    [
        ({"a": 1, "b": "x"}, {"b": "x", "a": 1}, ""),
        ({"a": math.nan}, {"a": math.nan}, ""),
        ({"a": 1}, {"b": None}, "a: there 1, now not recorded; b: there not recorded, now None"),
        ({"a": {"b": {"c": 1}, "d": 2}}, {"a": {"b": {"c": 3}, "d": 2}}, "a.b.c: there 1, now 3"),
        ({"a": [{"b": 1}, 2]}, {"a": [{"b": 1}, 3]}, "a.1: there 2, now 3"),
        ({"a": [1]}, {"a": [1, 2]}, "a: there [1], now [1, 2]"),
        ({"a": "0" * 64}, {"a": "f" * 64}, "a: another"),  # a digest says nothing to a person
        ({"a": "x" * 100}, {"a": "x" * 200}, "a: another"),
        ({"a": "x" * 100}, {"a": ""}, f"a: there '{'x' * 79}…, now ''"),
        (dict.fromkeys("abcdefgh", 1), dict.fromkeys("abcdefgh", 1) | {"c": 2}, "c: there 1, now 2"),
        (
            dict.fromkeys("abcdefgh", 1),
            dict.fromkeys("abcdefgh", 2),
            f"{'; '.join(f'{name}: there 1, now 2' for name in 'abcde')}; and 3 more",
        ),
    ],
)
def test_changed_settings_are_named_with_both_values(earlier, now, expected):
    assert changed_settings(earlier, now) == expected
