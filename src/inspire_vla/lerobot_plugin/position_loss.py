"""An auxiliary loss of training: where the objects are, in metres, regressed from the state before the action.

It is an arm of the experiment (docs/appendix/arms.md): supervision on positions, without a word about them. Nothing of
it is used when the policy acts.

Axes: R rows, K = max_objects, H hidden size of the backbone, F frames of the dataset.
"""

from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import skip_init

from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import OFFSET_COLUMN
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.simulator_state import offsets_of_frames


class PositionLoss(nn.Module):
    """A linear layer from a hidden state to `gripper_to_object_m` of the first K mentions.

    Targets are normalised: minus the mean of the dataset, divided by its standard deviation, for each axis. A loss of 1
    is that of a constant prediction. Objects without a known position do not count.

    Attributes:
        targets: (F, K, 3) of each frame of the dataset that is trained on, NaN where unknown. Not saved.
    """

    def __init__(self, hidden_size: int, max_objects: int) -> None:
        super().__init__()
        self.max_objects = max_objects
        # Zeros: no random number is drawn, so everything else is trained as without the loss.
        self.head = skip_init(nn.Linear, hidden_size, 3 * max_objects)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.targets: Tensor | None = None

    def read_targets(self, dataset_root: str | Path) -> None:
        """Take the targets from a dataset's privileged columns.

        Raises InspireError where it has none, or no frame with a known position.
        """
        if OFFSET_COLUMN not in LeRobotFiles.open(dataset_root).number_columns():
            raise InspireError(
                f"{dataset_root} has no column {OFFSET_COLUMN}, the targets of position_loss_weight. `inspire collect` "
                "and the importer of LIBERO write it. For another dataset set --policy.position_loss_weight=0."
            )
        offsets = torch.from_numpy(offsets_of_frames(dataset_root, self.max_objects))
        known = offsets[offsets.isfinite().all(-1)]
        if not len(known):
            raise InspireError(
                f"No frame of {dataset_root} has a known position of an object that is asked about."
            )
        deviation = known.std(0, correction=0).clamp(min=1e-6)
        self.targets = (offsets - known.mean(0)) / deviation

    def forward(self, states: Float[Tensor, "R H"], frames: Int[Tensor, " R"]) -> Float[Tensor, ""]:
        """The mean squared error over all objects with a known position.

        Args:
            states: the hidden states that predict the first action token.
            frames: LeRobot's `index` of each row.
        """
        if self.targets is None:
            raise InspireError("The position loss has no targets: the policy was made without a dataset.")
        targets = self.targets[frames.cpu()].to(states.device)
        known = targets.isfinite()
        predicted = self.head(states.to(self.head.weight.dtype)).unflatten(-1, (self.max_objects, 3))
        squared = torch.where(known, predicted - targets.nan_to_num(), 0.0).square()
        return squared.sum() / known.sum().clamp(min=1)
