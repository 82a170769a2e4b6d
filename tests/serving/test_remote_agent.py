"""A remote agent makes the decisions of the agent it serves."""

import importlib.util
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from tests.serving.toy_server import ToyAgent

from inspire_vla.dialogue import AnswerRule
from inspire_vla.errors import InspireError
from inspire_vla.evaluation.controls import CONTROLS, UNASKED
from inspire_vla.evaluation.episode import EpisodeJob, RolloutSettings
from inspire_vla.evaluation.rollout import rollout
from inspire_vla.instruction import MentionRole, find_mentions
from inspire_vla.serving.client import Full, ServerError
from inspire_vla.serving.protocol import pack
from inspire_vla.serving.remote_agent import RemoteAgent, api_key_from, connect


def random_observation(rng: np.random.Generator, size: int) -> dict:
    image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    return {"pixels": {"image": image}, "agent_pos": rng.normal(size=8).astype(np.float32)}


def test_a_batch_is_decided_together(running) -> None:
    toy = ToyAgent()
    agent = RemoteAgent(url=running(toy, batch_window_s=0.05).url)
    rng = np.random.default_rng(0)
    observations = [random_observation(rng, 16) for _ in range(5)]
    orders = [
        "pick up the red cube",
        "open the drawer",
        "pick up the undecodable cube",
        "turn on the stove",
        "open the box",
    ]
    agent.act(observations, orders)
    toy.batches.clear()
    answers = [None, {"the drawer": "up"}, None, None, None]
    replies = agent.act(observations, orders, answers, [{"the red cube": "up"}, None, None, None, None])
    for reply, own in zip(replies, ToyAgent().act(observations, orders, answers), strict=True):
        assert (reply.mentions, reply.answers, reply.overridden) == (
            own.mentions,
            own.answers,
            own.overridden,
        )
        assert reply.decodable == own.decodable
        if own.decodable:
            np.testing.assert_array_equal(reply.actions, own.actions)
    assert len(toy.batches) < 5
    assert any(guess == {"the red cube": "up"} for guesses in toy.drafts for guess in guesses or ())
    assert AnswerRule.of(agent) == AnswerRule.of(toy)
    assert agent.n_action_steps == 2
    agent.close()


def test_agents_that_want_more_connections_than_the_server_takes_do_not_wait_for_each_other(
    running, capsys
) -> None:
    """As the workers of an evaluation on a machine of many cores, each of which holds some."""
    server = running(max_connections=3)
    agents = [RemoteAgent(url=server.url, connect_timeout_s=1.0) for _ in range(2)]
    rng = np.random.default_rng(0)
    rows = [random_observation(rng, 16) for _ in range(5)]
    for agent in [*agents, *agents]:
        for reply, row in zip(agent.act(rows, ["open the drawer"] * 5), rows, strict=True):
            assert reply.actions[0, 0] == pytest.approx(row["pixels"]["image"].mean())
    said = [line for line in capsys.readouterr().err.splitlines() if "allows. " in line]
    assert [line.split("allows. ")[1] for line in said] == [
        "5 rows of a batch share 2.", "5 rows of a batch share 1.",
    ]  # fmt: skip
    with pytest.raises(Full, match="took no further connection within"):
        RemoteAgent(url=server.url, connect_timeout_s=0.3)
    for agent in agents:
        agent.close()


@pytest.mark.parametrize(
    ("missing", "told"),
    [("image_sizes", "image_sizes: Field required"), ("reasoning", "reasoning: Field required")],
)
def test_a_server_of_another_version_is_refused_by_what_it_lacks(running, missing: str, told: str) -> None:
    server = running()
    del server.server.metadata[missing]
    server.server._metadata_message = pack(server.server.metadata)
    with pytest.raises(InspireError, match=f"another version of inspire_vla.*{told}"):
        RemoteAgent(url=server.url)


