"""Work on disk: atomic writes, folder locks, and JSON read against a schema. All files are written through here."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from inspire_vla.errors import GO_ON, InspireError, MachineFault, is_machine_fault, reason_of

if TYPE_CHECKING:  # else where they are used: the model code runs without pydantic, `--help` without numpy
    import numpy as np
    from pydantic import ValidationError


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`, a file or a folder to make, and rename it to `target` at the end.

    Whoever looks at `target` finds the old content or all of the new, never a part. On an error the temporary path is
    removed and `target` stays as it was. A file is synced to the disk before it is renamed. A folder that exists
    already is replaced only when the new one is complete. A file never replaces a folder.

    Raises:
        InspireError: the disk is full, the path cannot be written, or a file was made and `target` is a folder.
    """
    target = Path(target)
    partial = target.with_name(f".{target.name}.partial")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove(partial)
        try:
            yield partial
            _replace(partial, target)
        finally:
            remove(partial)


def write_text(target: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")


def write_json(target: str | Path, data: Any, *, indent: int | None = 1) -> None:
    """Write `data` as a UTF-8 JSON file atomically."""
    write_text(target, json.dumps(data, indent=indent, ensure_ascii=False) + "\n")


def write_arrays(target: str | Path, arrays: "Mapping[str, np.ndarray]", *, compressed: bool = False) -> None:
    """Write arrays as an .npz file atomically."""
    import numpy as np

    save = np.savez_compressed if compressed else np.savez
    with atomic_path(target) as path, open(path, "wb") as file:
        save(file, **arrays)  # type: ignore[arg-type]


MADE_AGAIN = "Delete it, and run the same command: it is made again."
"""What to do about a damaged file of work that goes on after an interruption."""


@contextmanager
def open_arrays(path: str | Path, *, remedy: str = "") -> "Iterator[Mapping[str, np.ndarray]]":
    """Open an .npz file; each array is read when it is asked for, and nothing is unpickled.

    Args:
        remedy: what a person can do about a damaged file, to end the message with.

    Raises:
        MachineFault: as `machine_faults`.
        InspireError: there is no such file, it is damaged, or it lacks an array or holds one of another form.
    """
    import numpy as np

    try:
        with machine_faults(path), np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except InspireError:
        raise
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InspireError(f"{path} is damaged ({reason_of(error)}).{remedy and ' ' + remedy}") from None


def check_readable(path: str | Path) -> None:
    """Raise InspireError, with the reason, for a file that cannot be opened: it is not damaged for that."""
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        kind = MachineFault if is_machine_fault(error) else InspireError
        raise kind(f"{path} cannot be read: {reason_of(error)}.") from None


def read_json[T](path: str | Path, schema: type[T]) -> T:
    """Read a JSON file as `schema`: a dataclass, a pydantic model, or a type such as `dict[str, Any]`.

    Raises:
        MachineFault: as `machine_faults`.
        InspireError: no such file, no JSON, or JSON of another form; names the file, the field and what was found.
    """
    from pydantic import TypeAdapter, ValidationError

    path = Path(path)
    try:
        with machine_faults(path):
            return TypeAdapter(schema).validate_json(path.read_bytes())
    except OSError as error:
        raise InspireError(f"{path} cannot be read: {reason_of(error)}.") from None
    except ValidationError as error:
        raise InspireError(f"{path} {describe(error)}") from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of keys with values; an empty one has none. Raises InspireError for a file of another kind."""
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InspireError(f"{path} cannot be read: {reason_of(error)}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InspireError(f"{path} is no YAML: {reason_of(error)}.") from None
    if not isinstance(content, dict):
        raise InspireError(f"{path} holds a {type(content).__name__}, where keys with values are needed.")
    return content


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file. A last line without its end, which a killed process leaves, is left out.

    Raises:
        InspireError: no such file, or a line that is no JSON object; names the line.
    """
    try:
        *lines, _unfinished = Path(path).read_bytes().split(b"\n")  # which may end within a character
    except OSError as error:
        raise InspireError(f"{path} cannot be read: {reason_of(error)}.") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InspireError(f"{path}, line {number} is no valid JSON: {reason_of(error)}.") from None
        if not isinstance(row, dict):
            raise InspireError(f"{path}, line {number}: a JSON object is needed, found {str(row)[:80]!r}.")
        rows.append(row)
    return rows


def append_json_line(path: str | Path, row: Mapping[str, Any]) -> None:
    """Append `row` to a JSON-lines file, which is made if it is missing.

    A last line without its end, which a killed process leaves, is removed: the row would become a part of it.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write((json.dumps(row) + "\n").encode())


def json_sha256(data: Any) -> str:
    """Return the SHA-256 of `data` written as JSON with sorted keys; what is no JSON value counts by its str()."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def media_sha256(path: str | Path, part: int = 1 << 20) -> str:
    """Return a hash of a file's size, its first and its last bytes: a quick check of a video of any length."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.sha256(str(size).encode())
        for start in (0, max(size - part, 0)):
            file.seek(start)
            digest.update(file.read(part))
    return digest.hexdigest()


def describe(error: "ValidationError") -> str:
    """Say in one sentence where data does not fit its schema."""
    first, *others = error.errors(include_url=False)
    if first["type"] == "json_invalid":
        return f"holds no valid JSON: {first['ctx']['error']}."
    refusal = first.get("ctx", {}).get("error")
    if isinstance(refusal, InspireError):  # by a check of the class itself
        return f"does not fit: {refusal}"
    field = ".".join(map(str, first["loc"])) or "the whole file"
    more = f" ({len(others)} more like it)" if others else ""
    return f"does not fit: {field}: {first['msg']}, found {str(first['input'])[:80]!r}{more}."


@contextmanager
def folder_lock(folder: str | Path, doing: str = "writing", *, wait: bool = False) -> Iterator[None]:
    """Hold `folder`, or a file, alone, so that two commands never write it at the same time. Works on every platform.

    The lock is a hidden file beside the folder, removed at the end. The system releases it when the process ends,
    however it ends.

    Args:
        wait: whether to wait for another process that holds it.

    Raises:
        InspireError: another process holds it, unless `wait`.
    """
    folder = Path(os.path.realpath(folder))  # one lock for a folder and the links to it
    made = [parent for parent in folder.parents if not parent.exists()]
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.with_name(f".{folder.name}.lock"))
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except filelock.Timeout:
            raise InspireError(
                f"Another process is {doing} {folder}. Wait for it, or give another folder."
            ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file; filelock removes it there on release
            os.unlink(lock.lock_file)
        lock.release()
        with suppress(OSError):  # those that are still empty
            for parent in made:
                parent.rmdir()


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn an OSError while writing `target` (full disk, no permission) into a MachineFault."""
    try:
        yield
    except OSError as error:
        raise MachineFault(f"Cannot write {target}: {reason_of(error)}. {GO_ON}") from error


@contextmanager
def machine_faults(path: str | Path) -> Iterator[None]:
    """Turn a fault of the machine while reading `path` into a MachineFault, so that the file does not count as damaged.

    Other errors pass.
    """
    try:
        yield
    except InspireError:
        raise
    except Exception as error:
        if is_machine_fault(error):
            raise MachineFault(f"{path} cannot be read: {reason_of(error)}. {GO_ON}") from error
        raise


def check_folder(folder: str | Path) -> None:
    """Raise InspireError where a file stands in the place of a folder that is to be written, or of one above it."""
    for path in (Path(folder), *Path(folder).parents):
        if path.exists() and not path.is_dir():
            raise InspireError(f"{path} is a file, where a folder is needed. Give another folder.")


def check_new_folder(folder: str | Path) -> None:
    """Raise InspireError where `folder` holds something already, or a file stands in its place."""
    check_folder(folder)
    if Path(folder).is_dir() and any(Path(folder).iterdir()):
        raise InspireError(f"{folder} exists and is not empty. Give another folder.")


def check_file(target: str | Path, *suffixes: str) -> None:
    """Raise InspireError, before long work, where `target` cannot be written as a file whose name ends in a suffix.

    So no file of another kind is replaced.
    """
    target = Path(target)
    if target.is_dir():
        raise InspireError(f"{target} is a folder, where a file is needed. Give a file in it.")
    if target.suffix.lower() not in suffixes:
        raise InspireError(f"What is written ends in {' or '.join(suffixes)}, found {target.name!r}.")
    check_folder(target.parent)
    check_writable(target)


def check_writable(target: str | Path, needed: int = 0) -> None:
    """Check, before long work, that `target` can be written and that its disk has room.

    A file is created in the nearest folder above `target` that exists (in `target` itself, if it is one) and removed.

    Args:
        needed: bytes that must be free.

    Raises:
        InspireError: the folder is read-only, or there is less room.
    """
    target = Path(target)
    folder = next(path for path in (target, *target.absolute().parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise InspireError(f"{target} cannot be written: {reason_of(error)} ({folder}).") from None
    if free < needed:
        raise InspireError(
            f"The disk of {folder} has {free / 1e9:.2f} GB free; {target} needs at least {needed / 1e9:.2f} GB. Free "
            "some, or choose another folder."
        )


def files_below(folder: str | Path) -> list[Path]:
    """Return every file below a folder, sorted. Links to folders are followed.

    Raises:
        InspireError: a link leads to nothing, or to a folder that it is in, or a folder cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise InspireError(f"{error.filename} cannot be read: {reason_of(error)}.") from None

    files = []
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        for name in folders:
            link = os.path.join(parent, name)
            if os.path.islink(link) and Path(os.path.realpath(parent)).is_relative_to(os.path.realpath(link)):
                raise InspireError(f"{link} is a link to a folder that it is in.")
        files += [Path(parent, name) for name in names]
    broken = [path for path in files if not path.exists()]
    if broken:
        raise InspireError(f"{broken[0]} is a link to {os.readlink(broken[0])}, which does not exist.")
    return sorted(files)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _replace(partial: Path, target: Path) -> None:
    if partial.is_file():
        if target.is_dir():  # `--out runs` of a command that writes a page must not cost the runs
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
    if not target.is_dir():
        os.replace(partial, target)
        return
    earlier = target.with_name(f".{target.name}.earlier")
    remove(earlier)
    os.replace(target, earlier)
    os.replace(partial, target)
    remove(earlier)
