"""HDF5 demonstrations in LIBERO's layout become a labelled dataset; the bad ones are counted."""

import errno
import hashlib

import numpy as np
import pytest

from inspire_vla.errors import InspireError, MachineFault
from inspire_vla.labels import GRASPED_COLUMN, imported_dataset, read_labels
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.dataset_origin import suites_of
from inspire_vla.libero import hdf5_import
from inspire_vla.libero.hdf5_import import import_demonstrations
from inspire_vla.libero.installation import LiberoMissing
from inspire_vla.spatial import decode_answers

h5py = pytest.importorskip("h5py", reason="LIBERO's files are HDF5; the extra `libero` brings h5py")

pytestmark = pytest.mark.libero
QUICK = {"image_size": None, "processes": 0}


def model_file(recording, leave_out=()):
    """The fixtures of a recording, as its model file has them."""
    inner, bodies = recording.env.env, ""
    for name, fixture in inner.fixtures_dict.items():
        at = inner.sim.model.body_name2id(fixture.root_body)
        pos, quat = (
            " ".join(map(str, array[at])) for array in (inner.sim.model.body_pos, inner.sim.model.body_quat)
        )
        if name not in leave_out:
            bodies += f'<body name="{fixture.root_body}" pos="{pos}" quat="{quat}"/>'
    return f"<mujoco><worldbody>{bodies}</worldbody></mujoco>"


def write(path, recording, model="", **demonstrations):
    """An HDF5 file in LIBERO's layout; each demonstration is (states, actions). model: "" for a whole model_file."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["bddl_file_name"] = f"somewhere/else/libero_goal/{recording.path.name}"
        for name, arrays in demonstrations.items():
            group = data.create_group(name)
            if model is not None:
                group.attrs["model_file"] = model or model_file(recording)
            for key, values in zip(("states", "actions"), arrays, strict=False):
                group.create_dataset(key, data=values)
    return path


@pytest.fixture(scope="module")
def files(recording, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hdf5")
    states, actions = recording.states, recording.actions
    broken = states.copy()
    broken[3, 5] = np.nan
    good = (states, actions)
    write(folder / "a_demo.hdf5", recording, demo_0=good, demo_2=(broken, actions), demo_10=good)
    write(folder / "b_demo.hdf5", recording, demo_0=(states[:0], actions[:0]), demo_1=(states,))
    whole = write(folder / "c_demo.hdf5", recording, demo_0=good)
    whole.write_bytes(whole.read_bytes()[:2000])
    return folder


@pytest.fixture(scope="module")
def imported(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("imported") / "data"
    return out, import_demonstrations([files], out, **QUICK)


def test_the_recording_grips(recording):
    """Robosuite's contacts say so, and the object is then at the gripper."""
    assert recording.mentions == ("the cream cheese", "the bowl")
    assert recording.grasped[-5:, 0].all()
    assert not recording.grasped[:30].any()
    assert not recording.grasped[:, 1].any()
    assert np.abs(recording.offsets[-1, 0]).max() < 0.03


def test_good_demonstrations_come_in_and_bad_ones_are_counted(recording, imported):
    _, report = imported
    assert report.episodes == 2
    assert sorted(report.skipped) == [
        "a_demo.hdf5:demo_2",
        "b_demo.hdf5:demo_0",
        "b_demo.hdf5:demo_1",
        "c_demo.hdf5",
    ]
    assert "row 3 of 'states' is not finite" in report.skipped["a_demo.hdf5:demo_2"]
    assert "'states' is empty" in report.skipped["b_demo.hdf5:demo_0"]
    assert "'actions' is missing" in report.skipped["b_demo.hdf5:demo_1"]
    assert "truncated" in report.skipped["c_demo.hdf5"]
    assert report.noops == 2 * 10  # three while still, and all but the first of eight while closing
    assert report.frames == 2 * len(recording.actions) - report.noops


def test_the_import_says_of_which_tasks_its_episodes_are(recording, imported):
    """Of a suite that it has no whole set of. Skipped demonstrations do not count."""
    out, report = imported
    assert report.tasks == [("libero_goal", recording.path.stem)] * 2
    assert suites_of(out, None) == suites_of(out, [1]) == {"libero_goal": (recording.path.stem,)}


