"""The costs in the documentation are those that the script computes."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_page_holds_what_the_script_says():
    costs = runpy.run_path(str(ROOT / "scripts" / "family_costs.py"))
    page = (ROOT / "docs" / "families" / "costs.md").read_text(encoding="utf-8")
    assert costs["tables"]() in page
    mini, open7, pi0, smol, pi05 = costs["families"]()
    assert open7.parameters == pytest.approx(
        7.54e9, rel=0.01
    )  # OpenVLA's card, less the two blocks that are never run
    assert pi0.parameters == pytest.approx(2.92e9, rel=0.01)
    assert smol.parameters == pytest.approx(450e6, rel=0.01)  # as SmolVLA's paper says
    assert pi05.parameters == pytest.approx(3.35e9, rel=0.02)  # PaliGemma and 430 million of the expert
    smallest, middle, _ = costs["CARDS"]
    assert costs["largest_batch"](mini, "LoRA, bfloat16", smallest) > 0  # as README recommends
    assert costs["largest_batch"](open7, "full, bfloat16 weights", middle) == 0
    assert (
        costs["weights"](mini, "act")
        < costs["weights"](mini, "LoRA, bfloat16")
        < costs["weights"](mini, "full, bfloat16 weights")
    )
