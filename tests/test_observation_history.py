"""A history returns the last images, the oldest first, and never those of another episode."""

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.observation_history import LazyImages, ObservationHistory


def grey(value: int) -> dict[str, np.ndarray]:
    return {"image": np.full((2, 2, 3), value, np.uint8), "wrist": np.full((2, 2, 3), 100 + value, np.uint8)}


@pytest.mark.parametrize("length", [2, 3])
def test_the_last_images_the_oldest_first(length: int) -> None:
    history = ObservationHistory(length)
    for now in range(6):
        stacked = history.stack(grey(now))
        times = list(range(max(0, now - length + 1), now + 1))
        assert stacked["image"].shape == (len(times), 2, 2, 3)
        assert stacked["image"][:, 0, 0, 0].tolist() == times
        assert stacked["wrist"][:, 0, 0, 0].tolist() == [100 + time for time in times]
    history.reset()
    assert history.stack(grey(9))["image"][:, 0, 0, 0].tolist() == [9]


def test_with_a_length_of_one_the_image_itself_is_returned() -> None:
    images = grey(1)
    assert ObservationHistory().stack(images)["image"] is images["image"]


def test_a_camera_that_reuses_its_memory_does_not_change_the_past() -> None:
    history, memory = ObservationHistory(2), np.zeros((2, 2, 3), np.uint8)
    history.stack({"image": memory})
    memory[:] = 7
    assert history.stack({"image": memory})["image"][:, 0, 0, 0].tolist() == [0, 7]


def test_the_rest_of_an_observation_is_that_of_now() -> None:
    history = ObservationHistory(2)
    history.stack_observation({"pixels": grey(0), "agent_pos": np.array([0.0])})
    stacked = history.stack_observation({"pixels": grey(1), "agent_pos": np.array([1.0])})
    assert stacked["pixels"]["image"][:, 0, 0, 0].tolist() == [0, 1]
    assert stacked["agent_pos"].tolist() == [1.0]


def test_a_lazy_image_is_drawn_once_and_in_its_own_step():
    drawn, moment = [], [0]

    def draw(camera):
        drawn.append({"image": 1, "image2": 2}[camera])
        return drawn[-1]

    images = LazyImages(("image2",), draw, lambda: moment[0])
    assert list(images) == ["image2"]
    assert "image" not in images
    assert not drawn
    assert images["image2"] == images["image2"] == 2
    assert images["image"] == 1, "a camera that the policy does not take can still be drawn, for a video"
    assert drawn == [2, 1]
    with pytest.raises(KeyError):
        images["front"]
    late = LazyImages(("image",), draw, lambda: moment[0])
    moment[0] = 1
    assert images["image"] == 1
    with pytest.raises(InspireError, match="read too late"):
        late["image"]
