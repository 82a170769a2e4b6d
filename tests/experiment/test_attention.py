"""The shipped pair's attention at one state, on the masks of the objects mentioned."""

import pytest

from inspire_vla import policies
from inspire_vla.errors import InspireError
from inspire_vla.experiment.attention import count_states, measure_attention
from inspire_vla.tabletop.benchmark import TabletopBenchmark


class OneTask:
    """A benchmark of one task of the tabletop in one suite."""

    def __init__(self) -> None:
        self.inner = TabletopBenchmark()
        self.groups = self.inner.groups

    def tasks(self, suite: str) -> tuple[str, ...]:
        return self.inner.tasks(suite)[:1]

    def make(self, suite: str, task: str):
        return self.inner.make(suite, task)


@pytest.mark.parametrize("method", ["rollout", "gradient"])
def test_base_and_inspire_look_at_the_same_states(method: str) -> None:
    agents = [(name, policies.agent_factory(name)()) for name in ("nano_base", "nano_inspire")]
    found = measure_attention(agents, OneTask(), ("tabletop_seen",), episodes=1, method=method)
    (row,) = found.examples
    asked = len(row.tiles) - 3
    assert asked >= 1
    assert [tile.policy for tile in row.tiles] == ["", "nano_base", "nano_inspire", *["nano_inspire"] * asked]
    assert [m.doing for m in found.measured] == ["acting", *["answering"] * asked, "acting"]
    assert all(0 <= m.share <= 1 and 0 < m.area < 0.5 for m in found.measured)
    acting = [m for m in found.measured if m.doing == "acting"]
    assert acting[0].area == acting[1].area
    assert acting[0].area >= max(m.area for m in found.measured if m.mention)  # all objects together
    assert {tile.image.size for tile in row.tiles} == {(288, 288)}


def test_two_policies_need_two_names() -> None:
    with pytest.raises(InspireError, match="a name of its own"):
        measure_attention([("a", None), ("a", None)], OneTask(), ("tabletop_seen",), episodes=1)


def test_states_are_counted() -> None:
    benchmark = OneTask()
    assert count_states(benchmark, ("tabletop_seen", "tabletop_goal"), episodes=3, examples=1) == 6
    assert count_states(benchmark, ("tabletop_seen",), episodes=0, examples=4) == 1
