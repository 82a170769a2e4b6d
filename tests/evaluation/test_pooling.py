from dataclasses import replace
from pathlib import Path

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import EpisodeRecord, Run, compare, pool


def run(name, suite, outcomes):
    records = [
        EpisodeRecord(suite=suite, task="t", instruction="i", episode=e, seed=e, success=s, steps=1)
        for e, s in enumerate(outcomes)
    ]
    return Run(Path(name), {"policy": {"name": name}}, tuple(records))


def test_replicas_stay_paired_with_their_own():
    """The second base policy's episode meets the second InSpire policy's, not the first's."""
    base = pool([[run("b0", "a_seen", [1, 1])], [run("b1", "a_seen", [0, 0])]], "base")
    inspire = pool([[run("i0", "a_seen", [1, 1])], [run("i1", "a_seen", [0, 1])]], "InSpire")
    pair = compare([base, inspire])["groups"][0]["paired"][1]
    assert (pair["both"], pair["only_first"], pair["only_second"], pair["neither"]) == (2, 0, 1, 1)


def test_suites_of_one_policy_become_one_run():
    whole = pool([[run("b", "a_seen", [1]), run("b", "a_goal", [0, 1])]], "base")
    groups = {g["group"]: g["rates"][0]["n"] for g in compare([whole])["groups"]}
    assert groups == {"seen": 1, "unseen": 2}
    assert whole.info["pooled"] == ["b", "b"]


def test_nothing_pools_to_an_error():
    with pytest.raises(InspireError, match="no runs of 'base'"):
        pool([], "base")
    with pytest.raises(InspireError):
        pool([[]], "base")
    assert replace(run("b", "a_seen", [1]).records[0]).success
