"""CALVIN's tasks as evaluation wants a benchmark: one task an episode, judged by CALVIN's own oracle.

CALVIN's published number is another one, the length of chains of five tasks. Here an episode is the first task of
such a chain: its initial state is CALVIN's, the seed picks which. Actions and state are those of the imported data set
(`labels.calvin`). CALVIN's own sequences, states, sentences and oracle were run with this; its simulator (PyBullet) has
only been read, at mees/calvin fa03f01 and mees/calvin_env 797142c.
"""

import importlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from inspire_vla.calvin.stand_ins import learner_left_out
from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.instruction import find_mentions
from inspire_vla.labels.calvin import track
from inspire_vla.labels.calvin_scenes import CalvinScene, ScenesOfSplit

SUITE = "calvin"
MAX_STEPS = 360
"""Steps for a task, as CALVIN's evaluation gives."""
_CHAINS = 1000
_COLOURLESS = ("block", "blocks", "object")


class CalvinMissing(InspireError):
    """CALVIN's packages or files are not there."""


class CalvinBenchmark:
    """CALVIN's tasks by their names in its oracle, such as lift_red_block_table.

    Args:
        split: folder of a data set's split, whose `.hydra` configuration says which environment (A to D).
        image_size: pixels; images are resized to it.
    """

    def __init__(self, split: str | Path, image_size: int = 200) -> None:
        self._split, self._image_size = Path(split), image_size
        if not (self._split / ".hydra").is_dir():
            raise CalvinMissing(
                f"{split} is no split of a CALVIN data set: .hydra is missing, which says how its environment is made."
            )
        self._scene = ScenesOfSplit(self._split).of(0)
        self.conditions = {"split": "/".join(self._split.resolve().parts[-2:]), "step_limit": MAX_STEPS}

    def suites(self) -> tuple[str, ...]:
        """One suite."""
        return (SUITE,)

    def tasks(self, suite: str) -> tuple[str, ...]:
        """Tasks that a chain of CALVIN's begins with. Raises CalvinMissing without CALVIN."""
        if suite != SUITE:
            raise InspireError(f"unknown suite {suite!r}.{did_you_mean(suite, (SUITE,))}")
        return tuple(sorted(self._starts))

    @property
    def initial_states(self) -> dict[tuple[str, str], int]:
        """(suite, task) → from how many states it may begin."""
        return {(SUITE, task): len(starts) for task, starts in self._starts.items()}

    def make(self, suite: str, task: str) -> "CalvinTask":
        """An environment for a task."""
        names = self.tasks(suite)
        if task not in names:
            raise InspireError(f"unknown task {task!r} of CALVIN.{did_you_mean(task, names)}")
        return CalvinTask(
            self._environment, self._oracle, task, self._sentences[task], self._starts[task], self._image_size,
            self._scene,
        )  # fmt: skip

    @cached_property
    def _starts(self) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
        """Task → (robot_obs, scene_obs) that it begins from, each once: many chains share theirs."""
        with learner_left_out():
            chains = _package("calvin_agent.evaluation.multistep_sequences").get_sequences(_CHAINS)
            state_of = _package("calvin_agent.evaluation.utils").get_env_state_for_initial_condition
        found: dict[str, dict[bytes, tuple[np.ndarray, np.ndarray]]] = {}
        for initial, chain in chains:
            robot, scene = map(np.asarray, state_of(initial))
            found.setdefault(chain[0], {}).setdefault(robot.tobytes() + scene.tobytes(), (robot, scene))
        return {task: list(starts.values()) for task, starts in found.items()}

    @cached_property
    def _environment(self) -> Any:
        return _package("calvin_env.envs.play_table_env").get_env(self._split, show_gui=False)

    @cached_property
    def _oracle(self) -> Any:
        configuration = _read_yaml(_models() / "conf/callbacks/rollout/tasks/new_playtable_tasks.yaml")
        return _package("hydra").utils.instantiate(configuration)

    @cached_property
    def _sentences(self) -> dict[str, str]:
        table = _read_yaml(_models() / "conf/annotations/new_playtable_validation.yaml")
        return {task: str(table[task][0]) for task in table}


