"""The tabletop as a benchmark of vla-eval, with the observations and actions that its LIBERO benchmark declares."""

from typing import Any, ClassVar

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import (
    GRIPPER_CLOSE_POS,
    IMAGE_RGB,
    LANGUAGE,
    POSITION_DELTA,
    ROTATION_AA,
    STATE_EEF_POS_AA_GRIP,
)

from inspire_vla.tabletop.benchmark import TabletopBenchmark


class TabletopInVlaEval(StepBenchmark):
    """One task; episode e starts from seed `seed` + e. `played` collects what a test compares."""

    played: ClassVar[list[dict[str, Any]]] = []

    def __init__(
        self, suite: str, task: str, seed: int, send_state: bool = False, quat_no_antipodal: bool = False
    ):
        super().__init__()
        assert send_state
        assert quat_no_antipodal, "the server asks for robosuite's axis-angle"
        self.task, self.seed = task, seed
        self.env = TabletopBenchmark().make(suite, task)

    def get_tasks(self):
        return [{"name": self.task}]

    def reset(self, task):
        self.played.append({"seed": self.seed + task["episode_idx"], "actions": []})
        observation, info = self.env.reset(seed=self.played[-1]["seed"])
        self.info = info
        return observation

    def step(self, action):
        self.played[-1]["actions"].append(np.asarray(action["actions"]))
        observation, reward, terminated, truncated, self.info = self.env.step(action["actions"])
        done = bool(terminated or truncated or self.info["is_success"])
        return StepResult(observation, reward, done, {})

    def make_obs(self, raw_obs, task):
        return {
            "images": {"agentview": raw_obs["pixels"]["image"]},
            "states": raw_obs["agent_pos"],
            "task_description": task["name"],
        }

    def get_step_result(self, step_result):
        return {"success": bool(self.info["is_success"])}

    def get_action_spec(self):
        return {"position": POSITION_DELTA, "rotation": ROTATION_AA, "gripper": GRIPPER_CLOSE_POS}

    def get_observation_spec(self):
        return {"agentview": IMAGE_RGB, "language": LANGUAGE, "state": STATE_EEF_POS_AA_GRIP}

    def get_metadata(self):
        return {"max_steps": self.env.max_steps}

    def cleanup(self):
        self.env.close()
