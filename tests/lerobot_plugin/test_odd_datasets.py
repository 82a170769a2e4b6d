"""Datasets as people have them: each is trained on, acts and is served, or is refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.datasets import LeRobotDataset
from lerobot.scripts import lerobot_train
from tests.lerobot_plugin.tiny_runs import TINY

from inspire_vla import policies
from inspire_vla.cli import parse
from inspire_vla.cli.train import train_arguments
from inspire_vla.errors import InspireError
from inspire_vla.evaluation import PlaybackBenchmark
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.agent import Agent, load_policy
from inspire_vla.lerobot_plugin.checkpoint_statistics import statistics_of
from inspire_vla.lerobot_plugin.checkpoints import find
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.training import train
from inspire_vla.serving.observations import ObservationReader

TASK = "Pick up the red screwdriver."
JOINTS = [f"joint_{i}.pos" for i in range(5)] + ["gripper.pos"]
AXES = ["height", "width", "channels"]
QUANTILES = '--policy.normalization_mapping={"VISUAL":"IDENTITY","STATE":"MEAN_STD","ACTION":"QUANTILES"}'


def camera(height: int = 32, width: int = 32, channels: int = 3, **other: Any) -> dict[str, Any]:
    return {"dtype": "image", "shape": (height, width, channels), "names": AXES, **other}


def numbers(count: int = 6, dtype: str = "float32", names: Any = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": (count,), "names": names}


def record(root: Path, *, drop: tuple[str, ...] = (), scale: float = 90, **features: Any) -> Path:
    """Two episodes of 20 frames; keys of `features` have __ for dots."""
    all_features = {
        "observation.images.front": camera(),
        "observation.state": numbers(names=JOINTS),
        "action": numbers(names=JOINTS),
        **{key.replace("__", "."): feature for key, feature in features.items()},
    }
    all_features = {key: feature for key, feature in all_features.items() if key not in drop}
    rng = np.random.default_rng(0)
    dataset = LeRobotDataset.create("local/odd", 10, all_features, root=root, use_videos=False)
    for _ in range(2):
        phases = {key: rng.uniform(0, 6, f["shape"]) for key, f in all_features.items()}
        for i in range(20):
            frame: dict[str, Any] = {"task": TASK}
            for key, feature in all_features.items():
                if "info" in feature:
                    frame[key] = rng.integers(200, 4000, feature["shape"], dtype=np.uint16)
                elif feature["dtype"] == "image":
                    frame[key] = rng.integers(0, 255, feature["shape"], dtype=np.uint8)
                elif feature["dtype"] in ("float32", "float64", "int64"):
                    frame[key] = (scale * np.sin(phases[key] + i / 4)).astype(feature["dtype"])
            dataset.add_frame(frame)
        dataset.save_episode()
    dataset.finalize()
    return root


def run(dataset: Path, out: Path, *more: str, cached: bool = True) -> Agent:
    arguments = [
        f"--dataset.root={dataset}",
        f"--output_dir={out}",
        *TINY,
        "--steps=2",
        "--policy.chunk_size=4",
    ]
    arguments += ["--policy.n_action_steps=4", "--policy.image_size=null", "--policy.reasoning.enabled=false"]
    train([*arguments, *more], recipe="nano_own", frames_in_memory=cached)
    return load_policy(out)


def acts(agent: Agent, state: int = 6, dim: int = 6, **cameras: tuple[int, int]) -> None:
    sizes = cameras or {"front": (32, 32)}
    observation: dict[str, Any] = {"pixels": {c: np.zeros((*size, 3), np.uint8) for c, size in sizes.items()}}
    if state:
        observation["agent_pos"] = np.zeros(state)
    assert agent.act([observation], [TASK])[0].actions.shape == (4, dim)


def without_statistics(dataset: Path, *names: str) -> Path:
    """The dataset as LeRobot before 0.4 wrote it."""
    file = dataset / "meta/stats.json"
    stats = json.loads(file.read_text(encoding="utf-8"))
    for column in stats.values():
        for name in names:
            column.pop(name, None)
    file.write_text(json.dumps(stats if names else {}), encoding="utf-8")
    return dataset


@pytest.mark.parametrize("missing", [("q01", "q99"), ()])
def test_statistics_that_are_missing_are_computed(tmp_path: Path, missing: tuple[str, ...]) -> None:
    dataset = without_statistics(record(tmp_path / "data"), *missing)
    agent = run(dataset, tmp_path / "out", QUANTILES)
    acts(agent)
    ends = agent.postprocessor(torch.tensor([[-1.0] * 6, [1.0] * 6])).numpy()
    assert (np.abs(ends - [[-90] * 6, [90] * 6]) < 30).all()
    assert "q01" not in (dataset / "meta/stats.json").read_text(
        encoding="utf-8"
    )  # the dataset is not changed


def test_statistics_of_other_numbers_are_computed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A script has written degrees in place of radians, and left meta/stats.json as it was."""
    dataset = record(tmp_path / "data")
    file = dataset / "meta/stats.json"
    stats = json.loads(file.read_text(encoding="utf-8"))
    true = dict(stats["observation.state"])
    for name in ("mean", "std"):
        stats["observation.state"][name] = [value / 57.3 for value in true[name]]
    file.write_text(json.dumps(stats), encoding="utf-8")
    run(dataset, tmp_path / "out")
    assert "is not of its frames: mean of observation.state differs" in capsys.readouterr().err
    kept = statistics_of(find(tmp_path / "out"))["observation.state"]
    for name in ("mean", "std"):
        np.testing.assert_allclose(kept[name], true[name], rtol=1e-3, atol=1e-3)


