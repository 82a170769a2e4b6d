"""CALVIN's importer on synthetic files."""

import errno
import os
from dataclasses import replace

import numpy as np
import pytest
from tests.labels.calvin_split import write_split

from inspire_vla.cli import main
from inspire_vla.errors import InspireError, MachineFault
from inspire_vla.files import file_sha256
from inspire_vla.labels import calvin, imported_dataset
from inspire_vla.labels.calvin import import_calvin
from inspire_vla.labels.calvin_files import read_frame
from inspire_vla.labels.recorded import EpisodeReader


@pytest.fixture
def split(tmp_path):
    return write_split(tmp_path)


def change(path, name, values):
    """Let a frame hold other values; None leaves the array out."""
    with np.load(path) as arrays:
        others = {key: arrays[key] for key in arrays.files if key != name}
    np.savez(path, **others, **({} if values is None else {name: values}))


def test_a_split_becomes_a_dataset_and_gaps_are_counted(split, tmp_path):
    report = import_calvin(split, tmp_path / "out", images=False, scene="D")
    assert (report.episodes, report.frames) == (2, 10)
    assert report.skipped == {"the frame is missing": 1}
    assert "left out: 1 × the frame is missing (the first: episode_0000006.npz)" in str(report)
    assert report.unplaced == {"the tower": 1}


def test_both_cameras_come_in_and_the_report_names_what_does_not(split, tmp_path, capsys):
    """--review is honoured for an import too."""
    out, review = tmp_path / "out", tmp_path / "check.html"
    assert main(["label", str(split), "--out", str(out), "--scene", "D", "--review", str(review)]) == 0
    said = capsys.readouterr().out
    assert "cameras: image (rgb_static), image2 (rgb_gripper)" in said
    assert "not imported: depth_static" in said
    reader = EpisodeReader(out)
    for camera, side, first in (("image", 16, 0), ("image2", 8, 100)):
        images = list(reader.images(reader.segments[0], f"observation.images.{camera}"))
        assert [image.shape for image in images] == [(side, side, 3)] * 6
        assert [int(image[0, 0, 0]) for image in images] == [first + number for number in range(6)]
    assert "the red block: <b>" in review.read_text(encoding="utf-8")


def test_frames_without_the_grippers_camera_give_one_and_without_any_image_none_only_if_asked(
    split, tmp_path
):
    def leave_out(name):
        for path in split.glob("episode_*.npz"):
            change(path, name, None)

    leave_out("rgb_gripper")
    assert import_calvin(split, tmp_path / "one", scene="D").cameras == ("image",)
    leave_out("rgb_static")
    with pytest.raises(
        InspireError, match="has no image rgb_static; --image-size 0 imports the frames without"
    ):
        import_calvin(split, tmp_path / "none", scene="D")
    assert import_calvin(split, tmp_path / "none", scene="D", images=False).cameras == ()


def test_a_first_frame_that_is_missing_costs_its_own_sequence_only(split, tmp_path):
    (split / "episode_0000000.npz").unlink()
    report = import_calvin(split, tmp_path / "out", scene="D")
    assert (report.episodes, report.skipped) == (1, {"the frame is missing": 2})


def test_a_sequence_with_a_frame_without_its_image_is_left_out_and_the_frame_named(split, tmp_path):
    change(split / "episode_0000000.npz", "rgb_static", None)
    annotations = split / "lang_annotations/auto_lang_ann.npy"
    annotated = {"language": {"ann": ["lift the red block"] * 2}, "info": {"indx": [(1, 4), (0, 5)]}}
    np.save(annotations, annotated, allow_pickle=True)
    report = import_calvin(split, tmp_path / "out", scene="D")
    assert report.episodes == 1
    assert report.skipped == {"rgb_static is missing; a uint8 image of shape (16, 16, 3) is needed": 1}
    assert list(report.first_files.values()) == ["episode_0000000.npz"]


