"""LIBERO's expert: which tasks it supports, what it records, and that collections are reproducible."""

import json
from pathlib import Path

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels import GRASPED_COLUMN, read_labels
from inspire_vla.labels.collected_dataset import COLLECTION_FILE
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.dataset_origin import suites_of
from inspire_vla.libero import collection
from inspire_vla.libero.collection import CollectReport, Conditions, collect, demonstrate, seed_of
from inspire_vla.libero.expert import unsupported_reason
from inspire_vla.libero.installation import LiberoMissing, bddl_folder, require_libero
from inspire_vla.libero.tasks import instruction_of, read_problem, task_files
from inspire_vla.perturbations import ActionPerturber

pytestmark = pytest.mark.libero
SUITE, TASK = "libero_object", "pick_up_the_chocolate_pudding_and_place_it_in_the_basket"
SMALL = {"tasks": [TASK], "image_size": None, "progress": False}


@pytest.fixture(scope="module")
def installed():
    try:
        require_libero()
    except LiberoMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def task_folder():
    try:
        return bddl_folder()
    except LiberoMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def collected(installed, tmp_path_factory):
    root = tmp_path_factory.mktemp("collected") / "data"
    return root, collect(SUITE, 1, root, **SMALL)


def test_unsupported_tasks_are_named(task_folder):
    supported = {
        suite: sum(
            unsupported_reason(read_problem(path), instruction_of(path)) is None for path in task_files(suite)
        )
        for suite in ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
    }
    assert supported["libero_spatial"] == supported["libero_object"] == 10
    assert supported["libero_goal"] == 6
    assert supported["libero_90"] == 76
    drawer = next(path for path in task_files("libero_goal") if "middle_drawer" in path.stem)
    assert unsupported_reason(read_problem(drawer), instruction_of(drawer)) == "it cannot open objects"


@pytest.mark.parametrize(
    "task", ["KITCHEN_SCENE3_turn_on_the_stove", "KITCHEN_SCENE10_close_the_top_drawer_of_the_cabinet"]
)
def test_a_knob_is_turned_and_a_drawer_closed(installed, task):
    conditions = Conditions("libero_90", (task,), 0, (), None, collection.NOISE)
    demonstration = demonstrate(conditions, 0)
    assert not demonstration.grasped[-1].any(), "it has let go"


def test_a_demonstration_ends_with_the_object_released_at_its_target(collected):
    root, report = collected
    assert report.attempts[TASK][0] == report.episodes == 1
    assert "1 of" in str(report)
    assert suites_of(root, None) == {SUITE: (TASK,)}
    files = LeRobotFiles.open(root)
    rows = files.read(
        files.data_files()[0],
        (GRASPED_COLUMN, "privileged.gripper_to_object_m", "action", "observation.state"),
    )
    grasped = rows.columns[GRASPED_COLUMN]
    offsets = rows.columns["privileged.gripper_to_object_m"].reshape(len(grasped), -1, 3)
    held = np.flatnonzero(grasped[:, 0])
    assert 20 < len(held) < len(grasped)
    assert np.abs(offsets[held, 0]).max() < 0.1
    assert not grasped[:, 1].any()  # the basket is never grasped
    assert np.abs(rows.columns["action"]).max() <= 1.0
    eef = rows.columns["observation.state"][:, :3]
    obj, basket = eef[-1] + offsets[-1, 0], eef[-1] + offsets[-1, 1]
    assert np.linalg.norm((obj - basket)[:2]) < 0.1
    assert read_labels(root).tasks == {instruction_of(TASK): ("the chocolate pudding", "the basket")}


def test_the_same_seed_gives_the_same_demonstration(collected):
    root, _ = collected
    record = json.loads((root / COLLECTION_FILE).read_text())["episodes"][0]
    shown = demonstrate(Conditions(SUITE, (TASK,), 0, (), None, collection.NOISE), 0)
    made = (shown.seed, len(shown), len(shown.failed_seeds))
    assert made == (record["seed"], record["frames"], record["failed"])
    files = LeRobotFiles.open(root)
    rows = files.read(files.data_files()[0], ("action", "observation.state"))
    np.testing.assert_array_equal(rows.columns["action"], shown.action)
    np.testing.assert_array_equal(rows.columns["observation.state"], shown.state)


