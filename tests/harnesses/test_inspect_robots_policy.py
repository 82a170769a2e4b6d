"""Our policy in inspect-robots: its evaluation and its mock world, with the shipped policy."""

import tomllib
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("inspect_robots", reason="the extra `inspect-robots` is not installed")
import inspect_robots
from inspect_robots.mock import CubePickEmbodiment
from inspect_robots.scene import Scene
from inspect_robots.scorer import success_at_end
from inspect_robots.spaces import ActionSemantics, Box, ObservationSpace
from inspect_robots.task import Task

from inspire_vla.errors import InspireError
from inspire_vla.harnesses.inspect_robots_policy import MAX_UNDECODABLE_IN_A_ROW, InspirePolicy

INSTRUCTION = "put the red mug on the black plate"
SEMANTICS = {"control_mode": "eef_delta_pose", "rotation_repr": "axis_angle", "gripper": "binary"}


class SevenActions(CubePickEmbodiment):
    """CubePick with the actions and the state of our policy. Its world uses the first two actions."""

    def __init__(self) -> None:
        super().__init__()
        semantics = ActionSemantics(**SEMANTICS)
        space = ObservationSpace(self.info.observation_space.cameras, frozenset({"eef_pose", "gripper"}))
        self.info = replace(self.info, action_space=Box((7,), semantics=semantics), observation_space=space)

    def step(self, action):
        return super().step(replace(action, data=action.data[:2]))

    def _observe(self, instruction):
        state = {"eef_pose": np.zeros(6), "gripper": np.full(2, 0.04)}
        return replace(super()._observe(instruction), state=state)


@pytest.fixture(scope="module")
def policy():
    return InspirePolicy("nano_inspire", cameras="image:top", state="eef_pose,gripper", **SEMANTICS)


@pytest.fixture
def decisions(policy, monkeypatch):
    """The decisions of the model, as it makes them."""
    made, decide = [], policy._agent.policy.act

    def record(*arguments, **named):
        made.extend(batch := decide(*arguments, **named))
        return batch

    monkeypatch.setattr(policy._agent.policy, "act", record)
    return made


def evaluate(policy, folder, steps=10, scenes=1):
    task = Task(
        name="mock",
        scenes=[Scene(id=f"scene-{i}", instruction=INSTRUCTION, init_seed=i) for i in range(scenes)],
        scorer=success_at_end(),
        max_steps=steps,
    )
    (log,) = inspect_robots.eval(task, policy, SevenActions(), log_dir=str(folder))
    return log


def test_the_log_holds_what_the_model_said_at_every_decision(policy, decisions, tmp_path):
    log = evaluate(policy, tmp_path, scenes=2)
    assert log.status == "success", log
    trials = [sample.policy_transcripts[0] for sample in log.samples]
    replies = [message for trial in trials for message in trial if message["role"] == "assistant"]
    horizon = policy._agent.n_action_steps
    assert [message["step"] for message in replies] == 2 * list(range(0, 10, horizon))
    assert len(replies) == len(decisions)
    for message, decision in zip(replies, decisions, strict=True):
        assert message["objects"] == list(decision.mentions) == ["the red mug", "the black plate"]
        assert message["answers"] == list(decision.answers)
        assert message["confidences"] == pytest.approx(decision.confidences, abs=1e-4)
        assert message["overridden"] == [False, False]
        assert f"the red mug: {decision.answers[0]} (" in message["content"]
    prompts = [message["content"] for message in trials[0] if message["role"] == "user"]
    assert prompts[0][0]["text"] == f"step 0: {INSTRUCTION}"


def test_an_override_is_acted_on_and_logged(tmp_path, policy, monkeypatch):
    monkeypatch.setattr(policy, "_overrides", {"the red mug": "up"})
    log = evaluate(policy, tmp_path, steps=4)
    replies = [message for message in log.samples[0].policy_transcripts[0] if message["role"] == "assistant"]
    assert {(message["answers"][0], *message["overridden"]) for message in replies} == {("up", True, False)}
    assert "the red mug: up (overridden)" in replies[0]["content"]


def test_the_viewer_shows_the_dialogue(policy, tmp_path):
    from inspect_robots._html import _render_transcript

    log = evaluate(policy, tmp_path, steps=4)
    page = _render_transcript(log.samples[0].policy_transcripts[0])
    assert "the black plate: " in page
    assert page.count('class="turn"') == len(log.samples[0].policy_transcripts[0]) // 2


