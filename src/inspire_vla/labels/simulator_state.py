"""Labels from a simulator's state: it knows where everything is."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import ModeRule
from inspire_vla.spatial import NO_LABEL, Frame, relate_codes

LABELLER = "simulator_state"


def label_states(
    gripper_to_object_m: ArrayLike,
    grasped: ArrayLike,
    *,
    max_objects: int,
    mode: str = "direction",
    frame: str | Frame = "robot",
    rule: ModeRule = ModeRule(),  # noqa: B008  frozen
) -> NDArray[np.int16]:
    """Codes for the label column of each frame of a demonstration.

    Args:
        gripper_to_object_m: (T, k, 3) metres, robot base axes, in the order of the mentions.
        grasped: (T, k) booleans.
        max_objects: width of the column, at least k.

    Returns:
        (T, max_objects) int16, NO_LABEL (−1) beyond the k objects.

    Raises:
        InspireError: as `spatial.relate_codes`, and more objects than the column holds.
    """
    offsets = np.asarray(gripper_to_object_m)
    if offsets.ndim != 3 or offsets.shape[-1] != 3:
        raise InspireError(f"gripper_to_object_m must have shape (T, k, 3), found {offsets.shape}.")
    frames, objects = offsets.shape[:2]
    if objects > max_objects:
        raise InspireError(f"{objects} objects do not fit a label column for {max_objects}.")
    held = np.asarray(grasped)
    if held.shape != (frames, objects):
        raise InspireError(f"grasped must have shape {(frames, objects)}, found {held.shape}.")
    codes = np.full((frames, max_objects), NO_LABEL, dtype=np.int16)
    codes[:, :objects] = relate_codes(
        offsets,
        held,
        mode=mode,
        frame=frame,
        close_threshold_m=rule.close_threshold_m,
        grasped_word=rule.grasped_word,
    )
    return codes
