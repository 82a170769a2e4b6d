"""Prismatic VLMs: MiniVLA (Qwen2.5) and OpenVLA (Llama-2) with fused DINOv2 and SigLIP towers."""

from inspire_vla.backbones.prismatic.backbone import MINIVLA, OPENVLA, LlamaText, Prismatic
from inspire_vla.backbones.prismatic.config import PrismaticConfig, TowerConfig, llama_2_7b
from inspire_vla.backbones.prismatic.weights import flat_checkpoint, map_weights, read_config

__all__ = [
    "MINIVLA",
    "OPENVLA",
    "LlamaText",
    "Prismatic",
    "PrismaticConfig",
    "TowerConfig",
    "flat_checkpoint",
    "llama_2_7b",
    "map_weights",
    "read_config",
]
