"""`agent.act` takes an observation as LeRobot, openpi or gymnasium writes it; each error names the expected form."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.lerobot_plugin.conftest import SIZE, TASKS
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import Agent, load_policy
from inspire_vla.lerobot_plugin.observation_forms import check_aspect_ratio

IMAGE = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE + 16, 3), dtype=np.uint8)
STATE = np.linspace(-1, 1, 8)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def agent(trained: Path) -> Agent:
    return load_policy(trained)


def square(image: Any) -> Any:
    return image[..., :SIZE, :] if image.shape[-1] == 3 else image[..., :SIZE]


FORMS = {
    "gymnasium": lambda image, state: {"pixels": {"image": image}, "agent_pos": state},
    "LeRobot": lambda image, state: {"observation.images.image": image, "observation.state": state},
    "openpi": lambda image, state: {"observation/image": image, "observation/state": state},
}
IMAGES = {
    "uint8": square(IMAGE),
    "channels first": square(IMAGE).transpose(2, 0, 1),
    "float": square(IMAGE).astype(np.float32) / 255,
    "float64, channels first": square(IMAGE).transpose(2, 0, 1) / 255,
    "torch": torch.from_numpy(square(IMAGE)).permute(2, 0, 1),
    "torch float": torch.from_numpy(square(IMAGE)).permute(2, 0, 1) / 255,
    "torch float64": torch.from_numpy(square(IMAGE)).permute(2, 0, 1).double() / 255,
}


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_observation(agent: Agent, form: str, image: str) -> None:
    want = agent.act([FORMS["gymnasium"](IMAGES["uint8"], STATE)], [TASKS[0]])[0]
    for state in (STATE, torch.from_numpy(STATE), STATE.tolist()):
        decision = agent.act(FORMS[form](IMAGES[image], state), TASKS[0])
        assert decision.token_ids == want.token_ids
        assert np.array_equal(decision.actions, want.actions)


def test_one_observation_gives_one_decision_and_a_list_a_list(agent: Agent) -> None:
    one = FORMS["LeRobot"](IMAGES["uint8"], STATE)
    single = agent.act(one, TASKS[0])
    assert agent.act(one, [TASKS[0]]).token_ids == single.token_ids
    for instructions in (TASKS[0], [TASKS[0]] * 2):
        assert [d.token_ids for d in agent.act([one, one], instructions)] == [single.token_ids] * 2
    mention = single.mentions[0]
    assert agent.act(one, TASKS[0], overrides={mention: "left"}).answers_by_mention[mention] == "left"
    assert agent.act(one, TASKS[0], overrides={mention: None}).token_ids == single.token_ids
    with pytest.raises(InspireError, match="overrides are a map from mentions to answers, found"):
        agent.act(one, TASKS[0], overrides=[{mention: "left"}])
    for wrong in (5, b"go"):
        with pytest.raises(InspireError, match="An instruction is a string; found"):
            agent.act(one, wrong)
    assert agent.act(one, TASKS[0], drafts=single.answers_by_mention).token_ids == single.token_ids
    assert agent.act(one, TASKS[0], mentions=["a spoon"]).mentions == ("a spoon",)


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("overrides", {"the cube": 3}, "overrides are a map from mentions to answers, found"),
        ("overrides", {"the cube": ["left"]}, "overrides are a map"),
        ("drafts", "left", "drafts are a map from mentions to answers, found 'left'"),
        ("drafts", {"the cube": ["left"]}, "drafts are a map"),
        ("mentions", {"mention": "the cube", "role": "goal"}, "mentions must be a list of objects to ask about"),
        ("mentions", "the cube", "mentions must be a list of objects to ask about"),
    ],
)  # fmt: skip
def test_what_belongs_to_an_observation_is_refused_in_another_form(agent: Agent, name, given, told) -> None:
    one = FORMS["LeRobot"](IMAGES["uint8"], STATE)
    with pytest.raises(InspireError, match=told):
        agent.act(one, TASKS[0], **{name: given})
    for rows in ([given], given, [], None if name == "mentions" else 3):
        if rows is not None:
            with pytest.raises(
                InspireError, match=f"{name} of 2 observations are a list with an entry for each"
            ):
                agent.act([one, one], TASKS[0], **{name: rows})


def test_actions_that_are_not_finite_in_the_robots_units_are_refused(agent: Agent, monkeypatch) -> None:
    monkeypatch.setattr(agent, "postprocessor", lambda actions: actions * float("nan"))
    with pytest.raises(InspireError, match="NaN or infinite in the robot's units: the statistics"):
        agent.act(FORMS["LeRobot"](IMAGES["uint8"], STATE), TASKS[0])


def test_numbers_of_a_type_that_numpy_lacks_are_read(agent: Agent) -> None:
    white = torch.ones(3, 32, 32, dtype=torch.bfloat16)
    state = torch.zeros(8, dtype=torch.bfloat16)
    same = agent.act(FORMS["LeRobot"](np.full((32, 32, 3), 255, np.uint8), np.zeros(8)), TASKS[0])
    assert agent.act(FORMS["LeRobot"](white, state), TASKS[0]).token_ids == same.token_ids


@pytest.mark.parametrize("key", ["task", "prompt"])
def test_the_instruction_may_stand_in_the_observation(agent: Agent, key: str) -> None:
    one = FORMS["openpi"](IMAGES["uint8"], STATE)
    assert agent.act(one | {key: TASKS[0]}).token_ids == agent.act(one, TASKS[0]).token_ids
    with pytest.raises(InspireError, match="Give an instruction: act"):
        agent.act(one)


WRONG: dict[str, tuple[Any, str]] = {
    "text": ("image", r'An observation is \{"pixels".*Or a list of such; found str'),
    "a number in a list": ([3], r"An observation is .* Found int"),
    "no camera": ({"pixels": {"front": IMAGE}}, r"needs camera 'image'; found \['front'\]\. An observation is"),
    "pixels are an image": ({"pixels": IMAGE}, r"'pixels' must be a map from cameras to images, found ndarray"),
    "no state": ({"observation/image": IMAGE}, r"needs 8 numbers, 'agent_pos'; found \['observation/image'\]"),
    "another state": (FORMS["openpi"](IMAGE, STATE[:7]), r"'observation/state' must be 8 numbers, found .* \(7,\)"),
    "gray": (FORMS["openpi"](IMAGE[..., 0], STATE), r"one image of camera 'image'; found an array \(32, 48\)"),
    "a batch": (FORMS["openpi"](np.stack([IMAGE] * 2), STATE), r"one image .* found an array \(2, 32, 48, 3\)"),
    "floats to 255": (FORMS["openpi"](IMAGE * 1.0, STATE), r"holds 0 to 254; floats from 0 to 1 or uint8"),
    "NaN": (FORMS["openpi"](IMAGE * np.nan, STATE), r"holds nan to nan"),
    "another aspect ratio": (
        FORMS["openpi"](IMAGE, STATE), r"camera 'image' is 32 × 48; the policy takes 32 × 32, which is another aspect"
    ),
    "integers": (FORMS["openpi"](IMAGE.astype(int), STATE), r"is int64; uint8 \(0 to 255\) or floats"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_errors_name_the_expected_form(agent: Agent, wrong: str) -> None:
    given, told = WRONG[wrong]
    with pytest.raises(InspireError, match=told):
        agent.act(given, TASKS[0])


def test_images_of_one_camera_must_agree(agent: Agent) -> None:
    two = [FORMS["openpi"](image, STATE) for image in (np.zeros((64, 64, 3), np.uint8), square(IMAGE))]
    with pytest.raises(InspireError, match=r"'image' differ in size: \[\(64, 64, 3\), \(32, 32, 3\)\]"):
        agent.act(two, TASKS[0])


def test_lerobots_own_commands_stretch_no_image_either(agent: Agent) -> None:
    image = torch.from_numpy(IMAGE).permute(2, 0, 1) / 255
    batch = {
        "observation.images.image": image,
        "observation.state": torch.from_numpy(STATE),
        "task": TASKS[0],
    }
    with pytest.raises(InspireError, match="32 × 48; the policy takes 32 × 32"):
        agent.policy.select_action(agent.preprocessor(batch))


@pytest.mark.parametrize(
    ("size", "wanted", "fits"),
    [
        ((720, 1280), (480, 854), True),  # rounded to whole pixels
        ((96, 96), (480, 480), True),
        ((720, 1280), (480, 640), False),
        ((480, 640), (640, 480), False),
        ((240, 352), (480, 640), False),
    ],
)
def test_a_size_rounded_to_whole_pixels_is_the_same_aspect_ratio(size: Any, wanted: Any, fits: bool) -> None:
    if fits:
        check_aspect_ratio("it", size, wanted)
        return
    with pytest.raises(InspireError, match=f"it is {size[0]} × {size[1]}; the policy takes {wanted[0]} × "):
        check_aspect_ratio("it", size, wanted)


def snippet(page: str) -> str:
    """The first Python code of a page that loads a policy."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    return next(block for block in blocks if "load_policy" in block)


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_snippet_runs_as_it_is_printed(page: str, capsys: pytest.CaptureFixture) -> None:
    names: dict[str, Any] = {}
    exec(compile(snippet(page), page, "exec"), names)
    assert names["decision"].actions.shape == (4, 7)
    assert "the red mug" in capsys.readouterr().out


