"""An action tokenizer on disk: a JSON file with its settings and a safetensors file with its arrays.

The JSON is written last and holds the SHA-256 of the arrays, so a process killed between the two leaves the old pair
or a pair that `read` refuses.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.files import atomic_path, read_json, write_json

JSON_FILE = "action_tokenizer.json"
ARRAYS_FILE = "action_tokenizer.safetensors"
VERSION = 1


@dataclass(frozen=True)
class Record:
    """The JSON file."""

    version: int
    kind: str
    settings: dict[str, Any]
    arrays_sha256: str | None = None


def write(
    folder: str | Path, kind: str, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write the settings (JSON values) and arrays, of any shape, of a tokenizer of this kind into `folder`."""
    folder = Path(folder)
    record: dict[str, Any] = {"version": VERSION, "kind": kind, "settings": dict(settings)}
    if arrays:
        data = save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        record["arrays_sha256"] = hashlib.sha256(data).hexdigest()
        with atomic_path(folder / ARRAYS_FILE) as path:
            path.write_bytes(data)
    write_json(folder / JSON_FILE, record, indent=2)


def read_record(folder: str | Path) -> Record:
    """Read the JSON file in `folder`. Raises InspireError if it is missing, broken, or of another version."""
    path = Path(folder) / JSON_FILE
    if not path.is_file():
        raise InspireError(f"No action tokenizer in {folder}: {JSON_FILE} is missing.")
    record = read_json(path, Record)
    if record.version != VERSION:
        raise InspireError(f"{path} has version {record.version}, this release reads {VERSION}.")
    return record


def read(
    folder: str | Path, kind: str, names: tuple[str, ...] = ()
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the settings and the arrays `names` of a tokenizer of this kind.

    Raises:
        InspireError: another kind, missing or broken files, arrays that do not belong to the JSON.
    """
    record = read_record(folder)
    if record.kind != kind:
        raise InspireError(f"{folder} holds an action tokenizer of kind {record.kind!r}, not {kind!r}.")
    if not names:
        return record.settings, {}
    path = Path(folder) / ARRAYS_FILE
    try:
        data = path.read_bytes()
        arrays = load_arrays(data)
    except (OSError, SafetensorError, ValueError) as error:
        raise InspireError(f"{path} cannot be read: {reason_of(error)}.") from None
    if hashlib.sha256(data).hexdigest() != record.arrays_sha256:
        raise InspireError(
            f"{path} does not belong to the {JSON_FILE} beside it (digests differ); save it again."
        )
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InspireError(f"{path} lacks the arrays {missing}; found {sorted(arrays)}.")
    return record.settings, {name: arrays[name] for name in names}


def setting(settings: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """Return a setting. Raises InspireError if it is missing or of another type."""
    value = settings.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InspireError(f"Setting {name!r} of the action tokenizer is {value!r}, expected {kind}.")
    return value
