"""The files of a checkpoint by their names, read whole or refused. Loads neither LeRobot nor torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.files import check_readable, read_json

CONFIG, ADAPTER_CONFIG, TRAIN_CONFIG = "config.json", "adapter_config.json", "train_config.json"
PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor.json", "policy_postprocessor.json"
WEIGHTS, ADAPTER_WEIGHTS = "model.safetensors", "adapter_model.safetensors"
MAX_JSON = 64 << 20
"""Bytes of the largest JSON file that is read. A tokenizer's vocabulary, the largest, has some 30 MB."""
_LFS = b"version https://git-lfs"


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """{tensor: shape} of a safetensors file, from its header. Raises InspireError where it is not whole."""
    with whole(path), safe_open(path, "numpy") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Turn what safetensors raises for a damaged file into an InspireError. One that cannot be read is not damaged."""
    _check_present(path)
    check_readable(path)
    try:
        yield
    except (SafetensorError, OSError, ValueError, TypeError, MemoryError) as error:
        if isinstance(error, InspireError):
            raise
        with path.open("rb") as opened:
            pointer = opened.read(len(_LFS)) == _LFS
        why = (
            "a pointer of Git LFS and not the file itself"
            if pointer
            else f"not a whole file ({reason_of(error)})"
        )
        raise InspireError(
            f"{path} is {why}: {path.stat().st_size:,} bytes. Copy or download it again."
        ) from None


def read_checkpoint_json[T](path: Path, schema: type[T]) -> T:
    """A JSON file that fits a schema. Raises InspireError for one that is missing, too large, or does not fit."""
    _check_present(path)
    if path.stat().st_size > MAX_JSON:
        raise InspireError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_JSON:,} are read.")
    return read_json(path, schema)


def _check_present(path: Path) -> None:
    try:
        present = path.is_file()
    except OSError as error:  # a folder that this user may not enter
        raise InspireError(f"{path} cannot be read: {reason_of(error)}.") from None
    if not present:
        raise InspireError(f"{path.parent} is not a whole checkpoint: {path.name} is missing.")
