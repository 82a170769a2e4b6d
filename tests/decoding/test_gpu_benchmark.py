"""`make gpu` runs where there is only torch, transformers and timm, goes on where it stopped, and fills its page."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.py"
ABSENT = (
    "lerobot", "jaxtyping", "scipy", "pydantic", "datasets", "pyarrow", "mujoco", "gymnasium", "accelerate", "peft",
    "psutil", "matplotlib", "rich", "tyro", "av", "inspire_vla.lerobot_plugin", "inspire_vla.evaluation",
)  # fmt: skip
BARE = f"""
import runpy, socket, sys
for name in {ABSENT}:
    sys.modules[name] = None  # importing it fails
def refuse(*arguments):
    raise OSError("no network")
socket.socket.connect = refuse
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
FAMILIES = ("minivla", "pi05")
"""One that decodes action codes, and one with a flow expert."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("gpu")
    for name in [n for n in sys.modules if n.partition(".")[0] in ("gpu", "overhead")]:
        sys.modules.pop(name)


def settings(gpu: ModuleType, **changed: object):
    import torch

    given = {"tiny": True, "device": "cpu", "dtype": torch.float32, "depth": 1.0, "objects": (2,), "rows": 2}
    return gpu.Settings(**{**given, "deadline": float("inf"), **changed})


@pytest.mark.timeout(900)  # it loads torch and transformers again
def test_it_runs_with_torch_transformers_and_timm_alone(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    words = [
        "--tiny",
        "--rows=1",
        "--objects",
        "1",
        f"--out={out}",
        "--seconds=9999",
        "--limit=9999",
        "--families",
        *FAMILIES,
    ]
    command = [sys.executable, "-c", BARE, str(SCRIPT), *words]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    entries = json.loads(out.read_text())["entries"]
    assert list(entries) == [
        f"{family}/{kind}" for kind in ("decision", "cuda_graphs", "training") for family in FAMILIES
    ]
    assert not any("failed" in entry for entry in entries.values())
    measured = [name for name, entry in entries.items() if entry.get("complete")]
    assert measured == ["minivla/decision", "pi05/decision", "minivla/cuda_graphs"]
    assert "peft" in entries["pi05/training"]["skipped"]


@pytest.mark.parametrize("family", ["smolvla", "minivla", "pi0fast", "pi05", "openvla"])
def test_an_accepted_draft_costs_no_pass_and_a_rejected_one_costs_one(gpu: ModuleType, family: str) -> None:
    model = settings(gpu).model(family)
    timer = gpu.MethodTimer(model.backbone, model.grammar, model.flow)
    (row,) = gpu.time_rows(model, timer, [(0, 2)], per_question=1)
    passes = row["passes"]
    assert passes["speculative"] == passes["base"] == (1 if model.flow else 7 * model.size.horizon)
    assert row["wrong"]["passes"] == passes["base"] + 1
    assert passes["cached"] == passes["per_question"] == passes["base"] + 2
    assert not row["differ"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_step_changes_the_lora_alone(gpu: ModuleType, family: str) -> None:
    model = settings(gpu).model(family)
    steps = gpu.TrainingSteps(model, 2)
    trained = {name for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert steps.loss(True).item() != steps.loss(False).item()  # answers are in the loss
    assert len(list(steps.pairs(2))) == 2


def test_what_is_there_is_not_measured_again(gpu: ModuleType, tmp_path: Path) -> None:
    path, origin = tmp_path / "gpu.json", gpu.origin(settings(gpu), "c")
    results = gpu.Results(path, origin)
    gpu.measure(settings(gpu, rows=1), results, ["minivla"], ["decision"])
    first = json.loads(path.read_text())["entries"]["minivla/decision"]["rows"]
    path.write_text(path.read_text().replace('"complete": true', '"complete": false'))  # as if it was stopped
    again = gpu.Results(path, origin)
    gpu.measure(settings(gpu, rows=2), again, ["minivla"], ["decision"])
    entry = json.loads(path.read_text())["entries"]["minivla/decision"]
    assert entry["rows"][:1] == first
    assert len(entry["rows"]) == 2
    assert entry["complete"]
    with pytest.raises(gpu.InspireError, match="another commit"):
        gpu.Results(path, origin | {"commit": "d"})


def test_no_time_left_measures_nothing_and_a_failure_is_noted(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = gpu.Results(tmp_path / "gpu.json", gpu.origin(settings(gpu), "c"))
    gpu.measure(settings(gpu, deadline=0.0), results, ["minivla"], ["decision"])
    assert results.data["entries"] == {}

    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(gpu, "make", fail)
    gpu.measure(settings(gpu), results, FAMILIES, ["decision"])
    assert [entry["failed"] for entry in results.data["entries"].values()] == [
        "RuntimeError: out of luck"
    ] * 2


def test_the_page_holds_what_was_measured(gpu: ModuleType, tmp_path: Path) -> None:
    page = gpu.gpu_page
    text = page.DOCUMENT.read_text(encoding="utf-8")
    assert text.split(page.BEGIN)[1].split(page.END)[0].strip() == page.section(page.read(page.RESULTS))
    copy = tmp_path / "performance.md"
    copy.write_text(text, encoding="utf-8")
    page.write(tmp_path / "missing.json", copy)
    assert page.NOT_MEASURED in copy.read_text(encoding="utf-8")

    results = gpu.Results(tmp_path / "gpu.json", gpu.origin(settings(gpu), "0123456789abcdef"))
    gpu.measure(settings(gpu, rows=1), results, ["minivla"], ["decision", "training"])
    results.put("openvla/decision", failed="OutOfMemoryError: of 24 GiB")
    page.write(results.path, copy)
    written = copy.read_text(encoding="utf-8")
    assert page.NOT_MEASURED not in written
    for part in (
        "| 2 | no |",
        "OutOfMemoryError: of 24 GiB",
        "commit 0123456789ab,",
        "training step with LoRA",
    ):
        assert part in written
    page.write(tmp_path / "missing.json", copy)
    assert page.NOT_MEASURED in copy.read_text(encoding="utf-8")
