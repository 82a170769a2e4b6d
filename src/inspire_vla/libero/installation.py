"""Where LIBERO is installed, and what is missing. LIBERO is not imported."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import yaml

from inspire_vla.errors import InspireError, MachineFault, reason_of
from inspire_vla.files import write_text


class LiberoMissing(MachineFault):
    """LIBERO, or a part of it, is not installed."""


def bddl_folder() -> Path:
    """Return the folder of the task files, which has a folder for each suite. Raises LiberoMissing."""
    package = find_spec("libero")
    for root in package.submodule_search_locations or () if package else ():
        folder = Path(root) / "libero" / "bddl_files"
        if folder.is_dir():
            return folder
    raise LiberoMissing("LIBERO is not installed. Install it with `make libero`.")


def require_libero() -> None:
    """Raise LiberoMissing, with what to do, unless LIBERO and its assets are installed.

    Without a configuration file LIBERO asks on the keyboard for the folders of its data, so this writes one first. One
    that names folders of an installation that is gone is replaced. Robosuite's advice about a private macro file, which
    every process would print, is dropped.
    """
    logging.getLogger("robosuite_logs").addFilter(_is_needed)
    package = bddl_folder().parent
    folder = Path(os.environ.get("LIBERO_CONFIG_PATH", Path.home() / ".libero"))
    if not _usable_config(folder / "config.yaml"):
        paths = {
            "benchmark_root": package,
            "bddl_files": package / "bddl_files",
            "init_states": package / "init_files",
            "datasets": package.parent / "datasets",
            "assets": package / "assets",
        }
        write_text(folder / "config.yaml", "".join(f"{name}: {path}\n" for name, path in paths.items()))
    if not assets_here():
        raise LiberoMissing(
            f"LIBERO's 3-D assets are missing ({package / 'assets'}). `make libero` downloads them from the "
            "Hugging Face hub, or links a copy from ../shared/libero."
        )


def _is_needed(record: logging.LogRecord) -> bool:
    return "macro" not in record.getMessage()


@contextmanager
def explained_import() -> Iterator[None]:
    """Turn a failing import of LIBERO, or of what it needs, into LiberoMissing, which says what to install."""
    try:
        yield
    except Exception as error:  # also an AttributeError or OSError, where OpenGL's library is missing
        raise LiberoMissing(
            f"LIBERO cannot be imported: {reason_of(error)}. `make libero` installs it with all that it needs; images "
            "also need MUJOCO_GL=egl with the system's EGL library (Debian: libegl1), or MUJOCO_GL=osmesa (libosmesa6)."
        ) from error


def _usable_config(file: Path) -> bool:
    try:
        paths = yaml.safe_load(file.read_text(encoding="utf-8"))
        return all(Path(paths[name]).is_dir() for name in ("benchmark_root", "bddl_files", "init_states"))
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return False


def assets_here() -> bool:
    """Return whether LIBERO and its assets are installed, without importing it."""
    try:
        folders = (bddl_folder().parent / "assets", Path.home() / ".cache/libero/assets")
    except InspireError:
        return False
    return any(any(folder.glob("*/*")) for folder in folders)  # hf-libero downloads to the second
