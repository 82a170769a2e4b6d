"""Recordings that people publish: labelled rightly, or refused with advice; never labelled wrongly without a word."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.labels.recordings import EPISODES, POSE, REFUSED, RIGHT, STATE, Kind, Motion, pose, write

from inspire_vla.errors import InspireError
from inspire_vla.labels import answer_column, plan
from inspire_vla.labels.column_values import ColumnValues
from inspire_vla.labels.columns import CONFIDENCE_COLUMN
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.gripper import Grasp
from inspire_vla.labels.gripper_sign import drop_idle
from inspire_vla.labels.labeller import Recording, label_states
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.parquet import matrix
from inspire_vla.labels.plan import plan_labels
from inspire_vla.labels.storage import label_dataset
from inspire_vla.spatial import decode_answers

SLACK = 2
"""Frames around a grasp and a release that are not compared: the fingers move meanwhile."""


def labeller_of(kind: Kind) -> DemonstrationLabeller:
    """The labeller with the options that the kind needs."""
    options = dict(kind.labels)
    if "position" in options:
        return DemonstrationLabeller(EndEffectorColumns.parse(**options))
    return DemonstrationLabeller(**{name: ColumnValues.parse(text) for name, text in options.items()})


def true_words(m: Motion) -> np.ndarray:
    """(T, 2): for the object and the goal, with the drops that docs/label.md states."""
    labeller = DemonstrationLabeller()
    below = [np.array([0, 0, drop]) for drop in (labeller.target_drop_m, labeller.goal_drop_m)]
    thing, goal = m.places
    before = np.arange(len(m)) <= np.flatnonzero(m.held)[0]
    places = np.where(before[:, None], thing, goal) - below[0], np.tile(goal - below[1], (len(m), 1))
    offsets = np.stack(places, 1) - m.path[:, None]
    held = np.stack([m.held, np.zeros(len(m), bool)], 1)
    return decode_answers(label_states(offsets, held, max_objects=2), "direction")


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", RIGHT)
def test_labels_are_right(name: str, seed: int, tmp_path: Path) -> None:
    kind = RIGHT[name]
    motions = write(kind, tmp_path / "source", seed)
    label_dataset(tmp_path / "source", labeller_of(kind), out=tmp_path / "out")
    rows = pq.read_table(LeRobotFiles.open(tmp_path / "out").data_files()[0])
    codes = matrix(rows[answer_column("direction")])
    words = decode_answers(codes.reshape(len(rows), -1), "direction")
    confidence = matrix(rows[CONFIDENCE_COLUMN]).reshape(len(rows), -1)
    ends = np.cumsum([0] + [len(m) for m in motions])
    right, compared = 0, 0
    for m, first, end in zip(motions, ends[:-1], ends[1:], strict=True):
        edges = np.flatnonzero(np.diff(m.held))
        clear = np.abs(np.arange(len(m))[:, None] - edges).min(axis=1) > SLACK
        found, true = words[first:end], true_words(m)
        objects = min(found.shape[1], 2)
        # where two axes are equally long, a centimetre decides: such frames have little confidence
        clear = clear[:, None] & (confidence[first:end, :objects] >= 60)
        right += int((found[:, :objects] == true[:, :objects])[clear].sum())
        compared += int(clear.sum())
        grasped = found[:, 0] == "grasped"
        assert np.abs(grasped.astype(int) - m.held).sum() <= 3 * SLACK, f"held {np.flatnonzero(grasped)}"
    assert compared > 0.5 * words.size / words.shape[1] * objects
    assert right / compared >= 0.95


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_in_doubt_is_refused_with_advice(name: str, seed: int, tmp_path: Path) -> None:
    kind, advice = REFUSED[name]
    write(kind, tmp_path / "source", seed)
    with pytest.raises(InspireError) as error:
        label_dataset(tmp_path / "source", labeller_of(kind), out=tmp_path / "out")
    for part in advice:
        assert part in str(error.value), str(error.value)
    assert not (tmp_path / "out").exists()


def test_what_is_found_is_said_with_its_reason_and_option(tmp_path: Path) -> None:
    write(RIGHT["either_arm"], tmp_path / "source")
    text = str(plan_labels(LeRobotFiles.open(tmp_path / "source"), DemonstrationLabeller(), {}))
    for part in (
        "left_x, left_y, left_z",
        "--position",
        "--open-is low",
        "--arm",
        "the plate goal",
        "--mentions",
    ):
        assert part in text
    assert f"1 each in {EPISODES} episodes" in text


def test_what_is_doubtful_about_an_instruction_is_said_before_labelling(tmp_path: Path) -> None:
    write(replace(RIGHT["plain"], tasks=("put the red cube on the red cube",)), tmp_path / "source")
    files = LeRobotFiles.open(tmp_path / "source")
    assert "doubt: 'the red cube' may be two objects" in str(plan_labels(files, DemonstrationLabeller(), {}))


def test_instructions_are_read_before_the_frames_and_videos_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large dataset the check takes minutes."""
    write(replace(RIGHT["plain"], tasks=("wave",)), tmp_path / "source")
    monkeypatch.setattr(plan, "check_videos", lambda *_: pytest.fail("the videos were checked"))
    with pytest.raises(InspireError, match=r"no instruction of .* names an object"):
        plan.plan_labels(LeRobotFiles.open(tmp_path / "source"), DemonstrationLabeller(), {})


