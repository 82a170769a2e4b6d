"""A policy that begins with a grounding pre-training: what it takes over, what stays fresh, what is refused."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.lerobot_plugin.tiny_runs import TINY, run

from inspire_vla.backbones.nano import Nano, NanoConfig
from inspire_vla.errors import InspireError
from inspire_vla.grounding.pretraining import CONFIG, WEIGHTS, PretrainingConfig, make_backbone
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.build_model import load_pretrained

NANO = NanoConfig(hidden_size=32, layers=2, heads=2, mlp_size=48, stem_width=4)


def pretrained(folder: Path, nano: NanoConfig = NANO) -> Path:
    """A folder as `inspire pretrain` leaves it, with weights that are easy to recognise."""
    import json

    from safetensors.torch import save_file

    folder.mkdir()
    plan = PretrainingConfig(nano=nano, image_size=32)
    torch.manual_seed(5)
    state = {name: value.contiguous() for name, value in make_backbone(plan).state_dict().items()}
    save_file(state, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(asdict(plan)))
    return folder


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoints" / "last" / "pretrained_model" / "model.safetensors")


def test_eyes_are_taken_over_and_stay_as_they_are(labelled_dataset, tmp_path):
    start = pretrained(tmp_path / "start")
    out = run(
        labelled_dataset, tmp_path / "run", "--steps=2", "--save_freq=2",
        f"--policy.pretrained_init={start}", "--policy.freeze_vision=true",
    )  # fmt: skip
    before, after = load_file(start / WEIGHTS), weights(out)
    for name, value in before.items():
        same = after[f"backbone.{name}"][: len(value)] if value.ndim else after[f"backbone.{name}"]
        if name.startswith(("stem", "place")):
            assert torch.equal(same, value), name
        else:
            assert torch.allclose(same, value, atol=0.05), name  # two steps at a low rate
    moved = [n for n, v in before.items() if not torch.equal(after[f"backbone.{n}"][: len(v)], v)]
    assert any("decoder.layers" in name for name in moved)


def test_every_image_begins_with_the_position_embedding_of_the_single_one(tmp_path):
    """As with a camera at the wrist, or with earlier images."""
    start = pretrained(tmp_path / "start")
    plan = PretrainingConfig(nano=NANO, image_size=32)
    single = make_backbone(plan)
    several = Nano(
        NANO, text_tokenizer=single.text_tokenizer, vocabulary_size=single.vocabulary_size, cameras=2,
        image_size=(32, 32), state_dim=3,
    )  # fmt: skip
    fresh = several.place.detach().clone()
    load_pretrained(several, start)
    several.freeze_vision()
    place = load_file(start / WEIGHTS)["place"]
    assert torch.equal(several.place[:1], place)
    assert torch.equal(several.place[1:], place + fresh[1:])
    assert several.place.requires_grad
    assert not any(weight.requires_grad for weight in several.stem.parameters())
    load_pretrained(single, start)
    single.freeze_vision()
    assert not single.place.requires_grad


def test_a_checkpoint_needs_its_start_no_more(labelled_dataset, tmp_path):
    import shutil

    start = pretrained(tmp_path / "start")
    out = run(
        labelled_dataset, tmp_path / "run", "--steps=1", "--save_freq=1", f"--policy.pretrained_init={start}"
    )
    shutil.rmtree(start)
    policy = load_policy(out).policy
    saved = weights(out)
    assert all(torch.equal(value, saved[name]) for name, value in policy.state_dict().items())


def test_another_size_is_refused(labelled_dataset, tmp_path):
    other = pretrained(tmp_path / "start", NanoConfig(16, 2, 2, 48, 4))
    with pytest.raises(InspireError, match="does not fit"):
        run(labelled_dataset, tmp_path / "run", "--steps=1", f"--policy.pretrained_init={other}")


def test_a_folder_without_weights_is_refused(labelled_dataset, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InspireError, match="inspire pretrain"):
        run(labelled_dataset, tmp_path / "run", "--steps=1", f"--policy.pretrained_init={tmp_path / 'empty'}")
    assert "--policy.pretrained_init=null" in TINY