def test_labels_are_the_simulators_truth(recording, imported):
    out, _ = imported
    files = LeRobotFiles.open(out)
    rows = files.read(
        files.data_files()[0], ("observation.answers.direction", "observation.state", GRASPED_COLUMN)
    )
    first = next(rows.episodes())
    kept = hdf5_import._kept(recording.actions)
    np.testing.assert_array_equal(rows.columns[GRASPED_COLUMN][first] == 1, recording.grasped[kept])
    np.testing.assert_allclose(
        rows.columns["observation.state"][first, :3], recording.eef_positions[kept], atol=2e-3
    )
    words = decode_answers(rows.columns["observation.answers.direction"][first])
    assert words[0, 0] == "down"
    assert words[-1].tolist()[0] == "grasped"
    assert read_labels(out).tasks == {recording.instruction: recording.mentions}


def test_killed_it_goes_on_and_ends_the_same(files, imported, tmp_path, monkeypatch):
    def digests(root):
        return {
            p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (root / "data").rglob("*.parquet")
        }

    calls = []
    real = hdf5_import._read

    def counted(*arguments):
        *_, number = arguments
        calls.append(number)
        return real(*arguments)

    def dying(*arguments):
        if len(calls) == 2:
            raise KeyboardInterrupt
        return counted(*arguments)

    monkeypatch.setattr(hdf5_import, "_read", dying)
    with pytest.raises(KeyboardInterrupt):
        import_demonstrations([files], tmp_path / "data", **QUICK)
    monkeypatch.setattr(hdf5_import, "_read", counted)
    import_demonstrations([files], tmp_path / "data", **QUICK)
    assert len(calls) == len(set(calls)) == 3
    assert digests(tmp_path / "data") == digests(imported[0])
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_a_finished_one_is_imported_once(files, imported, monkeypatch):
    out, report = imported
    monkeypatch.setattr(imported_dataset, "build_dataset", lambda *_, **__: pytest.fail("imported again"))
    assert import_demonstrations([files], out, **QUICK) == report
    with pytest.raises(InspireError, match=r"imported with other settings \(drop_noops, labels\)"):
        import_demonstrations([files], out, drop_noops=False, **QUICK)