ODD = {
    "object_actions": ("rel_actions", np.array([None] * 7, dtype=object), "rel_actions cannot be read (Object arrays"),
    "text_actions": ("rel_actions", np.array(["0"] * 7), "rel_actions is text of shape (7,); 7 finite numbers"),
    "nan_action": ("rel_actions", np.float64([0, 0, np.nan, 0, 0, 0, 1]), "number 2 of rel_actions is nan; 7 finite"),
    "beyond_float32": ("rel_actions", np.full(7, 1e300), "number 0 of rel_actions is 1e+300; 7 finite numbers"),
    "complex_actions": ("rel_actions", np.zeros(7, complex), "rel_actions is complex128 of shape (7,); 7 finite"),
    "no_actions": ("rel_actions", None, "rel_actions is missing; 7 finite numbers are needed"),
    "long_actions": ("rel_actions", np.zeros(8), "rel_actions is float64 of shape (8,); 7 finite numbers"),
    "one_action": ("rel_actions", np.float64(0), "rel_actions is float64 of shape (); 7 finite numbers"),
    "text_pose": ("robot_obs", np.array(["0"] * 15), "robot_obs is text of shape (15,); 15 finite numbers"),
    "infinite_scene": ("scene_obs", np.full(24, np.inf), "number 0 of scene_obs is inf; 24 finite numbers"),
    "float_image": ("rgb_static", np.zeros((16, 16, 3)), "rgb_static is float64 of shape (16, 16, 3); a uint8 image"),
    "grey_image": ("rgb_static", np.zeros((16, 16), np.uint8), "rgb_static is uint8 of shape (16, 16); a uint8 image"),
    "wide_image": ("rgb_gripper", np.zeros((8, 9, 3), np.uint8), "rgb_gripper is uint8 of shape (8, 9, 3); a uint8"),
    "empty_image": ("rgb_static", np.zeros((0, 0, 3), np.uint8), "rgb_static is uint8 of shape (0, 0, 3); a uint8"),
    "object_image": ("rgb_static", np.array([None], dtype=object), "rgb_static cannot be read (Object arrays"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "values", "said"), ODD.values(), ids=ODD)
def test_arrays_that_are_not_calvins_are_named_before_the_work(
    split, tmp_path, monkeypatch, name, values, said
):
    for path in split.glob("episode_*.npz"):
        change(path, name, values)
    monkeypatch.setattr(
        imported_dataset, "build_dataset", lambda *_, **__: pytest.fail("the import has begun")
    )
    with pytest.raises(InspireError) as refused:
        import_calvin(split, tmp_path / "out", scene="D")
    assert f"episode_0000003.npz: {said}" in str(refused.value)  # the last that was tried
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "values", "said"), ODD.values(), ids=ODD)
def test_one_frame_with_such_an_array_costs_its_own_sequence(split, tmp_path, name, values, said):
    change(split / "episode_0000005.npz", name, values)
    report = import_calvin(split, tmp_path / "out", scene="D")
    assert report.episodes == 1
    (why,) = set(report.skipped) - {"the frame is missing"}
    assert report.first_files[why] == "episode_0000005.npz"
    # here the size of the images is known from other frames
    assert why.startswith(said.partition("; ")[0])


def test_arrays_that_are_not_imported_may_hold_anything(split, tmp_path):
    for path in split.glob("episode_*.npz"):
        change(path, "notes", np.array([None], dtype=object))
    report = import_calvin(split, tmp_path / "out", scene="D")
    assert (report.episodes, report.not_imported) == (2, ("depth_static", "notes"))


def test_where_every_sequence_is_left_out_the_message_is_short(split, tmp_path):
    for number in range(1, 6):
        change(split / f"episode_{number:07d}.npz", "rel_actions", np.full(7, number * np.nan))
    annotated = {
        "language": {"ann": ["lift the red block"] * 5},
        "info": {"indx": [(0, last) for last in range(1, 6)]},
    }
    np.save(split / "lang_annotations/auto_lang_ann.npy", annotated, allow_pickle=True)
    with pytest.raises(InspireError) as refused:
        import_calvin(split, tmp_path / "out", scene="D", images=False)
    said = "5 × episode_0000001.npz: number 0 of rel_actions is nan; 7 finite numbers are needed"
    assert f"no demonstration is left: {said}." in str(refused.value)


