"""The files of the tokenizers that a checkpoint's preprocessor holds as bytes: their names, and no code in them.

Names stay inside a folder. No configuration of transformers among them may name code or another model, because
transformers would load it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import safe_open

from inspire_vla.errors import InspireError
from inspire_vla.files import describe
from inspire_vla.lerobot_plugin.checkpoint_files import MAX_JSON, whole

TEXT, ACTIONS = "text_tokenizer", "action_tokenizer"
"""Folders of the files that the tokenizer step saves."""
_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".safetensors", ".tiktoken", ".md", ".jsonl")
_ONLY_DATA = ("tokenizer.json", "vocab.json", "added_tokens.json")
"""Files of words, which may be any words."""
_CODE_KEYS = ("auto_map", "trust_remote_code", "custom_pipelines", "audio_tokenizer", "quantization_config")
_ATTENTION = ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3")


def read_tokenizer_files(path: Path) -> dict[str, bytes]:
    """The files that the tokenizer step has saved, {path: content}. Raises InspireError for a damaged file."""
    files = {}
    with whole(path), safe_open(path, "numpy") as file:
        for name in file.keys():  # noqa: SIM118  safe_open is no dict
            content = file.get_slice(name)
            if content.get_dtype() != "U8" or len(content.get_shape()) != 1:
                raise InspireError(
                    f"{path}: {name!r} must be bytes, found {content.get_dtype()} {tuple(content.get_shape())}."
                )
            files[name] = file.get_tensor(name).tobytes()
    return files


def check_tokenizer_files(files: Mapping[str, bytes], source: object = "The preprocessor") -> None:
    """Check the names and the configurations among the tokenizers' files.

    Raises:
        InspireError: a name that leads out of its folder or is no data file, or a configuration that is damaged or
            names code.
    """
    for name, content in files.items():
        folder, _, inside = name.partition("/")
        if folder not in (TEXT, ACTIONS) or not _is_plain(inside):
            raise InspireError(
                f"{source} holds a file {name!r}; possible are data files in {TEXT}/ and {ACTIONS}/: "
                f"{', '.join(_SUFFIXES)}."
            )
        if folder == TEXT and inside.endswith(".json") and PurePosixPath(inside).name not in _ONLY_DATA:
            _check_configuration(content, f"{source}: {name}")


def _is_plain(name: str) -> bool:
    """Whether a relative path names a data file inside its folder."""
    parts = name.split("/")
    return name.endswith(_SUFFIXES) and all(re.fullmatch(r"[\w-][\w. -]*", part) for part in parts)


def _check_configuration(content: bytes, source: str) -> None:
    if len(content) > MAX_JSON:
        raise InspireError(f"{source} has {len(content):,} bytes; at most {MAX_JSON:,} are read.")
    try:
        data = TypeAdapter(dict[str, Any]).validate_json(content)
    except ValidationError as error:
        raise InspireError(f"{source} {describe(error)}") from None
    for key, value in code_names(data):
        raise InspireError(f"{source} has {key} {json.dumps(value)[:80]}: a checkpoint may not name code.")


def code_names(data: Any) -> Iterator[tuple[str, Any]]:
    """The entries of a configuration of transformers that can make it load code or another model."""
    if isinstance(data, dict):
        for key, value in data.items():
            names_class = key.endswith(("_class", "_type")) and isinstance(value, str)
            if (
                (key in _CODE_KEYS and value not in (None, False, {}))
                or (key.lstrip("_").startswith("attn_implementation") and not _is_attention(value))
                or (names_class and not re.fullmatch(r"[\w. -]*", value))
            ):
                yield key, value
            else:
                yield from code_names(value)
    elif isinstance(data, list):
        for value in data:
            yield from code_names(value)


def without_code_names(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The text tokenizer's files of a published model, without the entries that name code.

    Published models name their own code beside what transformers has (`auto_map`). It is never loaded here.
    """
    kept = dict(files)
    for name, content in files.items():
        if name.endswith(".json") and PurePosixPath(name).name not in _ONLY_DATA:
            data = json.loads(content)
            if any(code_names(data)):
                kept[name] = json.dumps(_without(data), indent=2).encode()
    return kept


def _without(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without(value) for key, value in data.items() if key not in _CODE_KEYS}
    return [_without(value) for value in data] if isinstance(data, list) else data


def _is_attention(value: Any) -> bool:
    """Whether a value chooses an attention of transformers, and no kernel of the hub."""
    if isinstance(value, dict):
        return all(map(_is_attention, value.values()))
    return value is None or value in _ATTENTION
