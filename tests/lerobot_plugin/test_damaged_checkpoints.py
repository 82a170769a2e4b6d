"""A fuzz of damaged checkpoints: each one loads, or is an InspireError that names the file. Nothing is run or written.

The damage is deterministic: every file is truncated, has bits flipped in its head, and every JSON value is removed or
becomes another type or an absurd size.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from inspire_vla.errors import InspireError
from inspire_vla.grounding.pretraining import load_weights
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.checkpoint_schema import check_training_state
from inspire_vla.lerobot_plugin.checkpoint_statistics import statistics_of
from inspire_vla.lerobot_plugin.checkpoints import SHIPPED
from inspire_vla.lerobot_plugin.configuration_inspire_vla import load_config
from inspire_vla.lerobot_plugin.convert.published import load_pt
from inspire_vla.lerobot_plugin.training import train
from inspire_vla.policies import describe

FILES = sorted(
    path.name for path in (SHIPPED / "nano_inspire").glob("*") if path.suffix in (".json", ".safetensors")
)
JSON = [name for name in FILES if name.endswith(".json") and name != "train_config.json"]
TENSORS = [name for name in FILES if name.endswith(".safetensors")]
ODD: tuple[Any, ...] = (None, "x", -1, 10**18, 1e300, [], {}, True)
"""Values of other types and of absurd sizes."""


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to each value in JSON data."""
    if path:
        yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def changed(data: Any, path: tuple[Any, ...], value: Any, *, remove: bool = False) -> bytes:
    copy = json.loads(json.dumps(data))
    inside = copy
    for key in path[:-1]:
        inside = inside[key]
    if remove:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return json.dumps(copy).encode()


