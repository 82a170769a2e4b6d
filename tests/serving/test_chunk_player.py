"""Each action is played at its own step, however late its chunk arrives."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.serving.chunk_player import ChunkPlayer

HORIZON = 6
STILL = np.zeros(2, dtype=np.float32)


def chunk_from(observation: dict) -> SimpleNamespace:
    """Action i of the chunk asked at step t is [t, t + i]."""
    t = observation["t"]
    return SimpleNamespace(actions=np.array([[t, t + i] for i in range(HORIZON)], dtype=np.float32))


@pytest.mark.parametrize("ahead", [0, 1, 3])
@pytest.mark.parametrize("n_action_steps", [None, 4])
@pytest.mark.parametrize("delay_s", [0.0, 0.012])
def test_every_action_belongs_to_its_step(ahead: int, n_action_steps: int | None, delay_s: float) -> None:
    def infer(observation: dict) -> SimpleNamespace:
        time.sleep(delay_s)
        return chunk_from(observation)

    with ChunkPlayer(infer, n_action_steps=n_action_steps, ahead=ahead) as player:
        for t in range(40):
            asked_at, belongs_to = player.step({"t": t})
            assert belongs_to == t
            if ahead == 0:
                assert t - asked_at == t % (n_action_steps or HORIZON)
            time.sleep(0.005)


def test_with_overlap_the_robot_waits_less() -> None:
    def infer(observation: dict) -> SimpleNamespace:
        time.sleep(0.02)
        return chunk_from(observation)

    waits = {}
    for ahead in (0, 3):
        with ChunkPlayer(infer, ahead=ahead) as player:
            for t in range(30):
                player.step({"t": t})
                time.sleep(0.015)
            waits[ahead] = player.waits
    assert waits[0] >= 4  # after every chunk
    assert waits[3] < waits[0] / 2


def test_a_chunk_that_arrives_after_all_its_steps_is_requested_again() -> None:
    gate = threading.Event()

    def infer(observation: dict) -> SimpleNamespace:
        if observation["t"] == 1:
            gate.wait(5)
        return SimpleNamespace(
            actions=chunk_from(observation).actions[: 2 if observation["t"] == 1 else HORIZON]
        )

    with ChunkPlayer(infer, ahead=5) as player:
        assert player.step({"t": 0})[1] == 0
        for t in range(1, 4):
            assert player.step({"t": t})[1] == t
        gate.set()
        assert player._pending is not None
        player._pending.result(30)
        assert list(player.step({"t": 4})) == [4, 4]  # the late chunk ended at step 2


def test_undecodable_replies_continue_the_old_chunk_up_to_a_limit() -> None:
    answers = iter([True, False, True, *[False] * 9])

    def infer(observation: dict) -> SimpleNamespace:
        return chunk_from(observation) if next(answers) else SimpleNamespace(actions=None)

    with ChunkPlayer(infer, ahead=0, max_undecodable=3) as player:
        for t in range(2 * HORIZON):
            assert player.step({"t": t})[1] == t
        with pytest.raises(InspireError, match="3 replies in a row"):
            player.step({"t": 12})
        player.reset()
        with pytest.raises(InspireError, match="3 replies in a row"):  # another episode, three replies again
            player.step({"t": 0})
        assert sum(1 for _ in answers) == 3


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_robot_that_can_hold_still_asks_about_the_next_observation(ahead: int) -> None:
    """What cannot be decoded at one image would not be at the same one, asked again."""
    asked: list[int] = []

    def infer(observation: dict) -> SimpleNamespace:
        asked.append(observation["t"])
        return chunk_from(observation) if observation["t"] in (0, 9) else SimpleNamespace(actions=None)

    played = []
    with ChunkPlayer(
        infer, ahead=ahead, max_undecodable=9, hold=lambda seen: np.array([seen["t"], -1])
    ) as player:
        for t in range(HORIZON + 7):
            played.append(player.step({"t": t}))
        assert player.steps == len(played)
    assert len(asked) == len(set(asked))
    assert [tuple(action) for action in played[HORIZON : HORIZON + 3]] == [(6, -1), (7, -1), (8, -1)]
    assert [tuple(action) for action in played[HORIZON + 3 :]] == [(9, 9), (9, 10), (9, 11), (9, 12)]


@pytest.mark.parametrize("nothing", [None, np.zeros((0, 2))])
def test_holding_still_ends_after_too_many_replies_without_actions(nothing) -> None:
    reply = SimpleNamespace(actions=nothing)
    with ChunkPlayer(lambda _: reply, max_undecodable=3, hold=lambda _: STILL) as player:
        assert player.step({"t": 0}) is player.step({"t": 1}) is STILL
        with pytest.raises(InspireError, match="3 replies in a row"):
            player.step({"t": 2})


def test_empty_chunks_are_not_asked_for_for_ever() -> None:
    replies = iter([SimpleNamespace(actions=np.zeros((0, 2)))] * 3)
    with (
        ChunkPlayer(lambda _: next(replies), max_undecodable=3) as player,
        pytest.raises(InspireError, match="3 replies in a row"),
    ):
        player.step({"t": 0})


def test_errors_of_the_policy_are_raised() -> None:
    def infer(observation: dict) -> SimpleNamespace:
        raise InspireError("no such camera")

    with ChunkPlayer(infer) as player, pytest.raises(InspireError, match="no such camera"):
        player.step({"t": 0})


def test_an_observation_is_that_of_its_step_though_the_robot_writes_into_the_same_arrays() -> None:
    """As camera drivers do, while the next chunk waits to be sent."""
    image, goes_on, seen = np.zeros((2, 2, 3), np.uint8), threading.Event(), []

    def infer(observation: dict) -> SimpleNamespace:
        assert goes_on.wait(30)
        seen.append((observation["t"], int(observation["image"][0, 0, 0]), observation["more"]["state"][0]))
        return chunk_from(observation)

    goes_on.set()
    with ChunkPlayer(infer, n_action_steps=3, ahead=2) as player:
        for t in range(3):
            image[:], state = t, [t]
            player.step({"t": t, "image": image, "more": {"state": state}})
            image[:] = state[0] = 99
            goes_on.clear()
        goes_on.set()
    assert seen == [(t, t, t) for t, *_ in seen]
    assert len(seen) >= 2


def test_ahead_must_fit() -> None:
    with pytest.raises(InspireError, match="from 0 to n_action_steps − 1 = 1, found 2"):
        ChunkPlayer(chunk_from, n_action_steps=2, ahead=2)


@pytest.mark.parametrize(("n_action_steps", "ahead"), [(None, 2), (8, 2), (2, 1), (1, 0)])
def test_the_default_ahead_fits_short_chunks(n_action_steps: int | None, ahead: int) -> None:
    with ChunkPlayer(chunk_from, n_action_steps=n_action_steps) as player:
        assert player.ahead == ahead


@pytest.mark.parametrize("key", ["prompt", "instruction", "said elsewhere"])
def test_nothing_of_an_old_instruction_is_played_after_it(key: str) -> None:
    """Neither its chunk nor a reply that is on its way; the earlier images stay."""
    sent: list[str] = []

    def infer(observation: dict) -> SimpleNamespace:
        assert observation["image"].shape[0] == 1 + bool(sent)
        sent.append(observation[key])
        return SimpleNamespace(actions=np.full((HORIZON, 2), float(len(observation[key]))))

    def seen(prompt: str) -> dict:
        return {key: prompt, "image": np.zeros((2, 2, 3), np.uint8)}

    with ChunkPlayer(infer, n_action_steps=2, ahead=1, n_obs_steps=2) as player:
        assert [player.step(seen("old"))[0] for _ in range(4)] == [3] * 4
        if key == "said elsewhere":
            player.drop_chunk()
        assert [player.step(seen("newer"))[0] for _ in range(4)] == [5] * 4
    assert sent == sorted(sent, reverse=True)  # all of the old one, then all of the new one
    assert {"old", "newer"} == set(sent)


@pytest.mark.parametrize("ahead", [0, 2])
def test_the_observation_history_is_sent(ahead: int) -> None:
    sent: list[list[int]] = []

    def infer(observation: dict) -> SimpleNamespace:
        sent.append(observation["image"][:, 0, 0, 0].tolist())
        assert observation["state"].shape == (3,)
        assert sent[-1][-1] == observation["t"]
        return chunk_from(observation)

    def seen(t: int) -> dict:
        return {"t": t, "image": np.full((2, 2, 3), t, np.uint8), "state": np.zeros(3)}

    with ChunkPlayer(infer, n_action_steps=4, ahead=ahead, n_obs_steps=2) as player:
        for t in range(20):
            player.step(seen(t))
        player.reset()
        player.step(seen(30))
    assert sent[0] == [0]
    assert len(sent) >= 5
    assert all(images == [images[-1] - 1, images[-1]] for images in sent[1:-1])
    assert sent[-1] == [30]
