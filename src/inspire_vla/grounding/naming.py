"""What is at every point of the image: the dense half of the pre-training, which the stem alone can learn.

A visual token is asked for the kind and the colour of what lies at each point of a grid within its own patch, and how
far off that thing's middle is. So identity and place get into the token before any language has to be understood; a
published vision tower brings as much.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss

from inspire_vla.grounding.images import GRIPPER, NOTHING, ROBOT, Images
from inspire_vla.grounding.questions import kind_and_colour

KINDS = (
    "nothing",
    "robot",
    "cube",
    "cylinder",
    "ball",
    "mug",
    "plate",
    "bowl",
    "basket",
    "tray",
    "box",
    "cabinet",
)
COLOURS = (
    "none", "red", "blue", "green", "yellow", "white", "black", "purple", "orange", "pink", "brown", "gray", "cyan",
)  # fmt: skip
POINTS = 4
"""Points a side in each patch."""
_NOTHING_WEIGHT = 0.2
"""Most of an image is table and wall."""
_OFFSET_UNIT = 0.1
"""Offsets are learned in tenths of the image's side."""
_HAND = 0.2
"""Points of the robot that are nearer to the gripper than this tell where it is."""


def names_of_points(images: Images, row: int, grid: int) -> Int[np.ndarray, "grid grid 2"]:
    """(kind, colour) as indices into KINDS and COLOURS at a `grid` × `grid` of points."""
    owners = images.owners[row]
    step = owners.shape[0] // grid
    owners = owners[step // 2 :: step, step // 2 :: step]
    table = [(KINDS.index(kind), COLOURS.index(colour)) for kind, colour in _kinds(images, row)]
    table += [(0, 0)] * (127 - len(table)) + [(1, 0), (0, 0)]  # −2 is the robot, −1 nothing
    return np.array(table, dtype=np.int64)[owners]


def middles_of_points(images: Images, row: int, grid: int) -> Float32[np.ndarray, "grid grid 2"]:
    """From each point to the middle of what is seen there (of the robot: the gripper), in shares of the sides.

    NaN where there is nothing.
    """
    owners = images.owners[row]
    step = owners.shape[0] // grid
    along = (np.arange(grid) * step + step // 2 + 0.5) / owners.shape[0]
    owners = owners[step // 2 :: step, step // 2 :: step]
    offsets = np.full((grid, grid, 2), np.nan, np.float32)
    points = np.stack(np.meshgrid(along, along), axis=-1).astype(np.float32)
    things = owners >= 0
    offsets[things] = images.places[row][owners[things]] - points[things]
    hands = np.flatnonzero(images.names[row] == GRIPPER)
    if len(hands):
        off = images.places[row][hands[0]] - points
        near = (owners == ROBOT) & (np.abs(off).max(axis=-1) < _HAND)
        offsets[near] = off[near]
    return offsets


def _kinds(images: Images, row: int) -> list[tuple[str, str]]:
    return [
        kind_and_colour(name) if name.count("_") == 2 else ("nothing", "none")
        for name in map(str, images.names[row])
    ]


class NamingHead(nn.Module):
    """Visual tokens → what is at POINTS × POINTS points of each patch. Thrown away in the end."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.out = nn.Linear(hidden_size, POINTS * POINTS * (len(KINDS) + len(COLOURS) + 2))

    def forward(
        self,
        prefix: Float[Tensor, "batch patches hidden"],
        points: Int[Tensor, "batch rows columns 2"],
        middles: Float[Tensor, "batch rows columns 2"],
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss; how often kind and colour are right where there is a thing, how far middles are off."""
        batch, rows = points.shape[:2]
        patches = rows // POINTS
        scores = self.out(prefix[:, : patches * patches]).unflatten(-1, (POINTS, POINTS, -1))
        # token (i, j), point (a, b) of it → point (POINTS·i + a, POINTS·j + b) of the image
        scores = (
            scores.unflatten(1, (patches, patches)).permute(0, 1, 3, 2, 4, 5).reshape(batch, rows, rows, -1)
        )
        kinds, colours, offsets = scores.split((len(KINDS), len(COLOURS), 2), dim=-1)
        weight = torch.ones(len(KINDS), device=prefix.device)
        weight[0] = _NOTHING_WEIGHT
        loss = cross_entropy(kinds.flatten(0, 2), points[..., 0].flatten(), weight=weight)
        numbers = {"naming_accuracy": 0.0, "middle_error": 0.0}
        things = points[..., 1] > 0
        if things.any():  # an empty table has no colours
            loss = loss + cross_entropy(colours[things], points[..., 1][things])
            right = (kinds.argmax(-1) == points[..., 0]) & (colours.argmax(-1) == points[..., 1])
            numbers["naming_accuracy"] = right[things].float().mean().item()
        numbers["naming_loss"] = loss.item()
        known = ~middles[..., 0].isnan()
        if known.any():
            off, true = offsets[known], middles[known] / _OFFSET_UNIT
            loss = loss + smooth_l1_loss(off, true, beta=0.1)
            numbers["middle_error"] = (off - true).norm(dim=-1).mean().item() * _OFFSET_UNIT
        return loss, numbers


assert NOTHING == -1  # names_of_points reads the owners' numbers from the table's end
