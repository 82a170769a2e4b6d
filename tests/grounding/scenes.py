"""Small made-up images for the tests of grounding: no renderer needed."""

import numpy as np

from inspire_vla.grounding.images import NOTHING, ROBOT, Images

NAMES = ("red_cube_1", "blue_mug_1", "brown_cabinet_1", "brown_cabinet_1_handle", "gripper")
PLACES = ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.3, 0.7), (0.75, 0.75))


def images(names=NAMES, places=PLACES, count: int = 1, size: int = 32) -> Images:
    """`count` equal images of a quarter each: things 0, 1 and 2, and the robot below right."""
    owners = np.full((48, 48), NOTHING, np.int8)
    owners[:24, :24], owners[:24, 24:], owners[24:, :24], owners[24:, 24:] = 0, 1, 2, ROBOT
    owners[0] = NOTHING
    pixels = np.zeros((count, size, size, 3), np.uint8)
    pixels[:, : size // 2, : size // 2, 0] = 255
    pixels[:, : size // 2, size // 2 :, 2] = 255
    k = len(names) + 1  # one unused place
    padded = np.zeros((count, k), "U24")
    padded[:, : len(names)] = names
    spots = np.zeros((count, k, 2), np.float32)
    spots[:, : len(places)] = places
    visible = np.zeros((count, k), np.float32)
    visible[:, : len(names)] = 0.2
    return Images(pixels, np.repeat(owners[None], count, axis=0), padded, spots, visible)
