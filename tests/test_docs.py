"""Every command of the documentation is one that `inspire` or LeRobot accepts."""

import re
import shlex
from pathlib import Path

import draccus
import pytest

import lerobot_policy_inspire_vla  # noqa: F401  registers the policy
from inspire_vla.cli import parse

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
HISTORY = ("protocol.md", "rounds.md", "results.md", "performance_details.md")
"""Pages with recorded commands, whose options are those of their commit."""


def commands_on(page: Path, program: str = "inspire") -> list[list[str]]:
    """Arguments of each call of a program in the page's code blocks; a line may continue after a backslash."""
    text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
    for name, words in re.findall(r"^    (\w+)=\(([^)]*)\)$", text, re.MULTILINE):  # arrays of the shell
        text = text.replace(f'"${{{name}[@]}}"', words)
    lines = re.findall(rf"^    ({program} .*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True)[1:] for line in lines if "…" not in line]


def for_lerobot_train(page: Path) -> list[list[str]]:
    """Words for lerobot-train in a page's commands: its own, and those after `--` of `inspire train`."""
    passed_on = [words[words.index("--") + 1 :] for words in commands_on(page) if "--" in words]
    return commands_on(page, "lerobot-train") + passed_on


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in HISTORY], ids=lambda p: p.name)
def test_commands_are_accepted(page: Path) -> None:
    for words in commands_on(page):
        parse(words)  # exits for what it does not know


def test_commands_are_found() -> None:
    assert sum(len(commands_on(page)) for page in PAGES) > 60


@pytest.mark.parametrize("page", [p for p in PAGES if for_lerobot_train(p)], ids=lambda p: p.name)
def test_lerobot_train_knows_the_options(page: Path) -> None:
    from lerobot.configs.train import TrainPipelineConfig

    for words in for_lerobot_train(page):
        options = [word for word in words if not word.startswith(("--policy.path=", "--policy.type="))]
        flow = any(".flow." in word for word in options)
        policy = ["--policy.type=inspire_vla", f"--policy.action_head={'flow' if flow else 'tokens'}"]
        draccus.parse(TrainPipelineConfig, args=["--dataset.repo_id=local/data", *policy, *options])


def test_every_promise_has_its_test() -> None:
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file} has no {test}"
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| Promise")]
    assert all("::test_" in row for row in rows)
