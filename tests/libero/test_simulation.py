"""One simulation at a time, which is closed at the end."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from inspire_vla.libero import installation
from inspire_vla.libero import simulation as module
from inspire_vla.libero.installation import LiberoMissing, explained_import, require_libero
from inspire_vla.libero.simulation import shared_simulation
from inspire_vla.libero.tasks import task_files


class Simulation:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_simulation_that_cannot_be_made_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(task_file: str, *, pixels: int | None, render: str) -> Simulation:
        if task_file == "broken":
            raise RuntimeError("no such task")
        return Simulation()

    monkeypatch.setattr(module, "make_simulation", make)
    monkeypatch.setattr(module, "_simulations", {})
    first = shared_simulation("one", 8)
    assert shared_simulation("one", 8) is first
    assert not first.closed
    with pytest.raises(RuntimeError):
        shared_simulation("broken", 8)
    other = shared_simulation("other", 8)
    assert (first.closed, other.closed) == (1, 0)
    assert shared_simulation("other", 16) is not other
    assert other.closed == 1
    assert shared_simulation("other", 16, "fast") is not shared_simulation("other", 16)


def test_a_configuration_of_an_installation_that_is_gone_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "libero"
    for name in ("bddl_files", "init_files", "assets"):
        (package / name).mkdir(parents=True)
    monkeypatch.setattr(installation, "bddl_folder", lambda: package / "bddl_files")
    monkeypatch.setattr(installation, "assets_here", lambda: True)
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path / "config"))
    file = tmp_path / "config" / "config.yaml"
    for found in (
        None,
        "no: [",
        "- a list",
        f"benchmark_root: {tmp_path}/gone\nbddl_files: x\ninit_states: y\n",
    ):
        if found is not None:
            file.write_text(found, encoding="utf-8")
        require_libero()
        assert f"benchmark_root: {package}\n" in file.read_text(encoding="utf-8")
    own = file.read_text(encoding="utf-8").replace("datasets: ", "datasets: /my")
    file.write_text(own, encoding="utf-8")
    require_libero()
    assert file.read_text(encoding="utf-8") == own, "a configuration that works is the user's"


def test_an_import_that_fails_says_what_to_install() -> None:
    with (
        pytest.raises(LiberoMissing, match=r"No module named 'robosuite_'.*`make libero`.*MUJOCO_GL=egl"),
        explained_import(),
    ):
        import robosuite_  # noqa: F401


@pytest.mark.parametrize("error", [AttributeError("no eglQueryString"), OSError("no libEGL.so.1")])
def test_so_does_one_of_a_library_that_is_missing(error: Exception) -> None:
    with pytest.raises(LiberoMissing, match=rf"cannot be imported: {error}\..*libegl1"), explained_import():
        raise error


@pytest.mark.libero
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_reset_that_fails_is_not_repeated_for_ever(
    recording: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    from robosuite.utils.errors import RandomizationError

    errors = [RandomizationError, error, MemoryError]

    def failing() -> None:
        raise errors.pop(0)

    monkeypatch.setattr(recording.env.env, "reset", failing)
    with pytest.raises(error):
        recording.env.reset()
    assert errors == [MemoryError], "objects that did not fit are placed again"


@pytest.mark.libero
def test_a_simulation_that_is_still_open_at_exit_prints_no_traceback() -> None:
    try:
        require_libero()
    except LiberoMissing as error:
        pytest.skip(str(error))
    path = task_files("libero_goal")[0]
    code = f"""
from inspire_vla.libero.simulation import require_libero, shared_simulation
from inspire_vla.libero.tasks import LiberoMissing, task_files
env = shared_simulation({str(path)!r}, 32)
print(env.sim.render(camera_name="agentview", width=32, height=32).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.stdout.endswith("(32, 32, 3)\n"), done.stderr
    assert "Traceback" not in done.stderr
    assert "macro" not in done.stderr, "what robosuite says to its developers"
