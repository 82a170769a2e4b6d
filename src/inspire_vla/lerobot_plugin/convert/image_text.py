"""Any image-text-to-text model of transformers."""

from pathlib import Path

import torch
from safetensors import SafetensorError

from inspire_vla.action_tokenizers import UniformBins
from inspire_vla.backbones.hf_decoder import RenamedWeights
from inspire_vla.backbones.image_text import ImageTextConfig
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.convert.plan import Options, Plan, base_config


def image_text(path: Path, options: Options, scratch: Path) -> Plan:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    actions = UniformBins(horizon=options.chunk_size or 1, action_dim=options.action_dim or 7)
    try:
        processor = AutoProcessor.from_pretrained(options.tokenizer or path)
        model = AutoModelForImageTextToText.from_pretrained(
            path, use_safetensors=True, dtype=getattr(torch, options.dtype)
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        found = (
            f"found {sorted(child.name for child in path.iterdir())[:10]}" if path.is_dir() else "no folder"
        )
        raise InspireError(
            f"{path} is no image-text-to-text model: {str(error).splitlines()[0]} ({found})"
        ) from None
    if options.action_tokens == "added":
        model.resize_token_embeddings(len(processor.tokenizer) + actions.vocabulary_size)
    folder = scratch / "text"
    processor.save_pretrained(folder)
    model.config.save_pretrained(folder)
    config = base_config(
        "image_text", options, options.cameras or ("image",), actions.action_dim, actions, state_dim=0
    )
    config.image_text = ImageTextConfig(options.action_tokens)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    note = "No action was ever learned: fine-tune it."
    return Plan(config, actions, folder, RenamedWeights(state, (), ()), {}, [note], trained_on=())
