"""`make install` finds a Python: scripts/find_python.sh."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "find_python.sh"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize("named", [False, True])
def test_a_python_of_pyenv_is_found_wherever_pyenv_is(tmp_path: Path, named: bool) -> None:
    root = tmp_path / ("elsewhere" if named else ".pyenv")
    python = root / "versions" / "3.12.99" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    (tmp_path / "empty").mkdir()
    environment = {"HOME": str(tmp_path), "PATH": str(tmp_path / "empty")}
    environment |= {"PYENV_ROOT": str(root)} if named else {}
    shell = shutil.which("sh")
    assert shell is not None
    result = subprocess.run(
        [shell, SCRIPT], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.strip() == str(python), result.stderr
