"""A tokenizer on disk: one JSON file that says everything, one safetensors file for its arrays.

The JSON is written last and carries the digest of the arrays, so that a kill between the two leaves either
the old pair, or a pair that `load` refuses.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from inspire_vla.errors import InspireError

JSON_FILE = "action_tokenizer.json"
ARRAYS_FILE = "action_tokenizer.safetensors"
VERSION = 1


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write(
    folder: str | Path, kind: str, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write `settings` (JSON values) and `arrays` of a tokenizer of this kind into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {"version": VERSION, "kind": kind, "settings": dict(settings)}
    if arrays:
        data = save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        record["arrays_sha256"] = hashlib.sha256(data).hexdigest()
        _replace(folder / ARRAYS_FILE, data)
    _replace(folder / JSON_FILE, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())


def _read_record(folder: str | Path) -> dict[str, Any]:
    path = Path(folder) / JSON_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InspireError(f"No action tokenizer in {folder}: {JSON_FILE} is missing.") from None
    except (OSError, ValueError) as error:
        raise InspireError(f"{path} cannot be read as JSON: {error}.") from None
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        raise InspireError(f"{path} does not describe an action tokenizer: no 'kind'.")
    if record.get("version") != VERSION:
        raise InspireError(f"{path} has version {record.get('version')!r}, this release reads {VERSION}.")
    if not isinstance(record.get("settings"), dict):
        raise InspireError(f"{path} has no 'settings'.")
    return record


def read_kind(folder: str | Path) -> str:
    """The kind of the tokenizer in `folder`."""
    return _read_record(folder)["kind"]


def read(
    folder: str | Path, kind: str, names: tuple[str, ...] = ()
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Settings and the arrays `names` of a tokenizer of this kind.

    Raises:
        InspireError: another kind, missing or broken files, arrays that do not belong to the JSON.
    """
    record = _read_record(folder)
    if record["kind"] != kind:
        raise InspireError(f"{folder} holds an action tokenizer of kind {record['kind']!r}, not {kind!r}.")
    if not names:
        return record["settings"], {}
    path = Path(folder) / ARRAYS_FILE
    try:
        data = path.read_bytes()
        arrays = load_arrays(data)
    except (OSError, SafetensorError, ValueError) as error:
        raise InspireError(f"{path} cannot be read: {error}.") from None
    if hashlib.sha256(data).hexdigest() != record.get("arrays_sha256"):
        raise InspireError(
            f"{path} does not belong to the {JSON_FILE} beside it (digests differ); save it again."
        )
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InspireError(f"{path} lacks the arrays {missing}; found {sorted(arrays)}.")
    return record["settings"], {name: arrays[name] for name in names}


def setting(settings: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """One setting of the expected type; raises InspireError."""
    value = settings.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InspireError(f"Setting {name!r} of the action tokenizer is {value!r}, expected {kind}.")
    return value