class CalvinTask(gymnasium.Env):
    """One task. Benchmark and tasks share one simulator: play one at a time (slots=1)."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30, "gripper_closes": -1.0}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(
        self,
        environment: Any,
        oracle: Any,
        task: str,
        instruction: str,
        starts: Sequence[tuple[np.ndarray, np.ndarray]],
        image_size: int,
        scene: CalvinScene,
    ) -> None:
        self._env, self._oracle, self.task, self.instruction = environment, oracle, task, instruction
        self._starts, self._image_size, self._scene = starts, image_size, scene
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (7,), np.float32)
        self._mentions = find_mentions(instruction)
        self._steps = 0
        self._image = np.zeros((image_size, image_size, 3), np.uint8)
        self._first: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start from initial state `seed` modulo their number."""
        self._state_id = (seed or 0) % len(self._starts)
        robot, scene = self._starts[self._state_id]
        raw = self._env.reset(robot_obs=robot, scene_obs=scene)
        self._first, self._steps = self._env.get_info(), 0
        return self._observation(raw), self._info(raw, False)

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """One control step; the gripper is told 1 (open) or -1. Truncated after MAX_STEPS."""
        told = np.asarray(action, dtype=np.float64).copy()
        told[-1] = 1.0 if told[-1] > 0 else -1.0
        raw, _, _, now = self._env.step(told)
        self._steps += 1
        success = self.task in self._oracle.get_task_info_for_set(self._first, now, {self.task})
        truncated = not success and self._steps >= MAX_STEPS
        return self._observation(raw), float(success), success, truncated, self._info(raw, success)

    def render(self) -> np.ndarray:
        """The static camera as last seen."""
        return self._image

    def _observation(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        image: np.ndarray = np.asarray(raw["rgb_obs"]["rgb_static"], dtype=np.uint8)
        if image.shape[:2] != (self._image_size, self._image_size):
            resized = Image.fromarray(image).resize(
                (self._image_size, self._image_size), Image.Resampling.BILINEAR
            )
            image = np.asarray(resized)
        self._image = image
        robot = np.asarray(raw["robot_obs"], dtype=np.float32)
        return {"pixels": {"image": image}, "agent_pos": np.concatenate([robot[:7], robot[14:15]])}

    def _info(self, raw: Mapping[str, Any], success: bool) -> dict[str, Any]:
        robot, scene = (np.asarray(raw[name], dtype=np.float64)[None] for name in ("robot_obs", "scene_obs"))
        # which block "the block" is shows only in the end: no truth of it here
        named = [m for m in self._mentions if not (set(m.split()) & set(_COLOURLESS)) or _coloured(m)]
        tracks = track(robot, scene, named, self._scene)
        known = np.isfinite(tracks.gripper_to_object_m[0]).all(axis=-1)
        return {
            "is_success": success,
            "task": self.task,
            "suite": SUITE,
            "instruction": self.instruction,
            "init_state": self._state_id,
            "mentions": tuple(m for m, there in zip(named, known, strict=True) if there),
            "gripper_to_object_m": tracks.gripper_to_object_m[0][known],
            "grasped": tracks.grasped[0][known],
        }


def _coloured(mention: str) -> bool:
    return bool({"red", "blue", "pink"} & set(mention.split()))


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CalvinMissing(
            f"CALVIN is not installed ({error}). Its packages calvin_env and calvin_agent come with its repository, "
            "github.com/mees/calvin; this package must be installed beside them."
        ) from error


def _models() -> Path:
    return Path(str(_package("calvin_agent").__file__)).parents[1]


def _read_yaml(path: Path) -> Any:
    if not path.is_file():
        raise CalvinMissing(f"CALVIN's {path.name} is not where it was: {path}.")
    return _package("omegaconf").OmegaConf.load(path)
