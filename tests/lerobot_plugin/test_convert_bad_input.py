"""What cannot be converted: each error says what was found and what is possible, and no checkpoint is left."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.lerobot_plugin import sources

from inspire_vla.cli import main
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.convert import KINDS, Options, convert

Source = tuple[Path, Options]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    """One source of each kind; nobody writes into it."""
    found = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        options = getattr(sources, kind)(folder)
        found[kind] = (folder / "run" if (folder / "run").is_dir() else folder, options)
    return found


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "out"
    assert not (tmp_path / "out").exists()


def copied(source: Source, place: Path) -> Source:
    shutil.copytree(source[0], place / "source")
    return place / "source", source[1]


def edited(folder: Path, **changes: object) -> None:
    """config.json with other settings; None: without."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


@pytest.mark.parametrize(
    ("held", "asked", "told"),
    [
        ("openvla", "minivla", "holds a llama model: convert it as 'openvla', not 'minivla'"),
        (
            "openvla",
            "pi0fast",
            "holds a Prismatic model: convert it as 'openvla' or 'minivla', not as 'pi0fast'",
        ),
        ("openvla", "image_text", "holds a Prismatic model"),
        ("minivla", "openvla", "holds a qwen2 model: convert it as 'minivla', not 'openvla'"),
        ("minivla", "pi0fast", "no PaliGemma"),
        ("minivla", "image_text", r"is no image-text-to-text model.*found \['checkpoints', 'config.json'"),
        (
            "pi0fast",
            "openvla",
            "holds a π0-FAST policy of LeRobot: convert it as 'pi0fast', not as 'openvla'",
        ),
        ("pi0fast", "image_text", "convert it as 'pi0fast'"),
        ("image_text", "minivla", "model_type 'idefics3': convert it as 'image_text', not as 'minivla'"),
        ("image_text", "pi0fast", "convert it as 'image_text'"),
        ("smolvla", "pi05", "holds a SmolVLA policy of LeRobot: convert it as 'smolvla', not as 'pi05'"),
        ("pi05", "pi0fast", r"holds a π0\.5 policy of LeRobot: convert it as 'pi05'"),
    ],
)
def test_another_kind_is_recognised(
    made: dict[str, Source], held: str, asked: str, told: str, out: Path
) -> None:
    path, _ = made[held]
    options = replace(made[asked][1], heads=made[held][1].heads, vision_heads=made[held][1].vision_heads)
    with pytest.raises(InspireError, match=told):
        convert(asked, path, out, options=options)


def test_what_needs_no_conversion_is_said(made: dict[str, Source], tmp_path: Path, out: Path) -> None:
    path, options = copied(made["pi0fast"], tmp_path)
    edited(path, type="inspire_vla")
    with pytest.raises(InspireError, match=r"which --policy.path takes as it is: it is not converted"):
        convert("pi0fast", path, out, options=options)
    edited(path, type="act")
    with pytest.raises(InspireError, match="a LeRobot policy of type 'act'"):
        convert("pi0fast", path, out, options=options)
    (path / "adapter_config.json").write_text("{}")
    with pytest.raises(InspireError, match="an adapter that LoRA wrote: convert it as 'lora'"):
        convert("pi0fast", path, out, options=options)


