"""The wheel and the source archive of `make dist`: whole, small, and at work outside the repository."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from inspire_vla import __version__

REPOSITORY = Path(__file__).parents[1]
LARGEST = 30 * 2**20
BUILD = (sys.executable, "-m", "build", "--no-isolation")
TASK = "bowls__pick_up_the_red_mug_and_place_it_on_the_black_plate"


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder of a new wheel, which is built from a new source archive."""
    pytest.importorskip("build", reason="the package `build` is not installed")
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not in a checkout")
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run([*BUILD, "--outdir", out, REPOSITORY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def tracked(*folders):
    """Files that git knows, below folders of the repository."""
    listed = ["git", "-C", REPOSITORY, "ls-files", "-z", *folders]
    return set(subprocess.run(listed, capture_output=True, check=True).stdout.decode().split("\0")) - {""}


def test_the_wheel_is_small_and_holds_every_file_of_the_package(dist):
    (wheel,) = dist.glob("*.whl")
    assert wheel.name.startswith(f"lerobot_policy_inspire_vla-{__version__}-py3-none-any")
    assert wheel.stat().st_size < LARGEST
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {file.removeprefix("src/") for file in tracked("src")}


def test_the_source_archive_holds_what_is_needed_to_test_and_document_it(dist):
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    expected = tracked("src", "tests", "docs", "examples", "scripts", "evidence", "benchmarks")
    expected |= {
        "Makefile",
        "pyproject.toml",
        "constraints.txt",
        "CHANGELOG.md",
        "README.md",
        "LICENSE",
        "mkdocs.yml",
    }
    assert expected <= names


def test_the_version_is_semantic_and_the_changelog_has_a_place_for_what_comes():
    number = r"\d+\.\d+\.\d+"
    assert re.fullmatch(rf"{number}(-[\w.]+)?", __version__)
    headings = re.findall(r"^## (.+)$", (REPOSITORY / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert all(re.match(rf"\[?{number}", heading) for heading in headings[1:])


@pytest.fixture(scope="module")
def inspire(dist, tmp_path_factory):
    """A function that runs `inspire …` of the wheel, installed into a new environment, in a folder of its own.

    The environment sees the packages of this one, but not the editable installation of the repository.
    """
    root = tmp_path_factory.mktemp("clean")
    venv.create(root / "venv", with_pip=False, symlinks=True)
    python = root / "venv/bin/python"
    site = next((root / "venv/lib").glob("python3*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = dist.glob("*.whl")
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "-q",
        "--no-index",
        "--no-deps",
        wheel,
    ]
    # `pip` sees the repository's own installation through the .pth file; both may be there, the wheel's comes first.
    subprocess.run([*install, "--ignore-installed"], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words):
        command = [root / "venv/bin/inspire", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = [python, "-c", "import inspire_vla; print(inspire_vla.__file__)"]
    location = subprocess.run(
        where, capture_output=True, text=True, cwd=root, env=environment, check=True
    ).stdout
    assert Path(location.strip()).is_relative_to(site)
    run.root = root
    return run


@pytest.mark.e2e
def test_the_wheel_works_in_a_clean_environment(inspire):
    """`inspire doctor`, labels, and the acting part of the demo: the shipped pair on the same task."""
    assert __version__ in inspire("--version")
    assert "registered" in inspire("doctor")
    inspire("collect", "--suite", "tabletop_seen", "--episodes", "2", "--out", "demonstrations")
    inspire("label", "demonstrations", "--out", "labelled", "--labeller", "demonstration")
    labels = json.loads((inspire.root / "labelled/meta/inspire_labels.json").read_text("utf-8"))
    assert labels["tasks"]
    for policy in ("nano_base", "nano_inspire"):
        inspire(
            "evaluate", "--policy", policy, "--suite", "tabletop_seen", "--task", TASK, "--episodes", "1",
            "--workers", "1", "--out", policy,
        )  # fmt: skip
        (line,) = (inspire.root / policy / "episodes.jsonl").read_text("utf-8").splitlines()
        assert json.loads(line)["error"] is None
    assert "InSpire" in inspire("compare", "nano_base", "nano_inspire")
