"""How numbers are written, everywhere the same."""

from collections.abc import Mapping
from typing import Any


def percent(fraction: float | None, digits: int = 1) -> str:
    """0.125 → "12.5 %"; None → "–"."""
    return "–" if fraction is None else f"{100 * fraction:.{digits}f} %"


def interval(estimate: Mapping[str, Any], digits: int = 0) -> str:
    """{"low": 0.1, "high": 0.24} → "10–24"."""
    return f"{100 * max(0.0, estimate['low']):.{digits}f}–{100 * min(1.0, estimate['high']):.{digits}f}"


def points(fraction: float | None, digits: int = 1) -> str:
    """A difference in percentage points with its sign: 0.1 → "+10.0", −0.025 → "−2.5"."""
    if fraction is None:
        return "–"
    text = f"{100 * fraction:+.{digits}f}"
    return text.replace("-", "−")


def p_value(p: float) -> str:
    """0.0321 → "p = 0.032"; tiny ones → "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def milliseconds(ms: float | None) -> str:
    """12.34 → "12.3 ms"; None → "–"."""
    return "–" if ms is None else f"{ms:.1f} ms" if ms < 100 else f"{ms:.0f} ms"