def test_a_sequence_without_frames_is_left_out(split, tmp_path):
    annotated = {"language": {"ann": ["lift the red block"] * 2}, "info": {"indx": [(4, 3), (0, 5)]}}
    np.save(split / "lang_annotations/auto_lang_ann.npy", annotated, allow_pickle=True)
    report = import_calvin(split, tmp_path / "out", images=False, scene="D")
    assert (report.episodes, report.skipped) == (1, {"it has no frames": 1})


def interrupted(read: list[int], after: int, monkeypatch, *arguments, **settings):
    """Import, and be interrupted after some sequences. `read`: gets the numbers of the sequences that are read."""
    real = calvin._read

    def dying(*given):
        if len(read) == after:
            raise KeyboardInterrupt
        read.append(given[-1])
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(calvin, "_read", dying)
        return import_calvin(*arguments, scene="D", **settings)


def test_interrupted_it_goes_on_and_ends_the_same(split, tmp_path, monkeypatch):
    """The unbroken one is made by two processes."""
    out, read, announced = tmp_path / "data", [], []
    with pytest.raises(KeyboardInterrupt):
        interrupted(read, 1, monkeypatch, split, out)
    assert not out.exists()
    report = interrupted(read, -1, monkeypatch, split, out, announce=announced.append)
    assert read == [0, 1, 2]
    assert announced == []
    assert not list(tmp_path.glob(".data*"))
    unbroken = tmp_path / "unbroken" / "data"
    assert import_calvin(split, unbroken, scene="D", processes=2) == replace(report, root=unbroken)
    hashes = [
        {path.relative_to(root): file_sha256(path) for path in root.rglob("*") if path.is_file()}
        for root in (out, unbroken)
    ]
    assert len(hashes[0]) > 3
    assert hashes[0] == hashes[1]


def test_a_finished_one_is_imported_once_and_gets_its_page_later(split, tmp_path, monkeypatch, capsys):
    """As `inspire label` of a LeRobot dataset. Killed before the page of --review was written, the call writes it."""
    out, page = tmp_path / "data", tmp_path / "check.html"
    first = import_calvin(split, out, scene="D")
    monkeypatch.setattr(imported_dataset, "build_dataset", lambda *_, **__: pytest.fail("imported again"))
    assert import_calvin(split, out, scene="D") == first
    assert main(["label", str(split), "--out", str(out), "--scene", "D", "--review", str(page)]) == 0
    assert page.stat().st_size > 1000
    assert str(first) in capsys.readouterr().out
    moved = out.rename(tmp_path / "moved")
    assert import_calvin(split, moved, scene="D") == replace(first, root=moved)
    for settings, changed in (({"modes": ["distance"]}, "labels"), ({"images": False}, "image_sizes")):
        with pytest.raises(InspireError, match=rf"imported with other settings \({changed}\)\."):
            import_calvin(split, moved, scene="D", **settings)
    (moved / imported_dataset.IMPORT_FILE).unlink()
    with pytest.raises(InspireError, match="moved exists and is no imported dataset"):
        import_calvin(split, moved, scene="D")


def test_with_other_settings_or_frames_it_says_which_and_imports_all_again(split, tmp_path, monkeypatch):
    out, announced = tmp_path / "out", []
    with pytest.raises(KeyboardInterrupt):
        interrupted([], 2, monkeypatch, split, out)
    read: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(read, 1, monkeypatch, split, out, images=False, announce=announced.append)
    assert read == [0]
    changed = "image_sizes.image: there 16, now not recorded; image_sizes.image2: there 8, now not recorded"
    assert announced == [
        f"An interrupted call had other settings ({changed}): all sequences are imported again."
    ]
    for number in range(6, 10):  # which were missing
        os.link(split / "episode_0000005.npz", split / f"episode_{number:07d}.npz")
    report = import_calvin(split, out, images=False, scene="D", announce=announced.append)
    assert "(sequences.2.frames: there 3, now 7; sequences.2.bytes: there " in announced[1]
    assert (report.episodes, report.skipped) == (3, {})


