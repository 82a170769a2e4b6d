"""Two vision transformers that look at the same image; their patches are joined channel by channel."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inspire_vla.backbones.prismatic.config import PrismaticConfig, TowerConfig

MEANS = {"dino": (0.485, 0.456, 0.406), "siglip": (0.5, 0.5, 0.5)}
DEVIATIONS = {"dino": (0.229, 0.224, 0.225), "siglip": (0.5, 0.5, 0.5)}


class FusedTowers(nn.Module):
    """DINOv2 with registers and SigLIP, in timm's modules and so under the parameter names of the checkpoints.

    Prismatic takes the second-to-last block's output without the final norm. What comes after it is not built:
    it would cost memory, never get a gradient, and make distributed training look for it.
    """

    def __init__(self, config: PrismaticConfig) -> None:
        super().__init__()
        self.dino = _tower(config.dino, config)
        self.siglip = _tower(config.siglip, config)
        for name in ("dino", "siglip"):
            for what, values in (("mean", MEANS[name]), ("deviation", DEVIATIONS[name])):
                per_channel = torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
                self.register_buffer(f"{name}_{what}", per_channel, persistent=False)

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch patch channel"]:
        """Images in [0, 1] → patches; channels of DINOv2 first, then those of SigLIP."""
        dtype = self.dino.patch_embed.proj.weight.dtype
        dino = self.dino.forward_features(((images - self.dino_mean) / self.dino_deviation).to(dtype))
        siglip = self.siglip.forward_features(((images - self.siglip_mean) / self.siglip_deviation).to(dtype))
        return torch.cat([dino[:, self.dino.num_prefix_tokens :], siglip], dim=2)


def _tower(size: TowerConfig, config: PrismaticConfig) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=size.width,
        depth=size.blocks,
        num_heads=size.heads,
        mlp_ratio=(size.mlp_size + 0.5) / size.width,  # timm rounds down
        class_token=size.registers > 0,
        reg_tokens=size.registers,
        no_embed_class=size.registers > 0,
        init_values=1e-5 if size.registers else None,
        num_classes=0,
        global_pool="",
        final_norm=False,
    )
