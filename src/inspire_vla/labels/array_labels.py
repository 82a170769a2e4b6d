"""Labels of one episode that is given as arrays, without a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.instruction import MentionRole, find_mentions, mentions_of, override_for
from inspire_vla.labels.arm import Arm
from inspire_vla.labels.column_values import ColumnValues
from inspire_vla.labels.columns import LabelInfo, ModeRule
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.gripper import OpeningScale
from inspire_vla.labels.labeller import Episode, Recording, encode_tracks
from inspire_vla.spatial import Frame, decode_answers


@dataclass(frozen=True)
class EpisodeLabels:
    """Labels of k mentions in T frames.

    answers: (T, k) words, "" is no label. codes: (T, k) int16, indices into `spatial.canonical_answers(mode)`, −1 is
    no label. confidence: (T, k), 0..1. notes: what a person should know about the episode.
    """

    mentions: tuple[str, ...]
    answers: NDArray[np.str_]
    codes: NDArray[np.int16]
    confidence: NDArray[np.float32]
    notes: tuple[str, ...]


def label_arrays(
    positions: NDArray[np.floating],
    gripper: NDArray[np.floating],
    instruction: str,
    *,
    gripper_range: tuple[float, float] | None = None,
    is_command: bool = False,
    mentions: Sequence[str | MentionRole] | None = None,
    mode: str = "direction",
    frame: str | Frame = "robot",
    rule: ModeRule = ModeRule(),  # noqa: B008  frozen
    min_confidence: float = 0.0,
) -> EpisodeLabels:
    """Label one episode that is given as arrays, without a dataset.

    Args:
        positions: (T, 3) metres, robot base frame: the point between the fingertips.
        gripper: (T,) opening of the gripper, in any unit.
        gripper_range: the values of `gripper` when closed and when open, such as (1, -1) for LIBERO's commands; None:
            the smallest and the largest value of the episode, where larger is wider.
        is_command: `gripper` was commanded, not measured, so it does not tell whether an object is held.
        mentions: the objects to ask about, with or without roles; None finds them in the instruction.
        mode, frame, rule: of the answers, see `LabelInfo`.
        min_confidence: labels below this confidence are left out.

    >>> import numpy as np
    >>> path = np.array([[0.4, 0.0, 0.3], [0.5, 0.2, 0.0], [0.5, 0.2, 0.2], [0.6, -0.2, 0.1], [0.6, -0.2, 0.3]])
    >>> opening = np.repeat([0.08, 0.04, 0.04, 0.08, 0.08], 5)
    >>> labels = label_arrays(np.repeat(path, 5, axis=0), opening, "put the red cube on the plate")
    >>> labels.mentions
    ('the red cube', 'the plate')
    >>> labels.answers[::5].tolist()
    [['down', 'down'], ['grasped', 'right'], ['grasped', 'right'], ['down', 'down'], ['down', 'down']]

    Raises:
        InspireError: arrays of other shapes, an instruction without an object, or an unknown mode or frame.
    """
    positions, gripper = np.asarray(positions, dtype=np.float64), np.asarray(gripper, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 3 or gripper.shape != positions.shape[:1]:
        raise InspireError(
            f"positions must be (T, 3) and gripper (T,), found {positions.shape} and {gripper.shape}."
        )
    values = ColumnValues("gripper", (0,))
    end_effector = EndEffectorColumns(
        ColumnValues("position", (0, 1, 2)), *((None, values) if is_command else (values, None))
    )
    columns = {"position": positions, "gripper": gripper}
    labeller = DemonstrationLabeller(end_effector, open_is_high=True).calibrate(
        Recording(columns, np.array([0]))
    )
    if gripper_range is not None:
        scale = OpeningScale(*gripper_range)
        arm = Arm(end_effector, scale if is_command else None, None if is_command else scale)
        labeller = replace(labeller, arms=(arm,))
    roles = override_for(mentions or ())
    names = mentions_of(roles) or find_mentions(instruction)
    tracks = labeller.label(Episode(0, instruction, names, columns, roles=roles))
    info = LabelInfo(frame, {mode: rule}, {instruction: names}, len(names), labeller.name)  # type: ignore[arg-type]
    codes = encode_tracks(tracks, info, min_confidence=min_confidence)[mode]
    assert tracks.confidence is not None
    return EpisodeLabels(names, decode_answers(codes, mode), codes, tracks.confidence, tracks.notes)  # type: ignore[arg-type]
