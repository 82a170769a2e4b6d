"""One simulation at a time; no LIBERO needed."""

import pytest

from inspire_vla.libero import recording


class Simulation:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_simulation_that_cannot_be_made_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(task_file: str, *, pixels: int | None) -> Simulation:
        if task_file == "broken":
            raise RuntimeError("no such task")
        return Simulation()

    monkeypatch.setattr(recording, "make_simulation", make)
    monkeypatch.setattr(recording, "_kept", {}, raising=False)
    first = recording.simulation("one", 8)
    assert recording.simulation("one", 8) is first
    assert not first.closed
    with pytest.raises(RuntimeError):
        recording.simulation("broken", 8)
    other = recording.simulation("other", 8)
    assert (first.closed, other.closed) == (1, 0)
    assert recording.simulation("other", 16) is not other
    assert other.closed == 1
