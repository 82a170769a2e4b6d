"""An option that the chosen source or branch would not use is refused, before any work."""

from dataclasses import fields
from pathlib import Path

import pytest

from inspire_vla.cli import label, main, parse
from inspire_vla.cli.options import chosen_policy
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.convert import KINDS, USED_BY, Options, convert

USED_BY_ALL = {"source", "out", "modes", "frame", "close_m", "no_grasped", "review"}
LABEL = {
    "labeller": "--labeller truth", "dry_run": "--dry-run", "in_place": "--in-place", "mentions": "--mentions m.json",
    "max_objects": "--max-objects 3", "min_confidence": "--min-confidence 0.5", "language_column": "--language-column",
    "position": "--position state:0,1,2", "width": "--width state:6", "gripper_command": "--command action:6",
    "arm": "--arm left", "open_is": "--open-is low", "metres_per_unit": "--metres-per-unit 0.001",
    "fingertips_below_m": "--fingertips-below-m 0.1", "urdf": "--urdf arm.urdf", "tip": "--tip hand",
    "joint_unit": "--joint-unit degrees", "calibration": "--calibration arm.json", "image_size": "--image-size 64",
    "keep_noops": "--keep-noops", "replay": "--replay",
    "mapping": "--mapping m.json", "processes": "--processes 2", "render": "--render fast", "scene": "--scene D",
}  # fmt: skip
"""Every option of `inspire label` that some source does not use, with a value that is not the default."""


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """What `inspire label` tells the kinds apart by. Nothing could be read from these."""
    dataset, libero, calvin = (tmp_path / name for name in ("dataset", "libero", "calvin"))
    for folder in (dataset / "meta", libero, calvin / "lang_annotations"):
        folder.mkdir(parents=True)
    (dataset / "meta/info.json").write_text("{}", encoding="utf-8")
    (libero / "a_demo.hdf5").touch()
    return {label.LEROBOT: dataset, label.LIBERO: libero, label.CALVIN: calvin}


def test_every_option_of_label_is_declared() -> None:
    groups = (label.Arguments, label.EndEffector, label.Import)
    names = {option.name for group in groups for option in fields(group)} - {"end_effector", "imported"}
    assert names == USED_BY_ALL | set().union(*label.USED_BY.values())
    assert set(LABEL) == names - USED_BY_ALL


@pytest.mark.parametrize("kind", label.USED_BY)
@pytest.mark.parametrize("name", LABEL)
def test_label_refuses_what_its_source_does_not_use(
    kind, name, sources, tmp_path, capsys, monkeypatch
) -> None:
    worked: list[str] = []
    for work in ("_import_libero", "_import_calvin", "_label"):
        monkeypatch.setattr(label, work, lambda *_, work=work: worked.append(work))
    where = [] if name in ("dry_run", "in_place") else ["--out", str(tmp_path / "out")]
    code = main(["label", str(sources[kind]), *where, *LABEL[name].split()])
    said = capsys.readouterr().err
    if name in label.USED_BY[kind]:
        assert (code, len(worked)) == (0, 1), said
    else:
        assert (code, worked) == (2, [])
        assert f"{kind} does not use {LABEL[name].split()[0]}; leave that out." in said


def test_calvins_images_keep_their_size(sources, tmp_path, capsys) -> None:
    command = ["label", str(sources[label.CALVIN]), "--out", str(tmp_path / "out"), "--scene", "D"]
    assert main([*command, "--image-size", "64"]) == 2
    assert "does not use --image-size; its images keep their sizes" in capsys.readouterr().err
    assert main([*command, "--image-size", "0"]) == 2
    assert "no language annotations" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("view . --timeline t.svg --episode 2", "--timeline does not use --episode"),
        ("view . --timeline t.svg --save e.rrd", "--timeline does not use --save"),
        ("view . --task a --most 3", "Showing one episode does not use --task, --most"),
        ("labels . --json --mode distance --review r.html", "--json does not use --mode, --review"),
        ("labels . --episodes 3", "without --figure does not use --episodes"),
        ("attention --figure --out x --episodes 5", "does not use --episodes"),
        ("attention --examples 3", "A call without --out, which draws no figure, does not use --examples"),
        ("reproduce --results-only --minutes 5 --jobs 2", "does not use --minutes, --jobs"),
        ("reproduce --results-only --dry-run", "does not use --dry-run"),
        ("convert w --from pi0fast --to x --gripper libero --vq v", "pi0fast does not use --vq, --gripper"),
        ("convert w --from openvla --to x --action-tokens reserved", "openvla does not use --action-tokens"),
        ("convert w --from lora --to x --allow-partial", "--from lora does not use --allow-partial"),
        ("serve --policy nano_base --mentions m.json", "base (nano_base) asks no questions"),
        ("evaluate --policy nano_base --mentions m.json --out o", "base (nano_base) asks no questions"),
    ],
)
def test_commands_refuse_what_they_would_ignore(command, said, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.json").write_text('{"lift it": [{"mention": "the cup"}]}', encoding="utf-8")
    assert main(command.split()) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["m.json"]


def test_a_key_is_for_a_server() -> None:
    with pytest.raises(InspireError, match="A checkpoint of --policy does not use --api-key-env"):
        chosen_policy(parse(["steer", "--api-key-env", "KEY"]), default="nano_inspire")


def test_every_kind_of_weights_declares_its_options() -> None:
    assert set(USED_BY) == {*KINDS, "lora"}
    known = {option.name for option in fields(Options)} | {"allow_partial"}
    assert set().union(*USED_BY.values()) == known


def test_a_chunk_that_the_vq_weights_do_not_have_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    from tests.lerobot_plugin import sources as published

    options = replace(published.minivla(tmp_path), chunk_size=3)
    with pytest.raises(InspireError, match=r"decode \d+ actions at once; leave out --chunk-size 3"):
        convert("minivla", tmp_path / "run", tmp_path / "out", options=options)
