"""A labeller by what is written on a command line."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator

from inspire_vla.errors import InspireError
from inspire_vla.labels.from_demonstration import FromDemonstration
from inspire_vla.labels.labeller import Labeller
from inspire_vla.labels.own import FromFunction, FromTable
from inspire_vla.labels.privileged import PrivilegedColumns


def labeller_of(text: str) -> Labeller:
    """demonstration · truth · table:FILE · package.module:function (a callable, or something that makes a labeller).

    A package of the current folder is found too. Raises InspireError for anything else.
    """
    if text == "demonstration":
        return FromDemonstration()
    if text == "truth":
        return PrivilegedColumns()
    head, colon, rest = text.partition(":")
    if head == "table" and rest:
        return FromTable.read(rest)
    if not colon or not rest:
        raise InspireError(
            f"unknown labeller {text!r}. Possible: demonstration, truth, table:FILE, package.module:function."
        )
    try:
        with _current_folder_on_path():
            found = getattr(importlib.import_module(head), rest)
    except (ImportError, AttributeError) as error:
        raise InspireError(f"labeller {text!r} cannot be imported: {error}.") from None
    if isinstance(found, type):
        return found()
    return found if hasattr(found, "label") else FromFunction(found, text)


@contextlib.contextmanager
def _current_folder_on_path() -> Iterator[None]:
    """As `python -m` has it; the console script `inspire` has its own folder there instead."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
