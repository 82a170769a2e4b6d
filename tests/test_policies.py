"""Checkpoints as agents, and what a run records about them."""

import json
import subprocess
import sys

import pytest
import torch

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.checkpoints import find, settings_sha256
from inspire_vla.policies import as_begun, describe, load_agent


def test_a_checkpoint_is_found_in_what_training_wrote(checkpoint):
    inner = checkpoint / "checkpoints" / "last" / "pretrained_model"
    assert find(checkpoint) == inner
    assert find(inner) == inner
    description = describe(checkpoint)
    assert (description["name"], description["image_size"], description["cameras"]) == (
        "InSpire",
        96,
        ["image"],
    )
    assert describe(checkpoint, "other")["name"] == "other"
    assert description["checkpoint"] == "mine"


@pytest.mark.parametrize("chosen", [False, True])
def test_nano_acts_in_one_thread_unless_a_number_was_chosen(chosen, monkeypatch):
    """Several wait for each other where another program needs a core too."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS")
    if chosen:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    try:
        torch.set_num_threads(2)
        load_agent("nano_base")
        assert torch.get_num_threads() == (2 if chosen else 1)
    finally:
        torch.set_num_threads(before)


def test_what_decides_the_actions_besides_the_weights_identifies_a_checkpoint(checkpoint):
    """So that a run is not continued after `n_action_steps` was edited, or with other statistics."""
    inner, same = find(checkpoint), describe(checkpoint)
    config = json.loads((inner / "config.json").read_text())
    (inner / "config.json").write_text(json.dumps(config | {"device": "cuda", "repo_id": "me/mine"}))
    assert describe(checkpoint) == same
    seen = {same["settings_sha256"]}
    (inner / "config.json").write_text(json.dumps(config | {"n_action_steps": config["n_action_steps"] - 1}))
    seen.add(describe(checkpoint)["settings_sha256"])
    for name in ("policy_preprocessor.json", *(path.name for path in inner.glob("policy_postprocessor_*"))):
        (inner / name).write_bytes((inner / name).read_bytes() + b" ")
        seen.add(describe(checkpoint)["settings_sha256"])
    assert len(seen) == 4
    assert describe(checkpoint)["sha256"] == same["sha256"]


def test_where_the_first_weights_lay_is_no_setting(checkpoint, tmp_path):
    """So that a copy of an experiment's folder goes on with the evaluations that were begun."""
    inner, before = find(checkpoint), describe(checkpoint)
    config = json.loads((inner / "config.json").read_text())
    (inner / "config.json").write_text(json.dumps(config | {"pretrained_init": "/elsewhere/grounding"}))
    assert describe(checkpoint) == before
    assert as_begun(before, checkpoint, tmp_path) == before
    earlier = settings_sha256(inner, counts_init=True)  # as earlier versions recorded it
    assert earlier != before["settings_sha256"]
    for recorded, taken in ((earlier, earlier), ("0" * 64, before["settings_sha256"])):
        (tmp_path / "run.json").write_text(json.dumps({"policy": {"settings_sha256": recorded}}))
        assert as_begun(before, checkpoint, tmp_path) == before | {"settings_sha256": taken}


def test_a_broken_checkpoint_is_refused(checkpoint, tmp_path):
    inner = find(checkpoint)
    (inner / "model.safetensors").unlink()
    with pytest.raises(InspireError, match=r"model\.safetensors is missing"):
        find(checkpoint)
    (inner / "model.safetensors").write_bytes(b"")
    (inner / "config.json").write_text('{"type": "act"}', encoding="utf-8")
    with pytest.raises(InspireError, match="type 'act'"):
        describe(checkpoint)
    (inner / "config.json").unlink()
    with pytest.raises(InspireError, match=r"no config\.json"):
        find(checkpoint)


def test_workers_import_no_command() -> None:
    """A worker process makes its benchmark and its agent from these factories."""
    code = (
        "import sys; from inspire_vla.benchmarks import select; "
        "from inspire_vla.policies import agent_factory, describe; "
        "select(['seen'], describe('nano_base')).factory(); agent_factory('nano_base')(); "
        "print('inspire_vla.cli' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "False"
