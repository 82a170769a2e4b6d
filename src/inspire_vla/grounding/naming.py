"""What is at every point of the picture: the dense half of the pre-training, which the stem alone can learn.

A visual token is asked for the kind and the colour of what lies at each point of a grid within its own patch. So
identity and place get into the token before any language has to be understood; a published vision tower brings as much.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from inspire_vla.grounding.pictures import NOTHING, Pictures
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
"""Most of a picture is table and wall."""


def names_of_points(pictures: Pictures, row: int, grid: int) -> Int[np.ndarray, "grid grid 2"]:
    """(kind, colour) as indices into KINDS and COLOURS at a `grid` × `grid` of points."""
    owners = pictures.owners[row]
    step = owners.shape[0] // grid
    owners = owners[step // 2 :: step, step // 2 :: step]
    table = [(KINDS.index(kind), COLOURS.index(colour)) for kind, colour in _kinds(pictures, row)]
    table += [(0, 0)] * (127 - len(table)) + [(1, 0), (0, 0)]  # −2 is the robot, −1 nothing
    return np.array(table, dtype=np.int64)[owners]


def _kinds(pictures: Pictures, row: int) -> list[tuple[str, str]]:
    return [
        kind_and_colour(name) if name.count("_") == 2 else ("nothing", "none")
        for name in map(str, pictures.names[row])
    ]


class NamingHead(nn.Module):
    """Visual tokens → scores of kind and colour at POINTS × POINTS points of each patch. Thrown away in the end."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.out = nn.Linear(hidden_size, POINTS * POINTS * (len(KINDS) + len(COLOURS)))

    def forward(
        self, seen: Float[Tensor, "batch patches hidden"], points: Int[Tensor, "batch rows columns 2"]
    ) -> tuple[Tensor, float]:
        """Cross-entropy of kind plus colour, and how often both are right where there is a thing."""
        batch, rows = points.shape[:2]
        patches = rows // POINTS
        scores = self.out(seen[:, : patches * patches]).unflatten(-1, (POINTS, POINTS, -1))
        # token (i, j), point (a, b) of it → point (POINTS·i + a, POINTS·j + b) of the picture
        scores = (
            scores.unflatten(1, (patches, patches)).permute(0, 1, 3, 2, 4, 5).reshape(batch, rows, rows, -1)
        )
        kinds, colours = scores.split((len(KINDS), len(COLOURS)), dim=-1)
        weight = torch.ones(len(KINDS), device=seen.device)
        weight[0] = _NOTHING_WEIGHT
        loss = cross_entropy(kinds.flatten(0, 2), points[..., 0].flatten(), weight=weight)
        things = points[..., 1] > 0
        if not things.any():  # an empty table has no colours
            return loss, 0.0
        loss = loss + cross_entropy(colours[things], points[..., 1][things])
        right = (kinds.argmax(-1) == points[..., 0]) & (colours.argmax(-1) == points[..., 1])
        return loss, right[things].float().mean().item()


assert NOTHING == -1  # names_of_points reads the owners' numbers from the table's end
