"""Arms in the results: each beside the method, and against what it differs from."""

import shutil
from dataclasses import replace
from pathlib import Path

from inspire_vla.experiment import Variant, read_preset, write_results
from inspire_vla.experiment.stages import finished_part

EVIDENCE = Path(__file__).parents[2] / "evidence" / "laptop_27_tasks"


def test_an_arm_stands_against_what_it_differs_from(tmp_path: Path) -> None:
    """With policies of the evidence in the place of arms: only their names matter here."""
    out = shutil.copytree(EVIDENCE, tmp_path / "laptop")
    whole = read_preset("laptop_27_tasks")
    arms = {
        "answers hidden": Variant(of="base", title="arm one"),
        "one object": Variant(of="base"),  # was never run
        "position": Variant(of="answers hidden", title="arm two"),
        "distance": Variant(of="one object"),
        "one step": Variant(seeds=2),
    }
    sweep = replace(whole.sweep, values=whole.sweep.values[:1]) if whole.sweep else None
    for policy in out.glob("runs/answers_hidden*_s0_*"):
        shutil.copytree(policy, policy.with_name(policy.name.replace("answers_hidden", "one_step")))
    for policy in out.glob("policies/answers_hidden*_s0"):
        shutil.copytree(policy, policy.with_name(policy.name.replace("answers_hidden", "one_step")))
    preset = replace(whole, seeds=(0, 1), sweep=sweep, controls=(), checkpoints=(), ablations=arms)
    part, left = finished_part(preset, out)
    assert list(part.ablations) == ["answers hidden", "position", "one step"]
    assert left == ["one object", "distance", "one step with training seed 1"]
    document = tmp_path / "page.md"
    document.write_text("<!-- measured: begin -->\n<!-- measured: end -->\n", encoding="utf-8")
    assert part.seeds_of("one step") == (0,)
    text = write_results(preset, out, document).read_text(encoding="utf-8")
    assert "arm one against base: unseen" in text
    assert "arm two against arm one: seen" in text
    assert "Not finished: one object, distance, one step with training seed 1." in text