def test_a_full_disk_leaves_no_sequence_out(split, tmp_path, monkeypatch):
    real, failures = np.savez, [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]

    def full_once(*arguments, **arrays):
        if failures:
            raise failures.pop()
        real(*arguments, **arrays)

    monkeypatch.setattr(np, "savez", full_once)
    with pytest.raises(InspireError, match=r"No space left.*run the same command again"):
        import_calvin(split, tmp_path / "out", images=False, scene="D")
    report = import_calvin(split, tmp_path / "out", images=False, scene="D")
    assert (report.episodes, report.skipped) == (2, {"the frame is missing": 1})


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            MemoryError("no memory"),
            r"episode_0000003\.npz cannot be read: no memory\. .*run the same command",
        ),
        (OSError(errno.EMFILE, "no"), r"episode_0000003\.npz cannot be read: Too many open files"),
        (PermissionError(errno.EACCES, "no"), r"episode_0000003\.npz cannot be read: Permission denied"),
    ],
)
def test_a_fault_of_the_machine_leaves_no_sequence_out(split, tmp_path, monkeypatch, error, message):
    def failing(path, **options):
        reads.append(path)
        if str(path).endswith("0000003.npz") and reads.count(path) == 2:  # once in the first sequence
            raise error
        return real(path, **options)

    real, reads = np.load, []
    with monkeypatch.context() as patch:
        patch.setattr(np, "load", failing)
        with pytest.raises(MachineFault, match=message):
            import_calvin(split, tmp_path / "out", images=False, scene="D")
    assert len(list((tmp_path / ".out.importing").glob("shard_*"))) == 1
    report = import_calvin(split, tmp_path / "out", images=False, scene="D")
    assert (report.episodes, report.skipped) == (2, {"the frame is missing": 1})


def test_a_split_on_a_drive_that_is_gone_has_no_missing_frames(tmp_path):
    with pytest.raises(MachineFault, match="training is gone"):
        read_frame(tmp_path / "training", 3)


def test_a_killed_import_is_made_again(split, tmp_path):
    left = tmp_path / ".out.partial" / "data"  # by a kill, which tidies nothing up
    left.mkdir(parents=True)
    (left / "half.parquet").write_text("torn", encoding="utf-8")
    assert import_calvin(split, tmp_path / "out", images=False, scene="D").episodes == 2
    assert not list((tmp_path / "out").rglob("half.parquet"))
    assert not list(tmp_path.glob(".out*"))


def test_of_a_dataset_that_cannot_be_finished_the_shards_are_kept(split, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("inspire_vla.labels.dataset_writer.write_labels", full)
    with pytest.raises(InspireError, match="no space"):
        import_calvin(split, tmp_path / "out", images=False, scene="D")
    assert [path.name for path in tmp_path.glob("*out*")] == [".out.importing"]


def test_scenes_of_a_split_of_several(split, tmp_path):
    np.save(
        split / "scene_info.npy", {"calvin_scene_A": [0, 2], "calvin_scene_C": [3, 99]}, allow_pickle=True
    )
    report = import_calvin(split, tmp_path / "out", images=False)
    assert report.episodes == 2
    for other in (
        np.zeros(3),
        {"calvin_scene_A": []},
        {"calvin_scene_A": [np.inf, 3]},
        {"calvin_scene_A": 3},
    ):
        np.save(split / "scene_info.npy", other, allow_pickle=True)
        with pytest.raises(InspireError, match="holds no scenes"):
            import_calvin(split, tmp_path / "other", images=False)


def test_a_split_without_annotated_sequences_is_refused(split):
    annotated = {"language": {"ann": []}, "info": {"indx": []}}
    np.save(split / "lang_annotations/auto_lang_ann.npy", annotated, allow_pickle=True)
    with pytest.raises(InspireError, match=r"it has no annotated sequence\.$"):
        import_calvin(split, split / "out", scene="D")
