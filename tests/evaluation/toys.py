"""A benchmark and agents of a few lines: a number walks to a goal. Used by these tests, also in other processes."""

import os
import signal
import time
from dataclasses import dataclass, field

import numpy as np

from inspire_vla.dialogue import NOT_ASKED

WORDY = "put the cup and the pen in the box"
SUITES = {"toy_seen": ("go left", "go right"), "toy_new": ("go far left", "go far right")}


class Box:
    def __init__(self, n):
        self.shape = (n,)


class ToyEnv:
    """x walks by action[0]; the goal is at ±(0.3 or 0.6), left is +y. info as a benchmark's."""

    metadata = {"render_fps": 10}  # noqa: RUF012

    def __init__(self, suite, task):
        self.suite, self.task = suite, task
        self.action_space = Box(7)
        self.closed = False

    def reset(self, *, seed=None):
        rng = np.random.default_rng(seed)
        side = 1.0 if "left" in self.task else -1.0
        self.goal_y = side * (0.6 if "far" in self.task else 0.3) + rng.uniform(-0.05, 0.05)
        self.y, self.t = 0.0, 0
        return self._observation(), self._info()

    def step(self, action):
        self.y += float(action[1]) * 0.1
        self.t += 1
        info = self._info()
        return self._observation(), float(info["is_success"]), info["is_success"], self.t >= 12, info

    def close(self):
        self.closed = True

    def _observation(self):
        image = np.full((8, 8, 3), int(np.clip(128 + 100 * (self.goal_y - self.y), 0, 255)), np.uint8)
        return {"pixels": {"image": image}, "agent_pos": np.array([self.y, self.goal_y], np.float32)}

    def _info(self):
        offset = np.array([[0.0, self.goal_y - self.y, 0.0], [0.5, 0.0, 0.0]])
        return {
            "is_success": bool(abs(offset[0, 1]) < 0.06),
            "task": self.task,
            "suite": self.suite,
            "mentions": ("the goal", "the wall"),
            "gripper_to_object_m": offset,
            "grasped": np.zeros(2, bool),
        }


class ToyBenchmark:
    groups = {"toy_seen": "seen", "toy_new": "unseen"}  # noqa: RUF012

    def __init__(self, conditions=()):
        self.conditions = dict(conditions)

    def suites(self):
        return tuple(SUITES)

    def tasks(self, suite):
        return SUITES[suite]

    def make(self, suite, task):
        return ToyEnv(suite, task)


class WordyBenchmark(ToyBenchmark):
    """Its instructions name three objects, but that of "go right"."""

    def instructions(self, suite):
        return {task: "push the ball" if task == "go right" else WORDY for task in SUITES[suite]}


@dataclass(frozen=True)
class ToyDecision:
    actions: np.ndarray
    mentions: tuple = ()
    answers: tuple = ()
    confidences: tuple = ()
    overridden: tuple = ()
    accepted: tuple = ()
    forward_passes: int = 1
    decodable: bool = True


@dataclass
class GoodAgent:
    """Walks to the goal as its (true or overridden) answer tells it; says the wall is in front."""

    broken_side: bool = False
    calls: list = field(default_factory=list)

    def act(self, observations, instructions, overrides=None, drafts=None):
        self.calls.append(len(observations))
        decisions = []
        for i, observation in enumerate(observations):
            y, goal = observation["agent_pos"]
            side = "left" if goal >= y else "right"
            if self.broken_side:
                side = "left"
            forced = (overrides[i] or {}) if overrides is not None else {}
            words = tuple(forced.get(m, w) for m, w in (("the goal", side), ("the wall", "front")))
            step = 0.5 if words[0] == "left" else -0.5 if words[0] == "right" else 0.0
            actions = np.zeros((4, 7), np.float32)
            actions[:, 1] = step
            decisions.append(
                ToyDecision(
                    actions,
                    ("the goal", "the wall"),
                    words,
                    (0.9, 0.8),
                    tuple(m in forced for m in ("the goal", "the wall")),
                )
            )
        return decisions


class BaseAgent:
    """Says nothing; goes left, always."""

    def act(self, observations, instructions, overrides=None, drafts=None):
        actions = np.zeros((2, 7), np.float32)
        actions[:, 1] = 0.5
        return [ToyDecision(actions) for _ in observations]


class Undecodable(BaseAgent):
    def act(self, observations, instructions, overrides=None, drafts=None):
        return [ToyDecision(np.zeros((0, 7), np.float32), decodable=False) for _ in observations]


class CrashesOn(GoodAgent):
    """Crashes when the goal is on the right, and takes its batch with it."""

    def act(self, observations, instructions, overrides=None, drafts=None):
        if any("right" in instruction for instruction in instructions):
            raise RuntimeError("cannot turn right")
        return super().act(observations, instructions, overrides, drafts)


class AlwaysCrashes(GoodAgent):
    def act(self, observations, instructions, overrides=None, drafts=None):
        raise RuntimeError("wrong keyword")


class DiesOn(GoodAgent):
    """The process dies when the goal is on the right."""

    def act(self, observations, instructions, overrides=None, drafts=None):
        if any(instruction == "go right" for instruction in instructions):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().act(observations, instructions, overrides, drafts)


class Complains(GoodAgent):
    """Warns at every step, as a policy does of objects that it is not asked about."""

    def act(self, observations, instructions, overrides=None, drafts=None):
        NOT_ASKED.warning("not asked about everything")
        return super().act(observations, instructions, overrides, drafts)


class Slow(GoodAgent):
    def act(self, observations, instructions, overrides=None, drafts=None):
        time.sleep(0.1)
        return super().act(observations, instructions, overrides, drafts)


def touch_video(path, frames, fps, record):
    path.write_bytes(bytes([len(frames)]))


def slow_evaluation(out, plan):
    """What a test kills in the middle."""
    from inspire_vla.evaluation import evaluate

    evaluate(out, plan, benchmark=ToyBenchmark, agent=Slow, workers=0, slots=1, progress=False)