def json_damage(content: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    data = json.loads(content)
    rng = np.random.default_rng(seed)
    found = list(places(data))
    for number in rng.permutation(len(found) * (len(ODD) + 1))[:count].tolist():
        place, odd = found[number // (len(ODD) + 1)], number % (len(ODD) + 1)
        if odd == len(ODD):
            yield f"without {place}", changed(data, place, None, remove=True)
        else:
            yield f"{place}={ODD[odd]!r}", changed(data, place, ODD[odd])
    for text in (b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"steps": 3}', b"[" * 100_000, b'{"a": ' * 50_000):
        yield f"whole file {text[:8]!r}", text


def byte_damage(content: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Truncations, and flipped bits in the head."""
    rng = np.random.default_rng(seed)
    for length in (0, 1, 7, 8, 9, len(content) // 2, len(content) - 1):
        yield f"first {length} bytes", content[:length]
    head = min(len(content), 8 + int.from_bytes(content[:8], "little"))
    for position in (*range(8), *rng.integers(8, head, count).tolist()):
        flipped = bytearray(content)
        flipped[position] ^= 1 << int(rng.integers(8))
        yield f"bit at {position}", bytes(flipped)


def inner_damage(path: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Damage to the files that the tokenizer step holds as bytes."""
    files = load_file(path)
    for seed, (name, array) in enumerate(files.items()):
        content = array.tobytes()
        cases = [("nothing", b""), ("half", content[: len(content) // 2]), ("text", b"no JSON")]
        if name.endswith(".json"):
            cases += list(json_damage(content, 14, seed))
        else:
            cases += list(byte_damage(content, 6, seed))
        for what, new in cases:
            yield f"{name} {what}", files | {name: np.frombuffer(new, np.uint8)}
        yield f"without {name}", {key: value for key, value in files.items() if key != name}
        yield f"{name} as float", files | {name: np.zeros(3, np.float32)}
    yield "no files", {"x": np.zeros(0, np.uint8)}


def statistics_damage(path: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    tensors = load_file(path)
    for name in ("observation.state.mean", "observation.state.std", "action.q01"):
        if name in tensors:
            yield f"without {name}", {key: value for key, value in tensors.items() if key != name}
            for what, value in (
                ("short", tensors[name][:1]),
                ("nan", tensors[name] * np.nan),
                ("text", np.zeros(8, np.uint8)),
            ):
                yield f"{name} {what}", tensors | {name: value}
    yield "odd name", tensors | {"mean": np.zeros(1, np.float32)}


def weights_damage(path: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    tensors = load_file(path)
    first = sorted(tensors)[0]
    yield "a tensor less", {key: value for key, value in tensors.items() if key != first}
    yield "a tensor more", tensors | {"more": np.zeros(1, np.float32)}
    yield "another shape", tensors | {first: tensors[first].reshape(-1)[:1]}
    yield "another type", tensors | {first: tensors[first].astype(np.int64)}
    yield "no tensors", {"x": np.zeros(1, np.float32)}


def cases() -> Iterator[tuple[str, str, bytes | dict[str, np.ndarray]]]:
    """(file, what is done to it, its new content)."""
    source = SHIPPED / "nano_inspire"
    for seed, name in enumerate(JSON):
        content = (source / name).read_bytes()
        for what, new in json_damage(content, 32, seed):
            yield name, what, new
    for seed, name in enumerate(TENSORS):
        for what, new in byte_damage((source / name).read_bytes(), 6, seed):
            yield name, what, new
    for name in TENSORS:
        damage = (
            weights_damage
            if name.startswith("model")
            else inner_damage
            if "tokenizer" in name
            else statistics_damage
        )
        for what, tensors in damage(source / name):
            yield name, what, tensors


def test_damaged_checkpoints_load_or_are_refused_by_name(tmp_path: Path) -> None:
    source, folder = SHIPPED / "nano_inspire", tmp_path / "damaged"
    tried = refused = 0
    for name, what, content in cases():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for other in FILES:
            if other != name:
                os.link(source / other, folder / other)
        if isinstance(content, dict):
            save_file(content, folder / name)
        else:
            (folder / name).write_bytes(content)
        tried += 1
        try:
            describe(folder)
            load_policy(folder, device="cpu")
        except InspireError:
            refused += 1
        except BaseException as error:
            raise AssertionError(f"{name}, {what}: {error!r}") from error
        assert sorted(os.listdir(tmp_path)) == ["damaged"], f"{name}, {what}"
    assert tried >= 250
    assert refused > tried // 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in FILES:
        if name == "train_config.json":
            continue
        folder = shutil.copytree(SHIPPED / "nano_inspire", tmp_path / name)
        (folder / name).unlink()
        with pytest.raises(InspireError, match=name.replace(".", r"\.")):
            load_policy(folder)


def test_a_damaged_state_of_a_training_is_refused(trained: Path, tmp_path: Path) -> None:
    whole = trained / "checkpoints" / "000003"
    check_training_state(whole)
    for path in sorted((whole / "training_state").iterdir()):
        copy = Path(shutil.copytree(whole, tmp_path / path.name))
        damaged = copy / "training_state" / path.name
        damaged.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(InspireError, match=path.name):
            check_training_state(copy)
        damaged.unlink()
        with pytest.raises(InspireError, match=path.name):
            check_training_state(copy)


@pytest.mark.parametrize(("name", "value", "told"), [
    ("image_size", [0, 0], "image_size is (height, width) in pixels"),
    ("n_action_steps", 99, "n_action_steps must lie between 1 and chunk_size 4, found 99."),
    ("device", "tpu", "Unknown device tpu."),
    ("nano", None, "nano: the value None has another form than it takes."),
    ("extra", 1, "The fields `extra` are not valid for InspireVLAConfig."),
])  # fmt: skip
def test_a_setting_of_a_checkpoint_that_is_not_possible_is_named(
    name: str, value: Any, told: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(SHIPPED / "nano_inspire", tmp_path / "mine")
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(settings | {name: value}), encoding="utf-8")
    with pytest.raises(InspireError) as refused:
        load_config(folder)
    assert f"config.json does not fit: {told}" in str(refused.value)


def test_what_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is said. Tests may run as a user who may read everything, so the system's refusal is stood in for."""
    (tmp_path / "weights.pt").touch()
    grounding = SHIPPED / "nano_grounding"
    reads = {
        SHIPPED / "nano_inspire" / "model.safetensors": lambda: load_policy("nano_inspire"),
        next((SHIPPED / "nano_inspire").glob("*_normalizer_*")): lambda: statistics_of(
            SHIPPED / "nano_inspire"
        ),
        grounding / "model.safetensors": lambda: load_weights(grounding),
        tmp_path / "weights.pt": lambda: load_pt(tmp_path / "weights.pt"),
    }

    def refuse(path: Any, *mode: Any) -> Any:
        if Path(path) in reads:
            raise PermissionError(13, "Permission denied", str(path))
        return open(path, *mode)

    monkeypatch.setattr("inspire_vla.files.open", refuse, raising=False)
    for path, read in reads.items():
        with pytest.raises(InspireError) as refused:
            read()
        assert str(refused.value) == f"{path} cannot be read: Permission denied."


def test_a_configuration_or_pretraining_that_is_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("[]", encoding="utf-8")
    for more in ([], ["--resume=true"]):
        with pytest.raises(InspireError, match=r"c\.json does not fit: the whole file"):
            train([f"--config_path={tmp_path / 'c.json'}", *more])
    folder = Path(shutil.copytree(SHIPPED / "nano_grounding", tmp_path / "grounding"))
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1])
    with pytest.raises(InspireError, match="not a whole file"):
        load_weights(folder)