@pytest.mark.parametrize("kind", ["openvla", "pi0fast", "image_text"])
def test_a_file_that_is_not_whole_is_told(
    made: dict[str, Source], kind: str, tmp_path: Path, out: Path
) -> None:
    path, options = copied(made[kind], tmp_path)
    shard = sorted(f for f in path.glob("*.safetensors") if not f.name.startswith("policy_"))[0]
    whole = shard.read_bytes()
    for cut in (len(whole) - 1, len(whole) // 2, 100, 4, 0):
        shard.write_bytes(whole[:cut])
        with pytest.raises(InspireError, match=rf"{shard.name} is not a whole file.*: {cut:,} bytes"):
            convert(kind, path, out, options=options)
    shard.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(InspireError, match=rf"{shard.name} is a pointer of Git LFS.*download it again"):
        convert(kind, path, out, options=options)


def test_a_missing_shard_is_told(made: dict[str, Source], tmp_path: Path, out: Path) -> None:
    path, options = copied(made["openvla"], tmp_path)
    names = [f"model-{n:05}-of-00002.safetensors" for n in (1, 2)]
    index = {"weight_map": {"a": names[0], "b": names[1], "c": names[1]}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    (path / names[1]).unlink()
    with pytest.raises(InspireError, match=rf"lacks 1 of the 2 files.*\['{names[1]}'\]"):
        convert("openvla", path, out, options=options)


@pytest.mark.parametrize("kind", KINDS)
def test_without_its_configuration_nothing_is_guessed(
    made: dict[str, Source], kind: str, tmp_path: Path, out: Path
) -> None:
    path, options = copied(made[kind], tmp_path)
    (path / "config.json").write_text("{")
    with pytest.raises(InspireError, match=r"config\.json holds no valid JSON"):
        convert(kind, path, out, options=options)
    (path / "config.json").unlink()
    told = "no image-text-to-text model" if kind == "image_text" else r"has no config\.json among \["
    with pytest.raises(InspireError, match=told):
        convert(kind, path, out, options=options)


def test_pi0fast_without_configuration_takes_what_is_given(made: dict[str, Source], tmp_path: Path) -> None:
    path, options = copied(made["pi0fast"], tmp_path)
    (path / "config.json").unlink()
    told = replace(options, cameras=("front",), action_dim=7, state_dim=8, chunk_size=4)
    assert convert("pi0fast", path, tmp_path / "out", options=told).complete


def test_missing_statistics_are_told(made: dict[str, Source], tmp_path: Path, out: Path) -> None:
    path, options = made["openvla"]
    with pytest.raises(InspireError, match=r"several datasets.*bridge_orig"):
        convert("openvla", path, out, options=replace(options, statistics=None))
    with pytest.raises(InspireError, match=r"'libreo'\. Did you mean 'libero'"):
        convert("openvla", path, out, options=replace(options, statistics="libreo"))
    path, options = copied((path, options), tmp_path)
    edited(path, norm_stats={"libero": {"action": {"mean": [0.0] * 7}}})
    with pytest.raises(InspireError, match=r"hold no q01 and q99: \['mean'\]"):
        convert("openvla", path, out, options=options)
    edited(path, norm_stats=None)
    with pytest.raises(InspireError, match=r"neither norm_stats .* nor dataset_statistics.json"):
        convert("openvla", path, out, options=options)
    (tmp_path / "other").mkdir()
    path, options = copied(made["pi0fast"], tmp_path / "other")
    statistics = next(path.glob("policy_*.safetensors"))
    statistics.write_bytes(statistics.read_bytes()[:-1])
    with pytest.raises(InspireError, match=f"{statistics.name} is not a whole file"):
        convert("pi0fast", path, out, options=options)
    statistics.unlink()
    with pytest.raises(InspireError, match=f"lacks {statistics.name}"):
        convert("pi0fast", path, out, options=options)


def test_another_number_of_images_is_told(made: dict[str, Source], out: Path) -> None:
    path, options = made["minivla"]
    with pytest.raises(InspireError, match=r"2 images, which 3 cameras.*possible numbers.*\[1, 2\]"):
        convert("minivla", path, out, options=replace(options, cameras=("a", "b", "c")))


def test_what_else_is_lacking_is_told(made: dict[str, Source], tmp_path: Path, out: Path) -> None:
    path, options = made["minivla"]
    with pytest.raises(InspireError, match="VQ weights"):
        convert("minivla", path, out, options=replace(options, vq=None))
    with pytest.raises(InspireError, match=r"neither \*\.safetensors nor.*'run'"):
        convert("minivla", path.parent, out, options=options)
    with pytest.raises(InspireError, match=r"There is no .*nowhere"):
        convert("minivla", tmp_path / "nowhere", out, options=options)
    with pytest.raises(InspireError, match="Did you mean 'openvla'"):
        convert("opnvla", path, out)
    with pytest.raises(InspireError, match="Did you mean 'float32'"):
        Options(dtype="float")
    path, options = copied((path, options), tmp_path)
    torch.save(Path(), path / "checkpoints" / "step-000001.pt")  # would run code
    with pytest.raises(InspireError, match="no plain file of tensors"):
        convert("minivla", path, out, options=options)
    torch.save({"weights": {}}, path / "checkpoints" / "step-000001.pt")
    with pytest.raises(InspireError, match=r"holds 'model' with .*; found \['weights'\]"):
        convert("minivla", path, out, options=options)


def test_an_existing_checkpoint_is_kept(made: dict[str, Source], tmp_path: Path) -> None:
    path, options = made["openvla"]
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InspireError, match="exists and is a file"):
        convert("openvla", path, file, options=options)
    with pytest.raises(InspireError, match="exists and is not empty"):
        convert("openvla", path, tmp_path, options=options)
    assert file.read_text() == "mine"


def test_the_command_prints_it_in_a_line(
    made: dict[str, Source], out: Path, capsys: pytest.CaptureFixture
) -> None:
    path, _ = made["openvla"]
    assert main(["convert", "--from", "pi0fast", str(path), "--to", str(out)]) != 0
    assert "convert it as 'openvla' or 'minivla'" in capsys.readouterr().err


def test_a_file_is_no_image_text_model(tmp_path: Path, out: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InspireError, match=r"no image-text-to-text model: .*\(no folder\)"):
        convert("image_text", tmp_path / "model.safetensors", out)
