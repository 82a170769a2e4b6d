"""Laws of labels from a demonstration alone, on synthetic paths with known positions; and against a simulator."""

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.instruction import find_mentions
from inspire_vla.labels.columns import LabelInfo, ModeRule
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.labeller import Episode, Recording, encode_tracks
from inspire_vla.spatial import NO_LABEL, canonical_answers


def label(synthetic, hand, command, width, instruction=None, labeller=None, **options):
    """Label one episode; its gripper's range is taken from itself and from a hand that opens and shuts fully."""
    told = command if command is None else np.asarray(command, dtype=float)
    columns = {
        "observation.state": np.column_stack([hand, width if width is not None else np.zeros(len(hand))])
    }
    names = {"observation.state": ("x", "y", "z") + (("gripper",) if width is not None else ("nothing",))}
    if told is not None:
        columns["action"], names["action"] = told[:, None], ("gripper",)
    shown = {name: np.concatenate([value, value]) for name, value in columns.items()}
    labeller = (labeller or DemonstrationLabeller(**options)).calibrate(
        Recording(shown, np.array([0, len(hand)]), names)
    )
    instruction = instruction or synthetic.instruction
    mentions = find_mentions(instruction)
    return labeller.label(Episode(0, instruction, mentions, columns, names))


def test_positions_of_both_objects_are_known_in_every_frame(synthetic):
    hand, command, width = synthetic.path()
    tracks = label(synthetic, hand, command, width)
    held = tracks.grasped[:, 0]
    first = int(np.argmax(held))
    below = np.array(
        [0.0, 0.0, DemonstrationLabeller().target_drop_m]
    )  # a hand grips a thing above its middle
    before = tracks.gripper_to_object_m[:first, 0] + hand[:first]
    np.testing.assert_allclose(before, np.broadcast_to(synthetic.cube - below, before.shape), atol=1e-6)
    plate = tracks.gripper_to_object_m[:, 1] + hand
    assert np.abs(plate - synthetic.plate).max() < DemonstrationLabeller().goal_drop_m + 0.001
    after = ~held & (np.arange(len(hand)) > first)
    cube_after = (tracks.gripper_to_object_m[:, 0] + hand)[after]
    np.testing.assert_allclose(
        cube_after, np.broadcast_to(synthetic.plate - below, cube_after.shape), atol=1e-6
    )
    assert not tracks.grasped[:, 1].any()
    assert (tracks.confidence > 0).all()


def test_a_held_object_is_grasped_or_has_no_label(synthetic):
    """Nothing tells where in the fingers it is: without the word `grasped` no other word is invented."""
    tracks = label(synthetic, *synthetic.path())
    held = tracks.grasped[:, 0]
    assert held.any()
    codes = {}
    for word in (True, False):
        rule = ModeRule(grasped_word=word)
        labels = LabelInfo(
            "robot", {"direction": rule}, {synthetic.instruction: synthetic.mentions}, 2, "any"
        )
        codes[word] = encode_tracks(tracks, labels)["direction"]
    assert set(codes[True][held, 0]) == {canonical_answers("direction").index("grasped")}
    assert set(codes[False][held, 0]) == {NO_LABEL}
    np.testing.assert_array_equal(codes[False][~held], codes[True][~held])
    assert (codes[False][~held] != NO_LABEL).all()


@pytest.mark.parametrize("convention", ["flipped", "0..1", "raw", "width only", "command only", "two joints"])
def test_any_sign_unit_and_kind_of_gripper(synthetic, convention):
    hand, command, width = synthetic.path()
    plain = label(synthetic, hand, command, width)
    given = {
        "flipped": (-command, -width),
        "0..1": ((command + 1) / 2, width / 0.08),
        "raw": (command * 1000, width * 12345),
        "width only": (None, width),
        "command only": (command, None),
        "two joints": (command, np.column_stack([width / 2, -width / 2])),
    }[convention]
    if convention == "two joints":
        end_effector = EndEffectorColumns.parse(
            "observation.state:0,1,2", "observation.state:3,4", "action:0"
        )
        found = label(synthetic, hand, *given, labeller=DemonstrationLabeller(end_effector=end_effector))
    else:
        found = label(synthetic, hand, *given)
    slack = 3  # frames between telling the fingers and their coming to rest
    differs = np.flatnonzero(found.grasped[:, 0] != plain.grasped[:, 0])
    assert len(differs) <= slack
    known = ~(found.grasped | plain.grasped)  # what is held has no offset
    np.testing.assert_allclose(found.gripper_to_object_m[known], plain.gripper_to_object_m[known], atol=0.06)


def test_gripper_sign_of_a_dataset_that_only_pushes(synthetic):
    hand, _, _ = synthetic.path()
    frames = len(hand)
    told = np.where(np.arange(frames) > frames - 5, 1.0, -1.0)  # opens at the very end, +1 opens
    width = np.r_[0.08, 0.04, np.zeros(frames - 7), np.linspace(0.01, 0.08, 5)]
    tracks = label(synthetic, hand, told, width, "close the drawer")
    assert not tracks.grasped.any()


def test_millimetres_equal_metres(synthetic):
    hand, command, width = synthetic.path()
    metres = label(synthetic, hand, command, width)
    millimetres = label(synthetic, 1000 * hand, command, width, metres_per_unit=0.001)
    np.testing.assert_allclose(millimetres.gripper_to_object_m, metres.gripper_to_object_m, atol=1e-6)
    with pytest.raises(InspireError, match="cannot be metres"):
        label(synthetic, 1000 * hand, command, width)


