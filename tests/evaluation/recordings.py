"""A small labelled dataset whose actions are known, and agents that repeat them, for playback."""

from pathlib import Path

import numpy as np
from tests.evaluation.toys import ToyDecision

from inspire_vla.labels.columns import LabelInfo, ModeRule
from inspire_vla.labels.dataset_writer import LabelledDatasetWriter, png

TASKS = ("pick up the red cube", "pick up the blue cube")
FRAMES, CLOSES, OPENS = 24, 8, 18
NAMES = ("x", "y", "z", "a", "b", "c", "gripper")


def actions_of(episode: int) -> np.ndarray:
    """A slow sine in x, and a gripper that closes at CLOSES and opens at OPENS."""
    actions = np.zeros((FRAMES, 7), np.float32)
    actions[:, 0] = 20 * np.sin(np.arange(FRAMES) / 5 + episode)
    actions[:, 6] = 100.0
    actions[CLOSES:OPENS, 6] = 0.0
    return actions


def offsets_of(episode: int) -> np.ndarray:
    """The object is in front of the gripper at first, then on its left: (T, 1, 3)."""
    offsets = np.zeros((FRAMES, 1, 3))
    offsets[: FRAMES // 2, 0, 0] = 0.3
    offsets[FRAMES // 2 :, 0, 1] = 0.3
    return offsets


def write_recording(root: Path, episodes: int = 4) -> Path:
    """Write a dataset with images that hold episode and frame, and a state of (episode, frame, 0 …)."""
    labels = LabelInfo(
        frame="robot",
        modes={"direction": ModeRule()},
        tasks={task: (task.removeprefix("pick up "),) for task in TASKS},
        max_objects=1,
        labeller="test",
    )
    with LabelledDatasetWriter(
        root, labels, name="recording", fps=10, robot_type="arm", image_size=16, cameras=["front"],
        state_names=["episode", "frame"], action_names=NAMES,
    ) as writer:  # fmt: skip
        for episode in range(episodes):
            state = np.stack([np.full(FRAMES, episode), np.arange(FRAMES)], 1).astype(np.float32)
            images = [png(np.full((16, 16, 3), 40 * episode + frame, np.uint8)) for frame in range(FRAMES)]
            writer.add(
                TASKS[episode % 2], state, actions_of(episode), offsets_of(episode),
                np.zeros((FRAMES, 1), bool), {"front": images},
            )  # fmt: skip
    return root


class Repeats:
    """Predicts the demonstrated actions, `late` frames late, plus `error` in x; says front for ever."""

    n_action_steps = 4
    answer_rule = {"mode": "direction", "max_objects": 1}  # noqa: RUF012

    def __init__(self, late: int = 0, error: float = 0.0, horizon: int = 6) -> None:
        self.late, self.error, self.horizon = late, error, horizon

    def act(self, observations, instructions, overrides=None, drafts=None):
        decisions = []
        for row, observation in enumerate(observations):
            episode, frame = (int(value) for value in observation["agent_pos"])
            assert observation["pixels"]["front"].shape == (16, 16, 3)
            assert observation["pixels"]["front"][0, 0, 0] == 40 * episode + frame
            frames = np.clip(np.arange(frame, frame + self.horizon) - self.late, 0, FRAMES - 1)
            chunk = actions_of(episode)[frames]
            chunk[:, 0] += self.error
            mention = instructions[row].removeprefix("pick up ")
            forced = (overrides[row] or {}) if overrides else {}
            answer = forced.get(mention, "front")
            decisions.append(
                ToyDecision(chunk, (mention,), (answer,), (0.9,), (mention in forced,), (False,))
            )
        return decisions


class RepeatsInSilence(Repeats):
    """A base model: no answers."""

    reasoning_enabled = False

    def act(self, observations, instructions, overrides=None, drafts=None):
        return [ToyDecision(d.actions) for d in super().act(observations, instructions, overrides, drafts)]
