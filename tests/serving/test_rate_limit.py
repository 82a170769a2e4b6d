"""The rate limit of a connection is a token bucket. The test sets the clock."""

from types import SimpleNamespace

import pytest

from inspire_vla.serving import server
from inspire_vla.serving.server import ConnectionState


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    fake = SimpleNamespace(now=100.0)
    fake.monotonic = lambda: fake.now
    monkeypatch.setattr(server, "time", fake)
    return fake


def test_one_seconds_worth_passes_at_once(clock: SimpleNamespace) -> None:
    client = ConnectionState(20)
    assert [client.delay_s() for _ in range(20)] == [0.0] * 20
    for _ in range(5):
        delay = client.delay_s()
        assert delay == pytest.approx(1 / 20)
        clock.now += delay


def test_the_bucket_holds_one_seconds_worth(clock: SimpleNamespace) -> None:
    client = ConnectionState(4)
    for _ in range(4):
        client.delay_s()
    clock.now += 0.5
    assert [client.delay_s() for _ in range(3)] == [0.0, 0.0, pytest.approx(1 / 4)]
    clock.now += 3600
    assert [client.delay_s() > 0 for _ in range(6)] == [False] * 4 + [True] * 2


def test_rate_zero_never_delays(clock: SimpleNamespace) -> None:
    client = ConnectionState(0)
    assert {client.delay_s() for _ in range(1000)} == {0.0}