def test_a_delta_is_what_is_new_and_a_transcript_cannot_be_changed_from_outside(policy):
    world, scene = SevenActions(), Scene(id="a", instruction=INSTRUCTION)
    policy.reset(scene)
    policy.act(world.reset(scene))
    assert policy.transcript_delta() == policy.transcript()
    assert policy.transcript_delta() == []
    policy.transcript().clear()
    assert len(policy.transcript()) == 2
    policy.reset(scene)
    assert policy.transcript() == policy.transcript_delta() == []


def test_an_embodiment_that_means_other_actions_is_refused(tmp_path, policy, monkeypatch):
    other = replace(policy.info.action_space, semantics=ActionSemantics("joint_pos"))
    monkeypatch.setattr(policy, "info", replace(policy.info, action_space=other))
    with pytest.raises(Exception, match="control_mode"):
        evaluate(policy, tmp_path)


def test_holding_still_keeps_the_gripper_and_ends_after_five(policy, monkeypatch):
    policy.reset(Scene(id="a", instruction=INSTRUCTION))
    with pytest.raises(InspireError, match="no action"):
        policy._hold_still()  # nothing was commanded yet
    policy.reset(Scene(id="a", instruction=INSTRUCTION))
    policy._last = np.full(7, 0.5)
    assert policy._hold_still().tolist() == [[0, 0, 0, 0, 0, 0, 0.5]]
    absolute = replace(policy.info.action_space, semantics=ActionSemantics("joint_pos"))
    with monkeypatch.context() as patch:
        patch.setattr(policy, "info", replace(policy.info, action_space=absolute))
        assert policy._hold_still().tolist() == [[0.5] * 7]
    for _ in range(MAX_UNDECODABLE_IN_A_ROW - 3):
        policy._hold_still()
    with pytest.raises(InspireError, match="5 times in a row"):
        policy._hold_still()


def test_what_does_not_fit_is_said(policy):
    with pytest.raises(InspireError, match="takes a state of 8 numbers: give `state`"):
        InspirePolicy("nano_inspire", cameras="image:top")
    with pytest.raises(InspireError, match="written a:b"):
        InspirePolicy("nano_inspire", cameras="image=top", state="eef_pose")
    scene = Scene(id="a", instruction=INSTRUCTION)
    seen = SevenActions().reset(scene)
    policy.reset(scene)
    with pytest.raises(InspireError, match=r"needs the cameras \['top'\]; the embodiment has \['wrist'\]"):
        policy.act(replace(seen, images={"wrist": seen.images["top"]}))
    with pytest.raises(InspireError, match=r"lacks \['gripper'\]"):
        policy.act(replace(seen, state={"eef_pose": np.zeros(6)}))
    for text, message in (("", "The scene has no instruction"), ("put it there " * 50, "at most 512 bytes")):
        policy.reset(replace(scene, instruction=text))
        with pytest.raises(InspireError, match=message):
            policy.act(replace(seen, instruction=text))


@pytest.mark.parametrize(("checkpoint", "arguments", "message"), [
    ("no_such", {}, "unknown checkpoint 'no_such'"),
    ("nano_inspire", {"device": "cuda"}, "The device 'cuda' cannot be used here"),
    ("nano_inspire", {"cameras": "front:top"}, "no camera 'front'"),
    ("nano_inspire", {"overrides": "the red mug:lfet"}, "Did you mean 'left'"),
    ("nano_base", {"overrides": "the red mug:left"}, "acts without answers"),
])  # fmt: skip
def test_arguments_are_refused_as_the_harness_tells_them_before_the_policy_is_loaded(
    checkpoint, arguments, message, monkeypatch
):
    """inspect-robots ends with the message of its ConfigError, and with a traceback of other errors."""
    from inspect_robots.errors import ConfigError

    from inspire_vla import policies
    from inspire_vla.backbones import devices

    monkeypatch.setattr(devices, "devices", lambda: ["cpu"])
    monkeypatch.setattr(policies, "load_agent", lambda **_: pytest.fail("a policy was loaded"))
    with pytest.raises(ConfigError, match=message):
        InspirePolicy(checkpoint, state="eef_pose,gripper", **arguments)


def test_the_entry_point_names_the_policy():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    module, name = project["entry-points"]["inspect_robots.policies"]["inspire_vla"].split(":")
    assert getattr(import_module(module), name) is InspirePolicy