@pytest.fixture(scope="module")
def looking_back(labelled_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Agent:
    out = tmp_path_factory.mktemp("history") / "run"
    return load_policy(run(labelled_dataset, out, "--steps=1", "--policy.n_obs_steps=2"))


def test_a_history_of_images_in_either_order_of_axes(looking_back: Agent) -> None:
    images = np.stack([square(IMAGE), 255 - square(IMAGE)])
    last = FORMS["gymnasium"](images, STATE)
    first = FORMS["LeRobot"](torch.from_numpy(images.transpose(0, 3, 1, 2)) / 255, STATE)
    assert looking_back.act(last, TASKS[0]).token_ids == looking_back.act(first, TASKS[0]).token_ids
    with pytest.raises(InspireError, match=r"takes 1 to 2 images .* found an array \(3, 32, 32, 3\)"):
        looking_back.act(FORMS["gymnasium"](np.concatenate([images, images[:1]]), STATE), TASKS[0])


def test_a_chunk_without_the_history_of_images_is_refused(looking_back: Agent) -> None:
    """As LeRobot's asynchronous server calls it: the steps between two of its observations are not known."""
    one = FORMS["gymnasium"](square(IMAGE), STATE)
    batch = looking_back.preprocessor(looking_back.batch([one], TASKS[0]))
    key = "observation.images.image"
    assert looking_back.policy.predict_action_chunk(batch).shape == (1, 4, 7)  # two images
    current = batch | {key: batch[key][:, -1]}
    with pytest.raises(InspireError, match=r"2 images of each camera.*asynchronous server.*inspire serve"):
        looking_back.policy.predict_action_chunk(current)
    looking_back.policy.reset()
    assert looking_back.policy.select_action(current).shape == (1, 7)