def test_with_other_settings_it_says_which_and_imports_all_again(files, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(imported_dataset, "build_dataset", killed)
        with pytest.raises(KeyboardInterrupt):
            import_demonstrations([files / "a_demo.hdf5"], tmp_path / "data", **QUICK)
    said: list[str] = []
    import_demonstrations(
        [files / "a_demo.hdf5"], tmp_path / "data", drop_noops=False, announce=said.append, **QUICK
    )
    changed = "drop_noops: there True, now False"
    assert said == [
        f"An interrupted call had other settings ({changed}): all demonstrations are imported again."
    ]


def test_another_reading_of_the_instruction_imports_all_again(files, tmp_path, monkeypatch):
    """As by another version: shards about other objects than the labels say would be put under their names."""

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(imported_dataset, "build_dataset", killed)
        patch.setattr("inspire_vla.libero.grounding.find_mentions", lambda _: ("the bowl",))
        with pytest.raises(KeyboardInterrupt):
            import_demonstrations([files / "a_demo.hdf5"], tmp_path / "data", **QUICK)
    said: list[str] = []
    import_demonstrations([files / "a_demo.hdf5"], tmp_path / "data", announce=said.append, **QUICK)
    assert len(said) == 1
    assert "there ['the bowl'], now ['the cream cheese', 'the bowl']" in said[0]


def test_arrays_that_are_no_numbers_are_named_before_the_work(recording, tmp_path, monkeypatch):
    states, actions = recording.states[:4], recording.actions[:4]
    huge = actions.copy()
    huge[2, 0] = 1e300
    write(
        tmp_path / "odd.hdf5", recording,
        demo_0=(states, [[b"x"] * 7] * 4), demo_1=(states.astype(complex), actions), demo_2=(states[0], actions),
        demo_3=(states, actions[:, :6]), demo_4=(states[:3], actions), demo_5=(states, huge),
    )  # fmt: skip
    with h5py.File(tmp_path / "odd.hdf5", "a") as file:
        file["data"].create_dataset("demo_6", data=np.zeros(3))
        file["data"].create_group("demo_7/states")
    said: list[str] = []
    monkeypatch.setattr(hdf5_import, "_read", lambda jobs, _, number: hdf5_import._recorded(jobs[number]))
    with pytest.raises(InspireError, match="no demonstration is left: row 2 of 'actions' is not finite"):
        import_demonstrations([tmp_path], tmp_path / "data", announce=said.append, **QUICK)
    assert "and 4 other reasons" in said[0]
    report = hdf5_import.ImportReport(tmp_path)
    assert [job.name for job in hdf5_import._jobs([tmp_path], report)] == ["demo_5"]
    needed = "finite numbers of shape (T, 7) are needed"
    assert report.skipped == {
        "odd.hdf5:demo_0": f"'actions' is no array of numbers; {needed}",
        "odd.hdf5:demo_1": "'states' is complex128; finite numbers of shape (T, n) are needed",
        "odd.hdf5:demo_2": f"'states' is of shape {states[0].shape}; finite numbers of shape (T, n) are needed",
        "odd.hdf5:demo_3": f"'actions' is of shape (4, 6); {needed}",
        "odd.hdf5:demo_4": "'states' has 3 rows and 'actions' 4; equally many are needed",
        "odd.hdf5:demo_6": "'demo_6' is no group; a group is needed",
        "odd.hdf5:demo_7": "'states' is no array; finite numbers of shape (T, n) are needed",
    }


def test_a_file_without_demonstrations_is_named(recording, tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("data", data=np.zeros(3))
    h5py.File(tmp_path / "b.hdf5", "w").close()
    with pytest.raises(
        InspireError, match=r"'data' is no group.*first: a\.hdf5\); .*'data' is missing.*: b\.hdf5"
    ):
        import_demonstrations([tmp_path], tmp_path / "data", **QUICK)


def test_a_demonstration_that_does_not_place_its_fixtures_is_left_out_and_counted(recording, tmp_path):
    """They would stay where the demonstration before had them."""
    good = (recording.states, recording.actions)
    write(tmp_path / "a.hdf5", recording, demo_0=good)
    write(tmp_path / "b.hdf5", recording, None, demo_0=good)
    write(tmp_path / "c.hdf5", recording, model_file(recording, leave_out=["flat_stove_1"]), demo_0=good)
    write(tmp_path / "d.hdf5", recording, np.bytes_(model_file(recording)), demo_0=good)
    report = import_demonstrations([tmp_path], tmp_path / "data", **QUICK)
    assert report.episodes == 2
    assert report.skipped == {
        "b.hdf5:demo_0": "no place of the fixtures in its model_file: flat_stove_1, wine_rack_1, wooden_cabinet_1",
        "c.hdf5:demo_0": "no place of the fixtures in its model_file: flat_stove_1",
    }
    last = "no place of the fixtures in its model_file: flat_stove_1 (the first: c.hdf5:demo_0)\n"
    assert f"skipped: 1 × {last}" in f"{report}\n"


def test_replays_that_fail_are_left_out(files, tmp_path):
    with pytest.raises(InspireError, match="does not reach the goal"):
        import_demonstrations([files / "a_demo.hdf5"], tmp_path / "data", replay=True, **QUICK)


def test_a_replay_does_not_depend_on_what_was_played_before(recording, tmp_path, monkeypatch):
    """Neither on the gripper that closed in another demonstration, nor on how many steps were taken in all."""
    from libero.libero.envs.env_wrapper import ControlEnv

    monkeypatch.setattr(ControlEnv, "check_success", lambda env: True)
    states, actions = recording.states, recording.actions
    write(tmp_path / "a.hdf5", recording, demo_0=(states, actions), demo_1=(states[-20:], actions[-20:]))
    jobs = hdf5_import._jobs([tmp_path], hdf5_import.ImportReport(tmp_path))
    settings = hdf5_import.Settings(image_size=None, cameras=(), drop_noops=False, replay=True)
    alone = hdf5_import._read(jobs, settings, 0)
    hdf5_import._read(jobs, settings, 1)
    after = hdf5_import._read(jobs, settings, 0)
    np.testing.assert_array_equal(after.state, alone.state)
    np.testing.assert_array_equal(after.gripper_to_object_m, alone.gripper_to_object_m)
    hdf5_import.shared_simulation(jobs[0].task_file, None).env.horizon = 30  # shorter than a demonstration
    assert len(hdf5_import._read(jobs, settings, 0)) == len(actions)


def raises(error):
    def function(*_, **__):
        raise error

    return function


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("shared_simulation", LiberoMissing("LIBERO cannot be imported"), "cannot be imported"),
        ("shared_simulation", MemoryError("no memory"), "no memory"),
        ("shared_simulation", OSError(errno.ENOSPC, "full"), "No space left on device.*run the same command"),
        (
            "_group",
            MemoryError("no memory"),
            r"a_demo\.hdf5 cannot be read: no memory\. .*run the same command",
        ),
        ("_group", PermissionError(errno.EACCES, "no"), r"a_demo\.hdf5 cannot be read: Permission denied"),
        ("_group", OSError(errno.EMFILE, "no"), r"a_demo\.hdf5 cannot be read: Too many open files"),
    ],
)
def test_a_fault_of_the_machine_ends_the_import_and_no_demonstration_is_left_out(
    files, imported, tmp_path, monkeypatch, where, error, message
):
    real = hdf5_import._read

    with monkeypatch.context() as patch:

        def third_fails(jobs, settings, number):
            if number == 2:
                patch.setattr(hdf5_import, where, raises(error))
            return real(jobs, settings, number)

        patch.setattr(hdf5_import, "_read", third_fails)
        with pytest.raises((InspireError, MemoryError), match=message):
            import_demonstrations([files], tmp_path / "data", **QUICK)
    assert len(list((tmp_path / ".data.importing").glob("shard_*"))) == 2
    report = import_demonstrations([files], tmp_path / "data", **QUICK)
    assert (report.episodes, report.skipped) == (2, imported[1].skipped)