def test_a_training_on_some_episodes_has_their_statistics_without_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    dataset = record(tmp_path / "data")
    states, episodes = LeRobotFiles.open(dataset).column("observation.state")
    run(dataset, tmp_path / "out", "--dataset.episodes=[1]")
    assert "is not of its frames" not in capsys.readouterr().err
    kept = statistics_of(find(tmp_path / "out"))["observation.state"]
    np.testing.assert_allclose(kept["mean"], states[episodes == 1].mean(0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "names", [{"motors": JOINTS}, [JOINTS], {name: i for i, name in enumerate(JOINTS)}, None, ["a", "b"]]
)
def test_actions_beyond_one_are_refused_by_name_however_names_are_written(tmp_path: Path, names: Any) -> None:
    dataset = record(tmp_path / "data", action=numbers(names=names))
    acts(run(dataset, tmp_path / "out"))
    known = isinstance(names, dict) or names == [JOINTS]
    unscaled = '--policy.normalization_mapping={"VISUAL":"IDENTITY","STATE":"MEAN_STD","ACTION":"IDENTITY"}'
    with pytest.raises(InspireError, match=r"joint_0\.pos -" if known else r"go from value 0 -"):
        run(dataset, tmp_path / "other", unscaled)


def test_a_state_in_parts_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    parts = {"observation__state__arm": numbers(5), "observation__state__hand": numbers(1)}
    dataset = record(tmp_path / "data", drop=("observation.state",), **parts)
    with pytest.raises(InspireError, match=r"one column.*state\.arm.*--policy\.use_state=false"):
        run(dataset, tmp_path / "out")
    acts(run(dataset, tmp_path / "out", "--policy.use_state=false"), state=0)


@pytest.mark.parametrize("cached", [True, False])
def test_a_state_and_an_action_of_one_number(tmp_path: Path, cached: bool) -> None:
    dataset = record(tmp_path / "data", observation__state=numbers(1), action=numbers(1))
    acts(run(dataset, tmp_path / "out", cached=cached), state=1, dim=1)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_other_kinds_of_numbers(tmp_path: Path, dtype: str, cached: bool) -> None:
    dataset = record(tmp_path / "data", observation__state=numbers(dtype=dtype), action=numbers(dtype=dtype))
    agent = run(dataset, tmp_path / "out", cached=cached)
    acts(agent)
    recorded = json.loads((dataset / "meta/stats.json").read_text(encoding="utf-8"))["observation.state"]
    kept = statistics_of(find(tmp_path / "out"))[
        "observation.state"
    ]  # LeRobot rounds them to the kind of the data
    for name in ("mean", "std"):
        np.testing.assert_allclose(kept[name], recorded[name], rtol=1e-4)


def test_whole_numbers_that_bare_lerobot_train_would_normalise_wrongly_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = record(tmp_path / "data", observation__state=numbers(dtype="int64"))
    words = [f"--dataset.root={dataset}", "--dataset.repo_id=local/odd", f"--output_dir={tmp_path / 'out'}"]
    options = ["--policy.type=inspire_vla", "--policy.push_to_hub=false", "--policy.device=cpu", "--steps=1"]
    off = ["--policy.reasoning.enabled=false", "--num_workers=0", *TINY]
    monkeypatch.setattr("sys.argv", ["lerobot-train", *words, *options, *off])
    with pytest.raises(
        InspireError, match=r"^observation\.state of the dataset holds whole numbers \(int64\)"
    ):
        lerobot_train.train()


def test_a_camera_whose_column_is_not_below_images(tmp_path: Path) -> None:
    """As in lerobot/pusht: `observation.image`."""
    dataset = record(tmp_path / "data", drop=("observation.images.front",), observation__image=camera())
    agent = run(dataset, tmp_path / "out")
    acts(agent, image=(32, 32))
    zeros, image = np.zeros(6), np.zeros((32, 32, 3), np.uint8)
    for prefix in ("observation.", "observation/"):
        assert agent.act({f"{prefix}image": image, f"{prefix}state": zeros}, TASK).decodable
    assert ObservationReader.of(agent.config).keys() == {"image": "observation/image"}
    inputs = policies.playback_inputs(policies.describe(tmp_path / "out"), {})
    assert PlaybackBenchmark(dataset, inputs).columns == {"image": "observation.image"}


def test_two_cameras_of_one_name_are_refused(tmp_path: Path) -> None:
    dataset = record(tmp_path / "data", observation__front=camera())
    with pytest.raises(InspireError, match=r"are one camera by their names, 'front'.*--rename_map"):
        run(dataset, tmp_path / "out")


DEPTH = camera(channels=1, info={"is_depth_map": True, "depth_unit": "mm"})


def declare(dataset: Path, feature: str, **changes: Any) -> Path:
    """The dataset with other words about a feature in meta/info.json."""
    file = dataset / "meta/info.json"
    info = json.loads(file.read_text(encoding="utf-8"))
    info["features"][feature] |= changes
    file.write_text(json.dumps(info), encoding="utf-8")
    return dataset


@pytest.mark.parametrize("cached", [True, False])
def test_depth_and_one_channel_are_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture, cached: bool
) -> None:
    cameras = {"observation__images__depth": DEPTH, "observation__images__gray": camera()}
    dataset = record(tmp_path / "data", **cameras)
    declare(dataset, "observation.images.gray", shape=[32, 32, 1])
    agent = run(dataset, tmp_path / "out", cached=cached)
    assert list(agent.config.image_features) == ["observation.images.front"]
    acts(agent)
    assert (
        "Left out of the images, because they do not have three colour channels: observation.images.depth, "
        "observation.images.gray."
    ) in capsys.readouterr().err


