"""Sizes of a Prismatic VLM (arXiv 2402.07865), the architecture of OpenVLA and MiniVLA."""

from dataclasses import dataclass, field

from inspire_vla.backbones.hf_decoder import LanguageConfig


@dataclass
class TowerConfig:
    """Size of a vision transformer.

    Attributes:
        blocks: how many are run. Features come from the second-to-last block of the published towers, so this
            is one less than theirs.
        registers: register tokens; a class token comes with them (DINOv2). 0: neither (SigLIP).
    """

    width: int
    blocks: int
    heads: int
    mlp_size: int
    registers: int = 0


def dino_large() -> TowerConfig:
    """DINOv2 ViT-L/14 with four registers, less its last block."""
    return TowerConfig(width=1024, blocks=23, heads=16, mlp_size=4096, registers=4)


def siglip_so400m() -> TowerConfig:
    """SigLIP So400m/14, less its last block."""
    return TowerConfig(width=1152, blocks=26, heads=16, mlp_size=4304)


@dataclass
class PrismaticConfig:
    """The default is MiniVLA; `inspire convert` reads the sizes off the weights it converts.

    Attributes:
        image_size: images are resized to a square of so many pixels.
        action_ids_end: action codes take the token ids below this one, falling.
    """

    language: LanguageConfig = field(default_factory=LanguageConfig)
    dino: TowerConfig = field(default_factory=dino_large)
    siglip: TowerConfig = field(default_factory=siglip_so400m)
    image_size: int = 224
    patch_size: int = 14
    action_ids_end: int = 151921


def llama_2_7b(vocabulary_size: int = 32064) -> LanguageConfig:
    """Llama-2-7B as OpenVLA has it."""
    return LanguageConfig(
        family="llama",
        vocabulary_size=vocabulary_size,
        hidden_size=4096,
        mlp_size=11008,
        layers=32,
        heads=32,
        key_value_heads=32,
        rope_theta=10000.0,
        norm_eps=1e-6,
        longest=2048,
        tied=False,
    )
