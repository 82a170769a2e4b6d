"""Each place where LeRobot is reached into outside of trainings is still there, as the installed version has it."""

import inspect
from importlib.util import find_spec
from pathlib import Path

import datasets
import gymnasium
import lerobot
import pytest
from lerobot.datasets import dataset_writer, language

from inspire_vla import lerobot_internals


def test_the_host_is_the_version_that_this_was_written_for() -> None:
    assert lerobot.__version__ == "0.6.1"


def test_a_style_is_known_wherever_lerobot_asks() -> None:
    assert not language.is_language_column("inspire_style")
    lerobot_internals.register_styles(["inspire_style"])
    try:
        assert language.column_for_style("inspire_style") == language.LANGUAGE_EVENTS
    finally:
        for known in (language.EXTENDED_STYLES, language.STYLE_REGISTRY, language.EVENT_ONLY_STYLES):
            known.discard("inspire_style")


def test_a_dataset_is_saved_by_the_replaced_function(tmp_path: Path) -> None:
    """LeRobot looks it up by name when it saves an episode; images are embedded, and the fingerprint is fixed."""
    assert "embed_images(" in inspect.getsource(dataset_writer.DatasetWriter)
    original, path = dataset_writer.embed_images, tmp_path / "red.png"
    from PIL import Image

    Image.new("RGB", (4, 4), "red").save(path)
    features = datasets.Features({"image": datasets.Image()})
    with lerobot_internals.fast_image_embedding():
        embedded, again = (
            dataset_writer.embed_images(datasets.Dataset.from_dict({"image": [str(path)]}, features=features))
            for _ in range(2)
        )
    assert dataset_writer.embed_images is original
    assert embedded._fingerprint == again._fingerprint
    assert embedded.data.table["image"][0].as_py()["bytes"] == path.read_bytes()


class Still(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (1,))
    made = 0

    def __init__(self) -> None:
        Still.made += 1


def test_environments_are_made_when_they_are_first_needed() -> None:
    env = lerobot_internals.lazy_vector_env([Still] * 3)
    assert env.num_envs == 3
    assert Still.made <= 1  # one, for its spaces


@pytest.mark.skipif(find_spec("libero") is None, reason="the extra `libero` is not installed")
def test_a_suite_of_libero_has_tasks_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(lerobot_internals.libero_suite("libero_goal").tasks) == 10
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="libero_none"):
        lerobot_internals.libero_suite("libero_none")
