"""A short rollout in LIBERO, with the truth of what is mentioned."""

from types import SimpleNamespace

import numpy as np
import pytest

from inspire_vla.evaluation import EpisodeJob, RolloutSettings, rollout
from inspire_vla.libero.benchmark import LiberoBenchmark
from inspire_vla.libero.installation import LiberoMissing, require_libero
from inspire_vla.spatial import relate


@pytest.fixture(scope="module")
def benchmark():
    try:
        require_libero()
    except LiberoMissing as error:
        pytest.skip(str(error))
    return LiberoBenchmark(image_size=32)


class Still:
    """An agent that stays where it is and answers what it is told is true."""

    def __init__(self):
        self.seen = []

    def act(self, observations, instructions, overrides=None, drafts=None):
        self.seen += [(o["pixels"]["image"].shape, o["agent_pos"].shape) for o in observations]
        said = [dict(answer or {}) for answer in overrides]
        return [
            SimpleNamespace(
                actions=np.zeros((2, 7), np.float32), mentions=tuple(one), answers=tuple(one.values()),
                confidences=(1.0,) * len(one), overridden=(True,) * len(one), decodable=True,
                accepted=(), forward_passes=1,
            )
            for one in said
        ]  # fmt: skip


@pytest.mark.libero
def test_a_rollout_knows_where_things_are(benchmark):
    job = EpisodeJob("libero_goal", "put_the_bowl_on_the_stove", 0, 1_000_003)
    agent = Still()
    (record,) = rollout([job], benchmark, agent, RolloutSettings(max_steps=3, control="truth"), slots=1)
    assert record.error is None, record.traceback
    assert record.instruction == "put the bowl on the stove"
    assert record.mentions == ("the bowl", "the stove")
    assert (record.steps, record.success, record.init_state) == (3, False, 3)
    assert agent.seen[0] == ((32, 32, 3), (8,))
    # initial state 3: the bowl in front and below the hand, the stove to its left and below
    offsets = np.array([[0.11, -0.006, -0.271], [-0.042, 0.21, -0.265]])
    assert record.timeline[0][1] == tuple(relate(offsets, False).tolist())


@pytest.mark.libero
def test_the_goals_of_a_two_step_task_are_told_one_by_one(benchmark):
    task = "LIVING_ROOM_SCENE2_put_both_the_alphabet_soup_and_the_tomato_sauce_in_the_basket"
    job = EpisodeJob("libero_10", task, 0, 1_000_000)
    (record,) = rollout([job], benchmark, Still(), RolloutSettings(max_steps=2, control="truth"), slots=1)
    assert record.error is None, record.traceback
    assert record.goals == (None, None)
