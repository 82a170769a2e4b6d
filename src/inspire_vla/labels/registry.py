"""Labellers by name: those of this package, and those of a user's module."""

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.function_labeller import FunctionLabeller
from inspire_vla.labels.labeller import Labeller
from inspire_vla.labels.simulator_state import PrivilegedLabeller
from inspire_vla.labels.table_labeller import TableLabeller


def get_labeller(text: str) -> Labeller:
    """Return the labeller that `inspire label --labeller` names.

    Args:
        text: demonstration; truth; table:FILE; or package.module:name of a function, a labeller or its class. A module
            in the current folder is found too.

    Raises:
        InspireError: another text, or a module that cannot be imported.
    """
    if text == "demonstration":
        return DemonstrationLabeller()
    if text == "truth":
        return PrivilegedLabeller()
    head, _, rest = text.partition(":")
    if not rest:
        raise InspireError(
            f"unknown labeller {text!r}. Possible: demonstration, truth, table:FILE, package.module:function."
        )
    if head == "table":
        return TableLabeller.read(rest)
    try:
        with _current_folder_first():
            imported = getattr(importlib.import_module(head), rest)
        if isinstance(imported, type):
            imported = imported()
    except Exception as error:  # of the user's code: any
        plain = isinstance(error, ImportError | AttributeError)
        why = ("" if plain else f"{type(error).__name__}: ") + reason_of(error, with_file=True)
        raise InspireError(f"labeller {text!r} cannot be imported: {why}.{_line_of(error, head)}") from error
    return imported if hasattr(imported, "label") else FunctionLabeller(imported, text)


def _line_of(error: Exception, module: str) -> str:
    """The line of the user's module at which an exception was raised, to end a message with."""
    lines = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if Path(f.filename).stem == module.rpartition(".")[2]
    ]
    return f" {lines[-1].filename}, line {lines[-1].lineno}." if lines else ""


@contextlib.contextmanager
def _current_folder_first() -> Iterator[None]:
    """Put the current folder first on sys.path, as `python -m` does and a console script does not.

    Behind the block it is the last one: a labeller that imports only when it is called finds its modules too, and none
    of them hides an installed one.
    """
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)