def test_a_file_that_may_not_be_read_is_not_called_damaged(files, tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_import, "_group", raises(PermissionError(errno.EACCES, "no")))
    with pytest.raises(MachineFault, match=r"a_demo\.hdf5 cannot be read: Permission denied"):
        import_demonstrations([files], tmp_path / "data", **QUICK)


def test_a_drive_that_is_gone_ends_the_import(files, tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_import, "_opened", raises(FileNotFoundError(errno.ENOENT, "gone")))
    job = hdf5_import.Job(0, str(tmp_path / "gone/a.hdf5"), "demo_0", "task.bddl")
    with pytest.raises(MachineFault, match=r"a\.hdf5 is gone\. .*run the same command"):
        hdf5_import._recorded(job)


def test_bad_input_is_refused(files, tmp_path):
    with pytest.raises(InspireError, match=r"no \.hdf5"):
        import_demonstrations([tmp_path], tmp_path / "data", **QUICK)
    with h5py.File(tmp_path / "mystery.hdf5", "w") as file:
        file.create_group("data").attrs["bddl_file_name"] = "../../etc/passwd"
    with pytest.raises(InspireError, match="unknown task 'passwd'"):
        import_demonstrations([tmp_path / "mystery.hdf5"], tmp_path / "data", **QUICK)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 5}, "image_size must be between 16 and 1024 pixels, found 5"),
        ({"image_size": -3}, "found -3"),
        ({"image_size": 100_000}, "found 100000"),
        ({"image_size": None, "mapping": {"fly": {"the bowl": "plate_1"}}}, "'fly', which no task has"),
    ],
)
def test_settings_out_of_range_are_refused_before_the_work(files, tmp_path, settings, message):
    with pytest.raises(InspireError, match=message):
        import_demonstrations([files], tmp_path / "data", processes=0, **settings)
    assert not list(tmp_path.iterdir())