def test_a_perturbed_expert_recovers_and_its_clean_actions_are_recorded(installed, monkeypatch):
    executed: list[np.ndarray] = []

    class Recorded(ActionPerturber):
        def __call__(self, action: np.ndarray) -> np.ndarray:
            executed.append(super().__call__(action))
            return executed[-1]

    monkeypatch.setattr(collection, "ActionPerturber", Recorded)
    conditions = Conditions(SUITE, (TASK,), 1, (), None, 0.0, perturbations=0.03)
    shown = demonstrate(conditions, 0)
    changed = (np.stack(executed[-len(shown) :]) != shown.action).any(axis=1)
    assert 3 <= changed.sum() < len(shown) / 2


def test_a_finished_collection_is_left_alone(collected, tmp_path):
    root, report = collected
    assert collect(SUITE, 1, root, **SMALL) == report
    with pytest.raises(InspireError, match="other settings"):
        collect(SUITE, 2, root, **SMALL)


def test_an_episode_that_always_fails_is_left_out_and_counted(installed, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "attempt_task", lambda *_: None)
    monkeypatch.setattr(collection, "shared_simulation", lambda *_: None)
    with pytest.raises(InspireError, match="no demonstration is left: 2 × the expert failed 4 times"):
        collect(SUITE, 2, tmp_path / "data", **SMALL)
    assert not (tmp_path / "data").exists()


def test_a_simulation_is_made_once_for_all_episodes_of_a_task(installed, tmp_path, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(collection, "attempt_task", lambda *_: None)
    monkeypatch.setattr(collection, "shared_simulation", lambda task, *_: asked.append(task))
    tasks = [path.stem for path in task_files(SUITE)[:2]]
    with pytest.raises(InspireError, match="the expert failed"):
        collect(SUITE, 6, tmp_path / "data", **SMALL | {"tasks": tasks})
    assert [Path(task).stem for task in asked] == [*3 * tasks[:1], *3 * tasks[1:]]


def test_the_report_lists_rates_and_unsupported_tasks(tmp_path):
    text = str(CollectReport(tmp_path, 3, 300, {"a": (3, 4)}, {"open_it": "it cannot open objects"}))
    assert "3 of    4 ( 75 %)  a" in text
    assert "not supported: open_it (it cannot open objects)" in text


def test_seeds_differ_by_task_number_and_attempt():
    conditions = Conditions(SUITE, (TASK,), 0, (), None, 0.0)
    seeds = {seed_of(conditions, task, n, a) for task in ("a", "b") for n in range(20) for a in range(4)}
    assert len(seeds) == 160


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("libero_objects", 1), {}, "Did you mean 'libero_object'"),
        ((SUITE, 0), {}, "episodes must be"),
        ((SUITE, 1), {"noise": -1.0}, "noise must be"),
        ((SUITE, 1), {"perturbations": 1.5}, "perturbations must be"),
        ((SUITE, 1), {"image_size": 2}, "image_size must be"),
    ],
)
def test_bad_input_is_said(tmp_path, arguments, settings, message):
    with pytest.raises(InspireError, match=message):
        collect(*arguments, tmp_path / "data", **settings)
    assert not list(tmp_path.iterdir())


def test_unknown_tasks_and_cameras_are_said(installed, tmp_path):
    for settings, message in (
        ({"tasks": ["pick_up_the_moon"]}, "unknown task"),
        ({"cameras": ("front",)}, "unknown camera"),
    ):
        with pytest.raises(InspireError, match=message):
            collect(SUITE, 1, tmp_path / "data", **settings)


def test_a_named_task_that_the_expert_cannot_do_is_refused_before_the_work(installed, tmp_path):
    """Left out in silence, the dataset would lack a task that somebody asked for."""
    tasks = ["open_the_middle_drawer_of_the_cabinet", "put_the_bowl_on_the_plate"]
    with pytest.raises(
        InspireError, match=f"cannot do 1 of these tasks:\n  {tasks[0]}: it cannot open objects"
    ):
        collect("libero_goal", 1, tmp_path / "data", tasks=tasks)
    assert not list(tmp_path.iterdir())
