"""Observations are converted for the policy, or refused with the name of the key."""

from functools import partial

import numpy as np
import pytest
from tests.serving.toy_server import ToyAgent, observation

from inspire_vla.errors import InspireError
from inspire_vla.instruction import MentionRole
from inspire_vla.lerobot_plugin.observation_forms import read_observation
from inspire_vla.serving.observations import ObservationReader, Options, Request

WRIST = "observation/wrist_image"
READER = ObservationReader.of(ToyAgent().config)
TWO = ObservationReader.of(ToyAgent(("image", "image2")).config)


def read_with(reader: ObservationReader, message: object) -> Request:
    return reader.read(message, Options.read(message))


read, read_two = partial(read_with, READER), partial(read_with, TWO)


def gradient(size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


def read_image(image: np.ndarray) -> np.ndarray:
    return read(observation() | {"observation/image": image}).observation["pixels"]["image"]


def test_an_image_of_the_right_size_is_unchanged() -> None:
    np.testing.assert_array_equal(read_image(gradient()), gradient())


def test_channels_first_and_float_are_the_same_image() -> None:
    np.testing.assert_array_equal(read_image(gradient().transpose(2, 0, 1)), gradient())
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(read_image(gradient().astype(dtype) / 255), gradient())


def test_other_sizes_of_the_same_aspect_ratio_are_scaled() -> None:
    assert read_image(np.full((224, 224, 3), 90, np.uint8)).shape == (16, 16, 3)
    assert (read_image(np.full((224, 224, 3), 90, np.uint8)) == 90).all()


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.full((16, 16, 3), np.nan), "nan to nan"),
        (np.full((16, 16, 3), np.inf, np.float32), "inf to inf"),
        (np.full((16, 16, 3), 255.0), "floats from 0 to 1"),
        (np.full((16, 16, 3), -0.1), "floats from 0 to 1"),
        (np.zeros((16, 16, 3), np.int32), "uint8"),
        (np.zeros((16, 16, 3), bool), "uint8"),
        (np.zeros((16, 16), np.uint8), "takes one image"),
        (np.zeros((16, 16, 4), np.uint8), "takes one image"),
        (np.zeros((0, 16, 3), np.uint8), "takes one image"),
        (np.zeros((5000, 1, 3), np.uint8), "another aspect ratio"),
        (
            np.zeros((480, 640, 3), np.uint8),
            "480 × 640; the policy takes 16 × 16, which is another aspect ratio",
        ),
        ([[1, 2]], "takes one image"),
        (None, "takes one image"),
        ([[1], [1, 2]], "lists of different lengths"),
    ],
)
def test_an_invalid_image_is_refused(image: object, says: str) -> None:
    with pytest.raises(InspireError, match=says) as caught:
        read(observation() | {"observation/image": image})
    assert "observation/image" in str(caught.value)


def test_a_missing_camera_is_reported_with_the_nearest_key() -> None:
    message = observation()
    message["observation/imgae"] = message.pop("observation/image")
    with pytest.raises(
        InspireError, match=r"camera 'image'.*Did you mean 'observation/imgae'.*--camera image=KEY"
    ):
        read(message)


def test_the_key_of_another_camera_is_not_suggested() -> None:
    message = observation() | {"observation/image2": gradient()}
    message["observation/img"] = message.pop("observation/image")
    with pytest.raises(InspireError, match="Did you mean 'observation/img'"):
        read_two(message)
    del message["observation/img"]
    with pytest.raises(InspireError, match=r"other images found: \[\]\. Start"):
        read_two(message)


def test_liberos_wrist_camera_is_the_second_or_reported_as_unused() -> None:
    message = observation() | {"observation/wrist_image": gradient()}
    assert set(read_two(message).observation["pixels"]) == {"image", "image2"}
    assert read(message).unused == ("observation/wrist_image",)
    with pytest.raises(InspireError, match="'observation/image2' or 'observation/wrist_image'"):
        read_two(observation())


@pytest.mark.parametrize(
    ("cameras", "keys"),
    [(("wrist", "image2"), {}), (("wrist_image", "wrist"), {}), (("image", "wrist"), {"image": WRIST})],
)
def test_one_image_never_stands_for_two_cameras(cameras: tuple[str, ...], keys: dict[str, str]) -> None:
    """openpi's wrist_image is another name of two cameras, of which a policy may have both."""
    message = {WRIST: gradient(), "observation/state": np.zeros(8), "prompt": "pick up the red cube"}
    reader = ObservationReader.of(ToyAgent(cameras).config, keys)
    with pytest.raises(InspireError, match="The policy needs camera"):
        read_with(reader, message)
    if not keys:
        with pytest.raises(InspireError, match="The policy needs camera"):
            read_observation(message, cameras, 8)


