"""One simulation at a time; LIBERO is not needed."""

import pytest

from inspire_vla.libero import simulation as module
from inspire_vla.libero.simulation import shared_simulation


class Simulation:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_simulation_that_cannot_be_made_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(task_file: str, *, pixels: int | None) -> Simulation:
        if task_file == "broken":
            raise RuntimeError("no such task")
        return Simulation()

    monkeypatch.setattr(module, "make_simulation", make)
    monkeypatch.setattr(module, "_simulations", {})
    first = shared_simulation("one", 8)
    assert shared_simulation("one", 8) is first
    assert not first.closed
    with pytest.raises(RuntimeError):
        shared_simulation("broken", 8)
    other = shared_simulation("other", 8)
    assert (first.closed, other.closed) == (1, 0)
    assert shared_simulation("other", 16) is not other
    assert other.closed == 1