def test_a_recording_that_stops_while_the_gripper_closes_has_no_second_grasp() -> None:
    path = np.concatenate([np.linspace([0.2, 0, 0.3], [0.5, 0, 0.0], 40), np.tile([0.5, 0, 0.0], (20, 1))])
    carried, last = Grasp(10, 12, 30, 30, True), Grasp(55, 58, 60, 60, True)
    assert drop_idle([carried, last], path, 1, 30.0) == [carried]
    assert drop_idle([last], path, 1, 30.0) == [last]
    long = Grasp(42, 45, 60, 60, True)
    assert drop_idle([carried, long], path, 2, 30.0) == [carried, long]


def test_a_frame_of_nan_costs_the_labels_of_its_episode_only(tmp_path: Path) -> None:
    recorded = 0

    def one_is_damaged(m: Motion, rng: np.random.Generator) -> dict[str, np.ndarray]:
        nonlocal recorded
        columns = pose(m, rng)
        if recorded == 2:
            columns[STATE][5] = np.nan
        recorded += 1
        return columns

    write(Kind(one_is_damaged, {STATE: POSE}), tmp_path / "source")
    label_dataset(tmp_path / "source", DemonstrationLabeller(), out=tmp_path / "out")
    rows = pq.read_table(LeRobotFiles.open(tmp_path / "out").data_files()[0])
    codes = matrix(rows[answer_column("direction")]).reshape(len(rows), -1)
    damaged = np.asarray(rows["episode_index"]) == 2
    assert not (decode_answers(codes[damaged], "direction") == "grasped").any()
    assert (decode_answers(codes[~damaged], "direction") == "grasped").any()
    assert len(np.unique(codes[damaged])) == 1


@pytest.mark.parametrize("drives", [True, False])
def test_a_base_that_drives_gives_a_warning(drives: bool, recwarn: pytest.WarningsRecorder) -> None:
    """LeKiwi: the arm's positions are relative to its base."""
    names = ("ee.x", "ee.y", "ee.z", "x.vel", "y.vel", "theta.vel")
    state = np.zeros((50, 6))
    state[:, :3] = np.linspace(0, 0.2, 50)[:, None]
    state[20:30, 5] = 30.0 if drives else 0.5
    recording = Recording({"observation.state": state}, np.array([0]), {"observation.state": names})
    EndEffectorColumns.parse("observation.state:0,1,2", needs_gripper=False).in_known_unit(recording, 1.0)
    assert [str(w.message).split(".")[0] for w in recwarn] == (
        ["the robot's base drives in 20% of the frames"] if drives else []
    )
