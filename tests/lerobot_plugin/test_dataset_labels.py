"""A policy learns from a dataset's labels only what it will be asked."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_runs import run

from inspire_vla.instruction import find_mentions
from inspire_vla.labels.columns import LABELS_FILE, LabelInfo, LabelMismatch, ModeRule
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.dataset_labels import check_mentions
from inspire_vla.lerobot_plugin.loading import load_policy
from inspire_vla.lerobot_plugin.supervision import label_codes

CUBE = "pick up the red cube and place it on the blue plate"
TASKS = (CUBE, "open the top drawer of the cabinet")


def labels(**tasks: tuple[str, ...]) -> LabelInfo:
    return LabelInfo("robot", {"direction": ModeRule()}, tasks, 3, "noise")  # type: ignore[arg-type]


def test_labels_of_what_is_asked_are_taken() -> None:
    own = {task: find_mentions(task) for task in TASKS}
    check_mentions(labels(**own), [*TASKS, "do it again", "lift the green can"], 3)
    check_mentions(
        labels(**own | {CUBE: (*own[CUBE], "the table")}), TASKS, 2
    )  # the third is not asked about


def test_labels_of_other_objects_are_told_apart() -> None:
    turned = labels(**{CUBE: ("the blue plate", "the red cube")})
    with pytest.raises(
        LabelMismatch, match=r"asks about \['the red cube', .* are about \['the blue plate', "
    ) as error:
        check_mentions(turned, TASKS, 3)
    assert "max_objects" not in str(error.value)  # asking about fewer does not help
    with pytest.raises(LabelMismatch, match="max_objects=1"):
        check_mentions(labels(**{CUBE: ("the red cube",)}), TASKS, 3)
    with pytest.raises(LabelMismatch, match=r"asks about \[\]"):
        check_mentions(labels(**{"do it again": ("the red cube",)}), ["do it again"], 3)


def test_a_training_on_labels_of_other_objects_is_refused(labelled_dataset: Path, tmp_path: Path) -> None:
    """As after `inspire label --mentions`: column 0 would be learned as the answer about the cube."""
    data = tmp_path / "data"
    shutil.copytree(labelled_dataset, data)
    said = json.loads((data / LABELS_FILE).read_text())
    said["tasks"][CUBE].reverse()
    (data / LABELS_FILE).write_text(json.dumps(said))
    with pytest.raises(LabelMismatch, match="Label the dataset again without --mentions"):
        run(data, tmp_path / "out", "--steps=1")


@pytest.mark.parametrize("history", [1, 2])
@pytest.mark.parametrize("objects", [1, 2, 3])
def test_the_labels_of_now_are_found_in_a_batch_as_lerobot_makes_it(objects: int, history: int) -> None:
    """(rows, history, objects); without the last dimension for one object, without the second for one picture."""
    now = torch.arange(2 * objects).view(2, objects)
    column = now if history == 1 else torch.stack([torch.full_like(now, -1), now], dim=1)
    batch = {"task": TASKS, "observation.answers.direction": column.squeeze(-1) if objects == 1 else column}
    found = label_codes(batch, InspireVLAConfig(image_history=history))
    assert [codes.tolist() for codes in found] == now.tolist()


def test_a_policy_learns_from_instructions_with_one_object(one_object_dataset: Path, tmp_path: Path) -> None:
    policy = load_policy(run(one_object_dataset, tmp_path / "out", "--steps=1")).policy
    assert len(policy.first_answers) == 1