@pytest.mark.parametrize("key", ["prompt", "overrides", "observation/state"])
def test_a_key_that_stands_for_something_else_is_no_cameras(key: str) -> None:
    with pytest.raises(InspireError, match=f"'{key}' is no key of an image of 'image'"):
        ObservationReader.of(ToyAgent().config, {"image": key})


def test_keys_of_cameras_can_be_set() -> None:
    reader = ObservationReader.of(ToyAgent().config, {"image": "observation/exterior_image_1_left"})
    message = observation()
    message["observation/exterior_image_1_left"] = message.pop("observation/image")
    assert read_with(reader, message).observation["pixels"]["image"].shape == (16, 16, 3)
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
    ],
)
def test_an_invalid_state_is_refused(state: object) -> None:
    with pytest.raises(InspireError, match="observation/state"):
        read(observation() | {"observation/state": state})


@pytest.mark.parametrize(
    "more",
    [
        {"prompt": 3}, {"prompt": "x" * 2000}, {"instruction": ["go"]}, {"overrides": "left"},
        {"overrides": {"the cube": 3}}, {"overrides": {b"x": "left"}}, {"drafts": [1]}, {"session": 5},
        {"overrides": {str(i): "left" for i in range(100)}},
        {"mentions": "the cube"}, {"mentions": [3]}, {"mentions": ["x" * 513]}, {"mentions": ["a"] * 65},
        {"mentions": ["x" * 500, {"mention": "y" * 500}, "𠀀" * 7]},
        {"prompt": "𠀀" * 129}, {"overrides": {"x" * 513: "left"}},
    ],
)  # fmt: skip
def test_an_invalid_option_is_refused(more: dict) -> None:
    with pytest.raises(InspireError, match=f"does not fit: {next(iter(more))}"):
        read(observation() | more)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({}, "has no `prompt` and no `instruction`"),
        ({"instruction": None}, "has no `prompt` and no `instruction`"),
        ({"prompt": ""}, "`prompt` is empty"),
        ({"prompt": " \n"}, "`prompt` is empty"),
        ({"instruction": ""}, "`instruction` is empty"),
        ({"prompt": "", "instruction": ""}, "`prompt` and `instruction` are empty"),
    ],
)
def test_an_empty_prompt_is_called_empty_and_a_missing_one_missing(sent: dict, told: str) -> None:
    message = {key: value for key, value in observation().items() if key != "prompt"}
    with pytest.raises(InspireError, match=told):
        read(message | sent)


def test_nil_leaves_an_answer_to_the_model() -> None:
    request = read(observation(overrides={"the red cube": None, "the plate": "up"}))
    assert request.overrides == {"the plate": "up"}


def test_mentions_are_words_or_maps_with_a_role() -> None:
    assert read(observation()).mentions is None
    assert read(observation(mentions=[])).mentions == ()
    sent = ["my cup", {"mention": "the sink", "role": "goal"}]
    assert read(observation(mentions=sent)).mentions == (
        MentionRole("my cup"),
        MentionRole("the sink", "goal"),
    )


@pytest.mark.parametrize(
    "mention", ["", " ", {"role": "goal"}, {"mention": "a", "role": "aim"}, {"mention": None}]
)
def test_wrong_mentions_are_refused(mention: object) -> None:
    with pytest.raises(InspireError, match=r"mention|role"):
        read(observation(mentions=[mention]))


@pytest.mark.parametrize("message", [None, 3, "text", [1], b"x", {b"prompt": "go"}])
def test_a_message_that_is_no_map_is_refused(message: object) -> None:
    with pytest.raises(InspireError, match="map with text keys"):
        read(message)


def test_a_policy_with_several_obs_steps_takes_several_images() -> None:
    config = ToyAgent().config
    config.n_obs_steps = 2
    reader = ObservationReader.of(config)
    two = np.stack([gradient(), gradient()[::-1]])

    def read_images(images: np.ndarray) -> np.ndarray:
        return read_with(reader, observation() | {"observation/image": images}).observation["pixels"]["image"]

    for sent in (two, two.transpose(0, 3, 1, 2), two.astype(np.float32) / 255):
        np.testing.assert_array_equal(read_images(sent), two)
    assert read_images(two[0]).shape == (16, 16, 3)
    with pytest.raises(InspireError, match=r"takes 1 to 2 images of .* found an array \(3,"):
        read_images(np.stack([two[0]] * 3))
    with pytest.raises(InspireError, match=r"takes one image of .* found an array \(2,"):
        read_image(two)
    with pytest.raises(InspireError, match="another aspect ratio"):
        read_images(np.zeros((2, 480, 640, 3), np.uint8))
