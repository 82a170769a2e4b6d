"""What clients send is read as it was meant, or refused by name."""

import numpy as np
import pytest
from tests.serving.conftest import ToyAgent, observation

from inspire_vla.errors import InspireError
from inspire_vla.serving.observations import ObservationReader

READER = ObservationReader.of(ToyAgent().config)
TWO = ObservationReader.of(ToyAgent(("image", "image2")).config)


def gradient(size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


def seen(image: np.ndarray) -> np.ndarray:
    return READER.read(observation() | {"observation/image": image}).observation["pixels"]["image"]


def test_a_image_of_the_right_size_is_untouched() -> None:
    np.testing.assert_array_equal(seen(gradient()), gradient())


def test_channels_first_and_real_numbers_are_the_same_image() -> None:
    np.testing.assert_array_equal(seen(gradient().transpose(2, 0, 1)), gradient())
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(seen(gradient().astype(dtype) / 255), gradient())


def test_other_sizes_of_the_same_proportions_are_scaled() -> None:
    assert seen(np.full((224, 224, 3), 90, np.uint8)).shape == (16, 16, 3)
    assert (seen(np.full((224, 224, 3), 90, np.uint8)) == 90).all()


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.full((16, 16, 3), np.nan), "NaN"),
        (np.full((16, 16, 3), np.inf, np.float32), "infinite"),
        (np.full((16, 16, 3), 255.0), "0 to 1"),
        (np.full((16, 16, 3), -0.1), "0 to 1"),
        (np.zeros((16, 16, 3), np.int32), "uint8"),
        (np.zeros((16, 16, 3), bool), "uint8"),
        (np.zeros((16, 16), np.uint8), "must be an image"),
        (np.zeros((16, 16, 4), np.uint8), "must be an image"),
        (np.zeros((0, 16, 3), np.uint8), "must be an image"),
        (np.zeros((5000, 1, 3), np.uint8), "must be an image"),
        (np.zeros((480, 640, 3), np.uint8), "Crop or pad"),
        ([[1, 2]], "must be an array"),
        (None, "must be an array"),
    ],
)
def test_what_is_no_image_is_named(image: object, says: str) -> None:
    with pytest.raises(InspireError, match=says) as caught:
        READER.read(observation() | {"observation/image": image})
    assert "observation/image" in str(caught.value)


def test_an_unknown_camera_is_named_with_what_was_found() -> None:
    message = observation()
    message["observation/imgae"] = message.pop("observation/image")
    with pytest.raises(
        InspireError, match=r"camera 'image'.*Did you mean 'observation/imgae'.*--camera image=KEY"
    ):
        READER.read(message)


def test_the_image_of_another_camera_is_no_hint() -> None:
    message = observation() | {"observation/image2": gradient()}
    message["observation/img"] = message.pop("observation/image")
    with pytest.raises(InspireError, match="Did you mean 'observation/img'"):
        TWO.read(message)
    del message["observation/img"]
    with pytest.raises(InspireError, match=r"other images found: \[\]\. A server"):
        TWO.read(message)


def test_liberos_wrist_camera_is_the_second_and_otherwise_reported_unused() -> None:
    message = observation() | {"observation/wrist_image": gradient()}
    assert set(TWO.read(message).observation["pixels"]) == {"image", "image2"}
    assert READER.read(message).unused == ("observation/wrist_image",)
    with pytest.raises(InspireError, match="'observation/image2' or 'observation/wrist_image'"):
        TWO.read(observation())


def test_cameras_may_have_other_keys() -> None:
    reader = ObservationReader.of(ToyAgent().config, {"image": "observation/exterior_image_1_left"})
    message = observation()
    message["observation/exterior_image_1_left"] = message.pop("observation/image")
    assert reader.read(message).observation["pixels"]["image"].shape == (16, 16, 3)
    with pytest.raises(InspireError, match=r"no camera 'top'. Possible: \['image'\]"):
        ObservationReader.of(ToyAgent().config, {"top": "x"})


@pytest.mark.parametrize(
    "state",
    [
        None,
        [1.0] * 7,
        [[1.0] * 8],
        ["a"] * 8,
        [[1], [1, 2]],
        [float("inf")] * 8,
        [1e300] * 8,
        np.zeros(8, bool),
    ],
)
def test_a_wrong_state_is_named(state: object) -> None:
    with pytest.raises(InspireError, match="observation/state"):
        READER.read(observation() | {"observation/state": state})


@pytest.mark.parametrize(
    "more",
    [
        {"prompt": 3}, {"prompt": ""}, {"prompt": "x" * 2000}, {"instruction": ["go"]}, {"overrides": "left"},
        {"overrides": {"the cube": 3}}, {"overrides": {b"x": "left"}}, {"drafts": [1]}, {"session": 5},
        {"overrides": {str(i): "left" for i in range(100)}},
    ],
)  # fmt: skip
def test_wrong_words_are_named(more: dict) -> None:
    with pytest.raises(InspireError, match=next(iter(more))):
        READER.read(observation() | more)


def test_nil_leaves_an_answer_to_the_model() -> None:
    request = READER.read(observation(overrides={"the red cube": None, "the plate": "up"}))
    assert request.overrides == {"the plate": "up"}


@pytest.mark.parametrize("message", [None, 3, "text", [1], b"x", {b"prompt": "go"}])
def test_what_is_no_map_is_refused(message: object) -> None:
    with pytest.raises(InspireError, match="map with text keys"):
        READER.read(message)


def test_a_policy_that_looks_back_may_be_sent_several_images() -> None:
    config = ToyAgent().config
    config.n_obs_steps = 2
    reader = ObservationReader.of(config)
    two = np.stack([gradient(), gradient()[::-1]])

    def read(images: np.ndarray) -> np.ndarray:
        return reader.read(observation() | {"observation/image": images}).observation["pixels"]["image"]

    for sent in (two, two.transpose(0, 3, 1, 2), two.astype(np.float32) / 255):
        np.testing.assert_array_equal(read(sent), two)
    assert read(two[0]).shape == (16, 16, 3)
    with pytest.raises(InspireError, match="holds 3 images; the policy looks at 1 to 2 images"):
        read(np.stack([two[0]] * 3))
    with pytest.raises(InspireError, match="holds 2 images; the policy looks at one image"):
        seen(two)
    with pytest.raises(InspireError, match="Crop or pad"):
        read(np.zeros((2, 480, 640, 3), np.uint8))