def test_a_closing_on_nothing_is_no_grasp(synthetic):
    hand, command, width = synthetic.path()
    miss = len(hand) // 2
    missed_hand = np.concatenate([hand[:13] + np.array([0.05, 0, 0]), hand])
    missed_command = np.concatenate([-np.ones(3), np.ones(7), -np.ones(3), command])
    missed_width = np.concatenate([np.full(3, 0.08), [0.08, 0.04, 0, 0, 0, 0, 0], [0.04, 0.08, 0.08], width])
    tracks = label(synthetic, missed_hand, missed_command, missed_width)
    assert "1 closing on nothing" in tracks.notes
    assert not tracks.grasped[:13, 0].any()
    assert tracks.grasped[13 + miss, 0]


def test_two_grasps_are_assigned_to_two_objects(synthetic):
    hand, command, width = synthetic.path()
    two = label(
        synthetic,
        np.concatenate([hand, hand * [1, -1, 1]]),
        np.tile(command, 2),
        np.tile(width, 2),
        "put both the red cube and the blue ball in the basket",
    )
    assert two.grasped[: len(hand), 0].any()
    assert not two.grasped[len(hand) :, 0].any()
    assert two.grasped[len(hand) :, 1].any()
    assert not two.grasped[: len(hand), 1].any()
    assert not two.grasped[:, 2].any()


def test_a_dropped_object_grasped_again_is_one_object(synthetic):
    hand, command, _ = synthetic.path()
    command = command.copy()
    dropped = slice(len(hand) // 2, len(hand) // 2 + 4)
    command[dropped] = -1
    tracks = label(synthetic, hand, command, None)
    assert tracks.grasped[dropped.start - 2, 0]
    assert tracks.grasped[dropped.stop + 4, 0]
    assert not tracks.grasped[:, 1].any()


def test_pressing_without_a_grasp_finds_the_longest_stay(synthetic):
    start, button = np.array([0.4, 0.0, 0.3]), np.array([0.5, 0.2, 0.05])
    way = start + (button - start) * np.linspace(0, 1, 15)[:, None]
    hand = np.concatenate([way, np.tile(button, (12, 1)), way[::-1]])
    tracks = label(
        synthetic, hand, None, np.r_[0.08, np.zeros(len(hand) - 1)], "press the button", open_is_high=True
    )
    assert not tracks.grasped.any()
    assert np.abs(tracks.gripper_to_object_m[0, 0] + hand[0] - button).max() < 0.06
    assert tracks.confidence.max() <= 0.5


def test_a_thin_object_is_held_if_it_is_carried_far(synthetic):
    hand, command, width = synthetic.path()
    width = np.where(width == width.min(), 0.004, width)  # of 0.08: what an empty gripper shuts to as well
    thin, thick = label(synthetic, hand, command, width), label(synthetic, *synthetic.path())
    assert "1 closing on something thin" in thin.notes[0]
    assert thin.grasped[:, 0].sum() == pytest.approx(thick.grasped[:, 0].sum(), abs=3)
    assert thin.confidence[thin.grasped].max() < thick.confidence[thick.grasped].min()
    missed = np.where(np.arange(len(hand))[:, None] > 12, hand[12], hand)  # shut there, opened there
    assert not label(synthetic, missed, command, width).grasped.any()


@pytest.mark.parametrize("sideways", [0.0, 0.5])
def test_a_closing_drawer_is_in_front_of_the_fingertips(synthetic, sideways):
    over, before, shut = np.array([[0.6, -0.2, 0.3], [0.53, 0.2, 0.22], [0.4, 0.2 + sideways * 0.1, 0.22]])
    ways = [(over, before), (before, shut), (shut, before)]
    hand = np.concatenate([a + (b - a) * np.linspace(0, 1, 15)[:, None] for a, b in ways])
    tracks = label(
        synthetic, hand, None, np.r_[0.08, np.zeros(len(hand) - 1)], "close the drawer", open_is_high=True
    )
    place = (tracks.gripper_to_object_m + hand[:, None])[:, 0]
    ahead = (shut - before) / np.linalg.norm(shut - before)
    np.testing.assert_allclose(place[-1], shut + 0.02 * ahead, atol=0.02)
    assert np.abs(place[0] - before).max() < 0.06
    assert not tracks.grasped.any()
    assert tracks.confidence.max() > 0.5


def test_unknown_positions_get_no_labels(synthetic):
    hand, command, width = synthetic.path()
    broken = hand.copy()
    broken[4] = np.nan
    tracks = label(synthetic, broken, command, width)
    assert np.isnan(tracks.gripper_to_object_m).all()
    assert tracks.notes == ("positions that are no numbers",)
    still = label(synthetic, np.tile(hand[:1], (9, 1)), -np.ones(9), np.full(9, 0.08))
    assert not still.grasped.any()


def test_agreement_with_a_simulators_truth(tmp_path):
    """Two demonstrations of those behind docs/appendix/label_accuracy.md, by the same code."""
    from benchmarks.label_agreement import agreement

    from inspire_vla.tabletop.collection import collect

    collect("tabletop_seen", 2, tmp_path / "data", image_size=24, progress=False)
    found = agreement(tmp_path / "data", DemonstrationLabeller())
    assert found.correct / found.total > 0.8
    assert found.of_word("grasped")[0] / found.of_word("grasped")[1] > 0.85