def test_a_dataset_without_a_colour_camera_is_refused(tmp_path: Path) -> None:
    dataset = record(tmp_path / "data", drop=("observation.images.front",), observation__images__depth=DEPTH)
    with pytest.raises(InspireError, match="at least one camera with three colour channels"):
        run(dataset, tmp_path / "out")


def test_axes_without_names_are_refused(tmp_path: Path) -> None:
    dataset = declare(record(tmp_path / "data"), "observation.images.front", names=None)
    with pytest.raises(InspireError, match=r"image observation\.images\.front must have three axes"):
        run(dataset, tmp_path / "out")


def test_columns_that_are_not_used_are_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    dataset = record(
        tmp_path / "data", observation__effort=numbers(6), observation__environment_state=numbers(3)
    )
    agent = run(dataset, tmp_path / "out")
    acts(agent)
    assert set(agent.config.input_features) == {"observation.images.front", "observation.state"}
    said = capsys.readouterr().err
    assert "the policy does not take them: observation.effort, observation.environment_state" in said


def test_cameras_of_different_sizes_are_scaled_to_one(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    dataset = record(tmp_path / "data", observation__images__wrist=camera(48, 64))
    agent = run(dataset, tmp_path / "out")
    assert agent.config.image_size == (48, 64)
    assert "48 × 64" in capsys.readouterr().err
    acts(agent, front=(32, 32), wrist=(48, 64))


def test_large_images_are_scaled_for_a_new_nano(tmp_path: Path) -> None:
    """As with bare `lerobot-train --policy.type=inspire_vla`."""
    dataset = record(tmp_path / "data", observation__images__front=camera(240, 320))
    agent = run(dataset, tmp_path / "out")
    assert agent.config.image_size == (96, 128)
    acts(agent, front=(240, 320))


@pytest.mark.parametrize(
    ("given", "chosen"),
    [((480, 640), (96, 128)), ((720, 1280), (96, 176)), ((96, 128), None), ((50, 70), (48, 64)), ((9, 9), (16, 16))],
)  # fmt: skip
def test_which_image_size_is_chosen(given: tuple[int, int], chosen: tuple[int, int] | None) -> None:
    from lerobot.configs import FeatureType, PolicyFeature

    features = {"observation.images.a": PolicyFeature(FeatureType.VISUAL, (3, *given))}
    config = InspireVLAConfig(input_features=features)
    config.choose_image_size()
    assert config.image_size == chosen
    for other in ({"image_size": (64, 64)}, {"pretrained_init": "nano_grounding"}, {"backbone": "openvla"}):
        config = InspireVLAConfig(input_features=dict(features), **other)  # type: ignore[arg-type]
        before = config.image_size
        config.choose_image_size()
        assert config.image_size == before


def test_a_training_is_resumed_after_its_dataset_moved(tmp_path: Path) -> None:
    dataset, out = record(tmp_path / "data"), tmp_path / "out"
    run(dataset, out, "--save_freq=2")
    moved = dataset.rename(tmp_path / "moved")
    with pytest.raises(InspireError, match=r"is not there any more.*--resume --dataset NEW"):
        train_arguments(parse(["train", "--out", str(out), "--resume"]))
    options = parse(["train", "--out", str(out), "--resume", "--dataset", str(moved), "--steps", "3"])
    recipe, arguments = train_arguments(options)
    assert recipe is None
    train(arguments)
    assert (out / "checkpoints" / "last").resolve().name.endswith("3")
    other = record(tmp_path / "other", scale=80)
    with pytest.raises(InspireError, match=r"has other content.*--from"):
        train_arguments(parse(["train", "--out", str(out), "--resume", "--dataset", str(other)]))
    (out / "dataset.json").unlink()
    with pytest.raises(InspireError, match="does not say what it was trained on"):
        train_arguments(parse(["train", "--out", str(out), "--resume", "--dataset", str(other)]))
