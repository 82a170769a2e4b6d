"""`inspire demo` keeps to a folder of its own, and to a run for each choice of suites."""

from pathlib import Path

import pytest

from inspire_vla import policies
from inspire_vla.cli import demo, main
from inspire_vla.evaluation import EvaluationPlan


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders of demonstrations that the demo has begun with; it goes no further."""
    folders: list[Path] = []

    def collect(suite: str, count: int, dataset: Path, *, processes: int) -> None:
        folders.append(dataset)
        raise KeyboardInterrupt

    monkeypatch.setattr("inspire_vla.tabletop.collection.collect", collect)
    return folders


def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, begun: list[Path], capsys: pytest.CaptureFixture
) -> None:
    weights = tmp_path / "runs" / "training" / "weights"
    weights.parent.mkdir(parents=True)
    weights.write_text("mine", encoding="utf-8")
    assert main(["demo", "--out", str(tmp_path / "runs")]) == 2
    assert "['training']" in capsys.readouterr().err
    assert begun == []
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["training"]
    assert weights.read_text(encoding="utf-8") == "mine"
    assert main(["demo", "--out", str(weights)]) == 2


def test_its_own_folder_is_taken_again(tmp_path: Path, begun: list[Path]) -> None:
    for _ in range(2):
        assert main(["demo", "--out", str(tmp_path / "demo")]) == 130
    assert len(begun) == 2


def test_every_choice_of_suites_has_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: dict[str, tuple[str, ...]] = {}

    def evaluate(folder: Path, plan: EvaluationPlan, **_: object) -> None:
        played[folder.name] = plan.suites

    monkeypatch.setattr("inspire_vla.evaluation.evaluate", evaluate)
    about = policies.describe("nano_base", "base")
    for suites in (["seen", "unseen"], ["unseen", "seen"], ["tabletop_goal"]):
        demo._evaluate(tmp_path, "nano_base", about, suites, 1, 1)
    default = f"run_base_{about['sha256'][:8]}_1"
    assert set(played) >= {default, f"{default}_tabletop_goal"}
    assert played[f"{default}_tabletop_goal"] == ("tabletop_goal",)
    assert len(played) == len(set(played.values()))
