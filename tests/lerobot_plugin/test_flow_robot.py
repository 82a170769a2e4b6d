"""The recipes of SmolVLA and π0.5 as their pages print them: a recording of an SO-101, a tiny model, three steps."""

import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.backbones import lerobot_flow
from tests.lerobot_plugin import so101
from tests.lerobot_plugin.test_your_robot import commands

from inspire_vla.action_tokenizers import Fast
from inspire_vla.cli import main
from inspire_vla.lerobot_plugin import training
from inspire_vla.lerobot_plugin.agent import load_policy

DOCS = Path(__file__).parents[2] / "docs"
TASK = "put the yellow brick in the white box"
TINY = ("--policy.device=cpu", "--policy.dtype=float32", "--batch_size=4", "--num_workers=0", "--steps=3")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("so101")
    so101.write_urdf(folder / "so101.urdf")
    so101.record(folder / "brick", TASK, episodes=8)
    arm = ["--urdf", str(folder / "so101.urdf"), "--tip", "gripper_frame_link"]
    assert main(["label", str(folder / "brick"), "--out", str(folder / "labelled"), *arm]) == 0
    return folder / "labelled"


@pytest.mark.parametrize("kind", ["smolvla", "pi05"])
@pytest.mark.timeout(900)  # it trains; a busy machine needs long
def test_the_recipe_runs_as_it_is_printed(
    kind: str, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = training.train

    def shortened(arguments: list[str], **options: object) -> None:
        original([*arguments, *TINY], **options)

    monkeypatch.setattr(training, "train", shortened)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "labelled").symlink_to(labelled)
    sizes = {"chunk_size": 50, "n_action_steps": 50}
    more: list[str] = []
    if kind == "smolvla":
        vlm = lerobot_flow.write_smolvlm(tmp_path / "vlm")
        lerobot_flow.save(lerobot_flow.smolvla(vlm, **sizes), tmp_path / "lerobot" / "smolvla_base")
    else:
        lerobot_flow.bos_text().save_pretrained(tmp_path / "google" / "paligemma-3b-pt-224")
        lerobot_flow.save(lerobot_flow.pi05(**sizes), tmp_path / "lerobot" / "pi05_base")
        more = [
            "--head-size",
            "8",
            "--vision-heads",
            "2",
        ]  # unlike the published sizes, not to be seen in weights
    monkeypatch.setattr(
        Fast, "fit", partial(Fast.fit, vocabulary_size=256)
    )  # as many ids as a tiny model lends
    page = DOCS / "families" / f"{kind}.md"
    (with_codes,) = (line for line in page.read_text(encoding="utf-8").splitlines() if "runs/codes" in line)
    for command, *words in [*commands(page)[:2], shlex.split(with_codes)]:
        assert command == "inspire"
        assert main([*words, *more] if words[0] == "convert" else words) == 0, words
    for name, action_tokenizer in (("inspire", None), ("codes", "fast")):
        agent = load_policy(tmp_path / "runs" / name)
        assert agent.config.action_tokenizer == action_tokenizer
        images = {name: np.zeros((48, 64, 3), np.uint8) for name in ("front", "wrist")}
        decision = agent.act({"pixels": images, "agent_pos": np.zeros(6)}, TASK)
        assert decision.mentions == ("the yellow brick", "the white box")
        assert decision.actions.shape == (50, 6)
        assert np.isfinite(decision.actions).all()
