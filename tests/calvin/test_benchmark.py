"""CALVIN's adapter against a stand-in of CALVIN's interface, written after its documentation: not CALVIN itself."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from inspire_vla.calvin import CalvinBenchmark, CalvinMissing
from inspire_vla.calvin.benchmark import MAX_STEPS
from inspire_vla.calvin.stand_ins import fnv1_32, learner_left_out
from inspire_vla.errors import InspireError
from inspire_vla.evaluation import EvaluationPlan

LIFT = "lift_red_block_table"


class Table:
    """A block that a hand reaches by walking along x; told what it is told."""

    def __init__(self):
        self.told = []

    def reset(self, robot_obs, scene_obs):
        self.robot, self.scene = np.array(robot_obs), np.array(scene_obs)
        return self._seen()

    def get_info(self):
        return {"x": float(self.robot[0])}

    def step(self, action):
        self.told.append(action)
        self.robot[0] += action[0] * 0.02
        return self._seen(), 0.0, False, self.get_info()

    def _seen(self):
        image = np.full((20, 20, 3), 7, np.uint8)
        return {"rgb_obs": {"rgb_static": image}, "robot_obs": self.robot, "scene_obs": self.scene}


@pytest.fixture
def calvin(monkeypatch, tmp_path):
    """Stand-ins of the packages, and a split's folder."""
    models = tmp_path / "calvin_models"
    for name in (
        "callbacks/rollout/tasks/new_playtable_tasks.yaml",
        "annotations/new_playtable_validation.yaml",
    ):
        path = models / "conf" / name
        path.parent.mkdir(parents=True)
        path.write_text("-")
    sentences = {"lift_red_block_table": ["lift the red block"], "stack_block": ["stack the block"]}
    table = Table()

    def state(initial):
        robot, scene = np.zeros(15), np.zeros(24)
        robot[6], robot[0], scene[6:9] = 0.08, 0.1 * initial, [0.3, 0.0, -0.2]
        return robot, scene

    def moved(first, now, tasks):
        return tasks if now["x"] - first["x"] > 0.09 else set()

    modules = {
        "calvin_agent": {"__file__": str(models / "calvin_agent/__init__.py")},
        "calvin_agent.evaluation": {},
        "calvin_agent.evaluation.multistep_sequences": {
            "get_sequences": lambda n: [
                (1, (LIFT,)), (2, ("stack_block",)), (1, (LIFT, "stack_block")), (3, (LIFT, "stack_block")),
            ]
        },
        "calvin_agent.evaluation.utils": {"get_env_state_for_initial_condition": state},
        "calvin_env": {}, "calvin_env.envs": {},
        "calvin_env.envs.play_table_env": {"get_env": lambda split, show_gui: table},
        "hydra": {"utils": SimpleNamespace(instantiate=lambda _: SimpleNamespace(get_task_info_for_set=moved))},
        "omegaconf": {"OmegaConf": SimpleNamespace(load=lambda path: sentences)},
    }  # fmt: skip
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "validation/.hydra").mkdir(parents=True)
    (tmp_path / "validation/.hydra/merged_config.yaml").write_text(
        "file: calvin_table_D/urdf/calvin_table_D.urdf"
    )
    return SimpleNamespace(split=tmp_path / "validation", table=table)


def test_a_task_from_one_of_its_own_initial_states_to_success(calvin):
    benchmark = CalvinBenchmark(calvin.split, image_size=10)
    assert benchmark.tasks("calvin") == ("lift_red_block_table", "stack_block")
    env = benchmark.make("calvin", "lift_red_block_table")
    seen, info = env.reset(seed=1_000_001)
    assert (info["init_state"], info["instruction"]) == (1, "lift the red block")
    assert seen["pixels"]["image"].shape == (10, 10, 3)
    assert seen["agent_pos"].shape == (8,)
    np.testing.assert_allclose(info["gripper_to_object_m"], [[0.0, 0.0, -0.2]], atol=1e-6)
    done, steps = False, 0
    while not done:
        _, reward, done, truncated, info = env.step(np.array([1, 0, 0, 0, 0, 0, 0.3]))
        steps += 1
        assert not truncated
    assert (steps, reward, info["is_success"]) == (5, 1.0, True)
    assert calvin.table.told[0][-1] == 1.0
    assert env.metadata["gripper_closes"] == -1.0  # CALVIN: +1 opens


def test_each_initial_state_is_played_once(calvin):
    benchmark = CalvinBenchmark(calvin.split)
    assert benchmark.initial_states == {("calvin", LIFT): 2, ("calvin", "stack_block"): 1}
    EvaluationPlan(("calvin",), 1, {"name": "any"}).jobs(benchmark)
    EvaluationPlan(("calvin",), 2, {"name": "any"}, tasks=(LIFT,)).jobs(benchmark)
    with pytest.raises(
        InspireError, match=r"calvin / stack_block has 1 fixed initial state a task.*Possible: at most 1"
    ):
        EvaluationPlan(("calvin",), 2, {"name": "any"}).jobs(benchmark)


def test_the_limit_ends_it_and_a_block_without_colour_has_no_truth(calvin):
    env = CalvinBenchmark(calvin.split).make("calvin", "stack_block")
    _, info = env.reset(seed=0)
    assert info["mentions"] == ()
    ends = [env.step(np.zeros(7))[3] for _ in range(MAX_STEPS)]
    assert ends == [False] * (MAX_STEPS - 1) + [True]


def test_the_hash_is_pyhashs():
    assert fnv1_32("test") == 3910690890  # pyhash's own test


def test_stand_ins_leave_with_the_import():
    before = set(sys.modules)
    with learner_left_out():
        assert sys.modules["calvin_agent.models.mcil"].MCIL is object
    assert set(sys.modules) <= before | {"pyhash", "cv2"}


def test_what_is_missing_is_said(calvin, tmp_path, monkeypatch):
    assert CalvinBenchmark(calvin.split).conditions["split"].endswith("/validation")
    with pytest.raises(CalvinMissing, match="hydra is missing"):
        CalvinBenchmark(tmp_path)
    with pytest.raises(InspireError, match="Did you mean 'stack_block'"):
        CalvinBenchmark(calvin.split).make("calvin", "stack_blok")
    monkeypatch.setitem(sys.modules, "calvin_agent.evaluation.multistep_sequences", None)
    with pytest.raises(CalvinMissing, match="not installed"):
        CalvinBenchmark(calvin.split).tasks("calvin")
