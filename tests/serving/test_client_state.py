"""The pace of a connection: so many requests at once, then so many a second, by a clock that the test turns."""

from types import SimpleNamespace

import pytest

from inspire_vla.serving import client_state
from inspire_vla.serving.client_state import ClientState


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    turned = SimpleNamespace(now=100.0)
    turned.monotonic = lambda: turned.now
    monkeypatch.setattr(client_state, "time", turned)
    return turned


def test_a_seconds_worth_at_once_then_one_at_a_time(clock: SimpleNamespace) -> None:
    client = ClientState(20)
    assert [client.pause_s() for _ in range(20)] == [0.0] * 20
    for _ in range(5):
        pause = client.pause_s()
        assert pause == pytest.approx(1 / 20)
        clock.now += pause


def test_a_rest_gives_back_at_most_a_seconds_worth(clock: SimpleNamespace) -> None:
    client = ClientState(4)
    for _ in range(4):
        client.pause_s()
    clock.now += 0.5
    assert [client.pause_s() for _ in range(3)] == [0.0, 0.0, pytest.approx(1 / 4)]
    clock.now += 3600
    assert [client.pause_s() > 0 for _ in range(6)] == [False] * 4 + [True] * 2


def test_without_a_rate_nobody_waits(clock: SimpleNamespace) -> None:
    client = ClientState(0)
    assert {client.pause_s() for _ in range(1000)} == {0.0}
