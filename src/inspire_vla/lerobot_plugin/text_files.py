"""The files of a text tokenizer: in a folder, or in memory as a checkpoint keeps them."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError, reason_of

Files = Mapping[str, bytes]
"""{path inside a folder: content}."""


def load_text_tokenizer(folder: str | Path) -> Any:
    """The tokenizer of transformers in a folder (or of the hub). Raises InspireError where there is none."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        tokenizer("left")  # a damaged entry of its configuration may show only when it is used
        return tokenizer
    except Exception as error:  # tokenizers raises plain Exceptions
        raise InspireError(f"No tokenizer can be loaded from {folder}: {reason_of(error)}.") from None


def pack(folder: str | Path) -> Files:
    """The files in a folder. `unpacked` is its inverse."""
    root = Path(folder)
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@contextmanager
def unpacked(files: Files) -> Iterator[Path]:
    """Files in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder, name)
            if not path.resolve().is_relative_to(Path(folder).resolve()):
                raise InspireError(f"A file's name leads out of its folder: {name!r}.")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield Path(folder)
