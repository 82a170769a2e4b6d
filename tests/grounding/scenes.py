"""Small synthetic images for the tests of grounding, without a renderer."""

import numpy as np

from inspire_vla.grounding.images import BACKGROUND, GRIPPER, HANDLE, ROBOT, Images

NAMES = ("red_cube_1", "blue_mug_1", "brown_cabinet_1", "brown_cabinet_1_handle", "gripper")
POSITIONS = ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.3, 0.7), (0.75, 0.75))


def images(names=NAMES, positions=POSITIONS, count: int = 1, size: int = 32) -> Images:
    """`count` equal images. Objects 0, 1, 2 and the robot cover one quarter each, the robot the bottom right.

    On the table, an object is as many metres to the right and to the front as its position in the image says.
    """
    segmentation = np.full((48, 48), BACKGROUND, np.int8)
    segmentation[:24, :24], segmentation[:24, 24:], segmentation[24:, :24], segmentation[24:, 24:] = (
        0,
        1,
        2,
        ROBOT,
    )
    segmentation[0] = BACKGROUND
    pixels = np.zeros((count, size, size, 3), np.uint8)
    pixels[:, : size // 2, : size // 2, 0] = 255
    pixels[:, : size // 2, size // 2 :, 2] = 255
    k = len(names) + 1  # one unused column
    padded = np.zeros((count, k), "U24")
    padded[:, : len(names)] = names
    points = np.zeros((count, k, 2), np.float32)
    points[:, : len(positions)] = positions
    visibility = np.zeros((count, k), np.float32)
    visibility[:, : len(names)] = 0.2
    on_table = points.copy()
    on_table[:, [not name or name == GRIPPER or name.endswith(HANDLE) for name in padded[0]]] = np.nan
    return Images(pixels, np.repeat(segmentation[None], count, axis=0), padded, points, on_table, visibility)
