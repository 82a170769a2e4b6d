"""The published models, assembled from the original modules with random weights, for parity tests.

Facts: openvla/openvla prismatic/extern/hf/modeling_prismatic.py and Stanford-ILIAD/openvla-mini
prismatic/models/backbones/vision/dinosiglip_vit.py (timm VisionTransformer, second-to-last block through
`get_intermediate_layers`, channels fused, three-layer projector, patches behind the first text token).

With the original code and weights, make_parity_fixture.py makes a fixture of the published model.
"""

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

SIDE, PATCH = 28, 14


@dataclass
class Original:
    dino: nn.Module
    siglip: nn.Module
    projector: nn.Sequential
    language: PreTrainedModel

    @classmethod
    def random(
        cls, family: str, vocabulary: int, seed: int = 0, tied: bool = False, heads: int = 4
    ) -> "Original":
        torch.manual_seed(seed)
        common = {"img_size": SIDE, "patch_size": PATCH, "num_classes": 0, "depth": 3, "num_heads": 4}
        dino = VisionTransformer(**common, embed_dim=32, init_values=0.5, reg_tokens=4, no_embed_class=True)
        siglip = VisionTransformer(
            **common, embed_dim=24, mlp_ratio=3.7362, class_token=False, global_pool="map"
        )
        channels, hidden = 32 + 24, 32
        projector = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, hidden), nn.GELU(),
            nn.Linear(hidden, hidden),
        )  # fmt: skip
        sizes = {
            "vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": heads, "num_key_value_heads": 2 if family == "qwen2" and heads > 1 else heads,
            "pad_token_id": None,
            "tie_word_embeddings": tied, "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6 if family == "qwen2" else 1e4},
        }  # fmt: skip
        language = (
            Qwen2ForCausalLM(Qwen2Config(**sizes))
            if family == "qwen2"
            else LlamaForCausalLM(LlamaConfig(**sizes))
        )
        for module in (dino, siglip, projector, language):
            for parameter in module.parameters():
                nn.init.normal_(parameter, std=0.2)
        return cls(dino.eval(), siglip.eval(), projector.eval(), language.eval())

    @torch.no_grad()
    def logits(self, images: Tensor, ids: Tensor) -> Tensor:
        """(batch, image, 3, side, side) in [0, 1] and the whole text (batch, T) → (batch, 1 + patches + T − 1, V)."""
        batch = images.shape[0]
        images = images.flatten(0, 1)
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        inputs = (images - mean.view(3, 1, 1)) / deviation.view(3, 1, 1), (images - 0.5) / 0.5
        features = [
            tower.get_intermediate_layers(pixels, n=[len(tower.blocks) - 2])[0]
            for tower, pixels in zip((self.dino, self.siglip), inputs, strict=True)
        ]
        patches = self.projector(torch.cat(features, dim=2)).reshape(batch, -1, 32)
        text = self.language.get_input_embeddings()(ids)
        return self.language(inputs_embeds=torch.cat([text[:, :1], patches, text[:, 1:]], dim=1)).logits

    def checkpoint(self) -> dict:
        """The layout of openvla-mini's `.pt` files."""
        vision = {f"dino_featurizer.{k}": v for k, v in self.dino.state_dict().items()}
        vision |= {f"siglip_featurizer.{k}": v for k, v in self.siglip.state_dict().items()}
        return {
            "model": {
                "vision_backbone": vision,
                "projector": {f"projector.{k}": v for k, v in self.projector.state_dict().items()},
                "llm_backbone": {f"llm.{k}": v for k, v in self.language.state_dict().items()},
            }
        }

    def huggingface(self) -> dict[str, Tensor]:
        """The names in the safetensors of `openvla/openvla-7b`."""
        names = {0: "fc1", 2: "fc2", 4: "fc3"}
        state = {f"vision_backbone.featurizer.{k}": v for k, v in self.dino.state_dict().items()}
        state |= {f"vision_backbone.fused_featurizer.{k}": v for k, v in self.siglip.state_dict().items()}
        state = {k.replace(".gamma", ".scale_factor"): v for k, v in state.items()}
        for key, value in self.projector.state_dict().items():
            number, rest = key.split(".", 1)
            state[f"projector.{names[int(number)]}.{rest}"] = value
        return state | {f"language_model.{k}": v.clone() for k, v in self.language.state_dict().items()}
