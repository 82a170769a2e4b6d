"""A tiny labelled dataset in LeRobot's format, made of noise; made once for the whole test run."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from accelerate.state import AcceleratorState
from lerobot.datasets import LeRobotDataset
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.instruction import find_mentions
from inspire_vla.labels.columns import (
    GRASPED_COLUMN,
    OFFSET_COLUMN,
    LabelInfo,
    ModeRule,
    answer_column,
    answer_feature,
    write_labels,
)

TASKS = ("pick up the red cube and place it on the blue plate", "open the top drawer of the cabinet")
SIZE = 32


def write_dataset(
    root: Path,
    *,
    labelled: bool = True,
    episodes: int = 4,
    frames: int = 12,
    tasks: tuple[str, ...] = TASKS,
    width: int = 3,
    offsets: bool = False,
) -> Path:
    """offsets: with a simulator's privileged columns. The second object of every third frame has no known position."""
    rng = np.random.default_rng(0)
    features = {
        "observation.images.image": {
            "dtype": "image",
            "shape": (SIZE, SIZE, 3),
            "names": ["height", "width", "channels"],
        },
        "observation.state": {"dtype": "float32", "shape": (8,), "names": [f"s{i}" for i in range(8)]},
        "action": {"dtype": "float32", "shape": (7,), "names": [f"a{i}" for i in range(7)]},
    }
    if labelled:
        features[answer_column("direction")] = answer_feature(width)
    if offsets:
        names = [f"n{i}" for i in range(3 * width)]
        features[OFFSET_COLUMN] = {"dtype": "float32", "shape": (3 * width,), "names": names}
        features[GRASPED_COLUMN] = answer_feature(width)
    dataset = LeRobotDataset.create("local/tiny", fps=10, root=root, features=features, use_videos=False)
    for episode in range(episodes):
        task = tasks[episode % len(tasks)]
        for number in range(frames):
            frame = {
                "observation.images.image": rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8),
                "observation.state": rng.normal(size=8).astype(np.float32),
                "action": rng.uniform(-1, 1, 7).astype(np.float32),
                "task": task,
            }
            if labelled:
                codes = np.full(width, -1, dtype=np.int16)
                asked = len(find_mentions(task))
                codes[:asked] = rng.integers(0, 7, asked)
                frame[answer_column("direction")] = codes
            if offsets:
                frame[OFFSET_COLUMN] = rng.normal(0.2, 0.1, 3 * width).astype(np.float32)
                frame[GRASPED_COLUMN] = np.array([0, -1 if number % 3 == 0 else 0, 0][:width], dtype=np.int16)
            dataset.add_frame(frame)
        dataset.save_episode()
    dataset.finalize()
    if labelled:
        info = LabelInfo(
            frame="robot",
            modes={"direction": ModeRule()},
            tasks={task: find_mentions(task) for task in tasks},
            max_objects=width,
            labeller="noise",
            extra={"suites": ["noise"]},
        )
        write_labels(root, info)
    return root


@pytest.fixture(autouse=True)
def _each_training_chooses_its_precision() -> Iterator[None]:
    """accelerate keeps the first one of a process. Forgotten afterwards, for the trainings of fixtures."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(autouse=True)
def _log_is_on() -> None:
    """Some commands silence the log for the rest of their process."""
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True, scope="session")
def _decoded_images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded images of tests are not kept in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("decoded")
        patch.setattr("inspire_vla.lerobot_plugin.frame_cache.cache_folder", lambda: folder)
        yield


@pytest.fixture(scope="session")
def labelled_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "labelled")


@pytest.fixture(scope="session")
def dataset_with_offsets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a simulator's privileged columns."""
    return write_dataset(tmp_path_factory.mktemp("data") / "offsets", offsets=True)


@pytest.fixture(scope="session")
def one_object_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Instructions with one object each: LeRobot stores and hands out their labels as plain numbers."""
    return write_dataset(tmp_path_factory.mktemp("data") / "one_object", tasks=TASKS[1:], width=1)


@pytest.fixture(scope="session")
def unlabelled_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "unlabelled", labelled=False)


@pytest.fixture(scope="session")
def trained(labelled_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny InSpire policy after six steps, saved at the third too."""
    return run(labelled_dataset, tmp_path_factory.mktemp("run") / "inspire", "--steps=6", "--save_freq=3")