def test_mentions_of_a_call_and_of_a_file(running) -> None:
    toy = ToyAgent()
    toy.mention_overrides = {"wave": (MentionRole("the flag"),)}
    given = {"Lege den Würfel ab": [{"mention": "the cube", "role": "carried"}]}
    agent = connect(running(toy).url, mentions=given)
    seen = random_observation(np.random.default_rng(0), 16)
    one, two = agent.act([seen] * 2, ["Lege den Würfel ab", "open the drawer"])
    assert (one.mentions, two.mentions) == (("the cube",), ("the drawer",))
    assert agent.act([seen], ["open the drawer"], mentions=[["my box"]])[0].mentions == ("my box",)
    assert AnswerRule.of(agent).overrides == {"wave": ("the flag",), "Lege den Würfel ab": ("the cube",)}
    agent.close()


class ThreeObjects:
    """A benchmark and its environment, of one task that names an object more than the policy is asked about."""

    order = "put the red cube and the blue cube in the box"
    metadata: ClassVar = {"render_fps": 10}

    def make(self, suite: str, task: str) -> "ThreeObjects":
        return self

    def reset(self, *, seed: int):
        self.rng, self.steps = np.random.default_rng(seed), 0
        return self._observation()

    def step(self, action: np.ndarray):
        self.steps += 1
        observation, info = self._observation()
        return observation, 0.0, False, self.steps == 6, info

    def close(self) -> None: ...

    def _observation(self):
        mentions = find_mentions(self.order)
        assert len(mentions) == 3
        offsets = self.rng.normal(size=(3, 3))
        told = {"mentions": mentions, "gripper_to_object_m": offsets, "grasped": np.zeros(3, bool)}
        return random_observation(self.rng, 16), {"is_success": False, "task": self.order, **told}


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_override_the_same_answers_remotely(running, control: str) -> None:
    away, home = RemoteAgent(url=running(ToyAgent()).url), ToyAgent()
    job = EpisodeJob("any", "any", 0, 7)
    played = [
        next(iter(rollout([job], ThreeObjects(), agent, RolloutSettings(control=control))))
        for agent in (away, home)
    ]
    assert [record.error for record in played] == [None, None]
    assert played[0].timeline == played[1].timeline
    assert len(played[0].timeline[0][1]) == (0 if control == UNASKED else 2)
    away.close()


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_error_in_one_row_leaves_no_reply_behind(running, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = RemoteAgent(url=running().url)
    rng = np.random.default_rng(0)
    rows = [random_observation(rng, 16) for _ in range(3)]
    with pytest.raises(ServerError, match="sideways"):
        agent.act(rows, ["open the drawer"] * 3, [{"the drawer": "sideways"}, None, None])
    for reply, row in zip(agent.act(rows, ["open the drawer"] * 3), rows, strict=True):
        assert reply.actions[0, 0] == pytest.approx(row["pixels"]["image"].mean())
    with pytest.raises(InspireError, match="needs camera 'image'"):
        agent.act([{"pixels": {}, "agent_pos": np.zeros(8)}], ["open the drawer"])
    stateless = {"pixels": rows[1]["pixels"]}
    with pytest.raises(InspireError, match="needs 'agent_pos'"):
        agent.act([rows[0], stateless], ["open the drawer"] * 2)
    monkeypatch.setattr(RemoteAgent, "_check_identity", interrupt)
    with pytest.raises(KeyboardInterrupt):
        agent.act(rows, ["open the drawer"] * 3)
    monkeypatch.undo()
    for reply, row in zip(agent.act(rows, ["open the drawer"] * 3), rows, strict=True):
        assert reply.actions[0, 0] == pytest.approx(row["pixels"]["image"].mean())
    agent.close()


def test_a_missing_key_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(InspireError, match="NO_SUCH_KEY"):
        api_key_from("NO_SUCH_KEY")
    monkeypatch.setenv("NO_SUCH_KEY", "x")
    assert api_key_from("NO_SUCH_KEY") == "x"
    monkeypatch.setenv("NO_SUCH_KEY", "x\r\n")  # as read from a file
    assert api_key_from("NO_SUCH_KEY") == "x"
    monkeypatch.setenv("NO_SUCH_KEY", "\n")
    with pytest.raises(InspireError, match="NO_SUCH_KEY"):
        api_key_from("NO_SUCH_KEY")
    assert api_key_from(None) is None


def test_a_served_checkpoint_decides_as_the_local_one(running, tmp_path: Path) -> None:
    from inspire_vla.lerobot_plugin.agent import load_policy
    from inspire_vla.lerobot_plugin.training import train

    source = Path(__file__).parents[1] / "lerobot_plugin" / "conftest.py"
    spec = importlib.util.spec_from_file_location("noise_dataset", source)
    noise = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(noise)
    dataset = noise.write_dataset(tmp_path / "data")
    nano = ("hidden_size=32", "layers=2", "heads=2", "mlp_size=48", "stem_width=4", "deep_stem=false")
    sizes = [*(f"--policy.nano.{size}" for size in nano), "--policy.vq.codes_per_level=8"]
    sizes += [
        "--policy.pretrained_init=null",
        "--policy.freeze_vision=false",
    ]  # of that size nothing is pre-trained
    where = [f"--dataset.root={dataset}", f"--output_dir={tmp_path / 'run'}"]
    train([*where, *sizes, "--steps=2", "--batch_size=4"], recipe="nano_tabletop")

    home = load_policy(tmp_path / "run")
    away = RemoteAgent(url=running(load_policy(tmp_path / "run")).url)
    rng = np.random.default_rng(3)
    said: list[dict[str, str]] = [{}, {}, {}]
    for _ in range(3):
        rows = [random_observation(rng, 32) for _ in range(3)]
        orders = [*noise.TASKS, noise.TASKS[0]]
        forced = [None, None, {"the red cube": "up"}]
        replies = away.act(rows, orders, forced, said)
        for reply, own in zip(replies, home.act(rows, orders, forced, said), strict=True):
            assert (reply.mentions, reply.answers, reply.overridden) == (
                own.mentions,
                own.answers,
                own.overridden,
            )
            np.testing.assert_allclose(reply.actions, own.actions, atol=1e-5)
            np.testing.assert_allclose(reply.confidences, own.confidences, atol=1e-4)
        said = [reply.answers_by_mention for reply in replies]
    with pytest.raises(ServerError, match="sideways"):
        away.act(rows[:1], orders[:1], [{"the red cube": "sideways"}])
    with pytest.raises(ServerError, match=r"[Nn]o object|mention"):
        away.act(rows[:1], ["do something nice"])
    away.close()


def test_the_observation_history_is_sent(running) -> None:
    class TwoSteps(ToyAgent):
        shown: ClassVar[list] = []

        def act(self, observations, *rest, **more):
            self.shown += [o["pixels"]["image"] for o in observations]
            return super().act(observations, *rest, **more)

    toy = TwoSteps()
    toy.config.n_obs_steps = 2
    agent = RemoteAgent(url=running(toy).url)
    toy.shown.clear()
    job = EpisodeJob("toys", "three", 0, 0)
    list(rollout([job], ThreeObjects(), agent, RolloutSettings(max_steps=6)))
    agent.close()
    assert [len(images) for images in toy.shown] == [1, 2, 2]
    rng, images = np.random.default_rng(0), []
    for _ in range(5):
        rng.normal(size=(3, 3))
        images.append(random_observation(rng, 16)["pixels"]["image"])
    np.testing.assert_array_equal(toy.shown[1], images[1:3])
    np.testing.assert_array_equal(toy.shown[2], images[3:5])


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_override_given_mentions_from_the_first_step(running, control: str) -> None:
    given = {ThreeObjects.order: (MentionRole("the box"), MentionRole("my cube"))}
    agent = RemoteAgent(url=running(ToyAgent()).url, mentions=given)
    (record,) = rollout(
        [EpisodeJob("any", "any", 0, 7)], ThreeObjects(), agent, RolloutSettings(control=control)
    )
    assert record.error is None
    assert record.mentions == (() if control == UNASKED else ("the box", "my cube"))
    agent.close()
