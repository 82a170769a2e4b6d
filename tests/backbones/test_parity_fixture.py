"""A backbone against a fixture of the original code; here with small random weights.

`python -m tests.backbones.test_parity_fixture CHECKPOINT parity.npz` compares a converted checkpoint.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from tests.backbones.make_parity_fixture import write
from tests.backbones.originals import Original
from tests.backbones.test_prismatic import converted
from tests.backbones.texts import qwen_text

from inspire_vla.backbones.attention import PREFIX, make_attention_mask
from inspire_vla.backbones.base import Backbone
from inspire_vla.dialogue import TokenType


@torch.no_grad()
def difference(model: Backbone, file: Path) -> float:
    """Largest difference of logits between a backbone and a fixture."""
    fixture = np.load(file)
    images = torch.from_numpy(fixture["images"]).permute(0, 3, 1, 2).float()[None] / 255
    ids, given = torch.from_numpy(fixture["input_ids"])[None], int(fixture["given"])
    first = getattr(model, "first_id", None)  # the images of Prismatic follow the first token
    if first is not None:
        assert ids[0, 0] == first
        ids = ids[:, 1:]
    prefix = model.encode_observation(images, None)
    token_types = (
        [PREFIX] * prefix.shape[1]
        + [TokenType.INSTRUCTION] * given
        + [TokenType.ACTION] * (ids.shape[1] - given)
    )
    mask = make_attention_mask(torch.tensor([token_types]), bidirectional_prefix=model.bidirectional_prefix)
    logits = model.logits(model.extend(torch.cat([prefix, model.embed(ids)], 1), attention_mask=mask))[0]
    return float((logits - torch.from_numpy(fixture["logits"])).abs().max())


def test_a_fixture_round_trips_and_shows_a_difference(tmp_path: Path) -> None:
    original = Original.random("qwen2", len(qwen_text()), tied=True)
    model = converted(original, "qwen2", "pt")
    shown = np.random.default_rng(0).integers(0, 255, (1, 28, 28, 3), dtype=np.uint8)
    ids = torch.randint(0, 500, (1, 9))
    ids[:, 0] = model.first_id
    logits = original.logits(torch.from_numpy(shown).permute(0, 3, 1, 2).float()[None] / 255, ids)[0]
    write(tmp_path / "parity.npz", shown, ids[0], 0, logits)
    assert difference(model, tmp_path / "parity.npz") < 1e-4
    write(tmp_path / "parity.npz", shown, ids[0], 0, logits + 0.01)
    assert difference(model, tmp_path / "parity.npz") > 1e-3


if __name__ == "__main__":
    from inspire_vla.lerobot_plugin.agent import load_policy

    checkpoint, file = sys.argv[1:]
    error = difference(load_policy(checkpoint, device="cpu").policy.backbone.eval(), Path(file))
    sys.exit(f"largest difference of logits: {error:.2g}" if error > 1e-4 else 0)
