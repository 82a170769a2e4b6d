import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import warnings
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

import inspire_vla
from inspire_vla.cli import COMMANDS, doctor, main, parse
from inspire_vla.cli.train import train_arguments
from inspire_vla.errors import InspireError
from inspire_vla.experiment import PRESETS
from inspire_vla.lerobot_plugin.checkpoints import find
from inspire_vla.recipes import RECIPES
from inspire_vla.spatial import MODES


def test_help_answers_at_once_and_names_every_command():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "inspire_vla", "--help"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    for command in COMMANDS:
        assert command in done.stdout
    for heavy in ("torch", "mujoco", "numpy", "rich", "scipy"):
        assert f" {heavy}\n" not in done.stderr


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(("command", "loads"), [("compare", True), ("mentions", False)])
def test_a_terminal_is_told_that_libraries_are_loaded(command, loads, terminal, capsys, monkeypatch):
    """Before the command runs, which loads them."""
    told: list[str] = []
    monkeypatch.setattr(f"inspire_vla.cli.{command}.run", lambda _: told.append(capsys.readouterr().err))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert main([command, "x"]) == 0
    assert told == [f"inspire {command}: loading …\n" if loads and terminal else ""]


def test_a_command_that_answers_at_once_loads_no_heavy_library():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "inspire_vla", "mentions", "put the cup on the plate"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "the cup" in done.stdout
    for heavy in ("torch", "mujoco", "lerobot", "scipy", "pandas"):
        assert f" {heavy}\n" not in done.stderr


def test_the_doctor_tells_each_finding_when_it_has_it(monkeypatch, capsys):
    """Some checks take seconds, and one may never come back."""
    told: list[str] = []

    def slow() -> doctor.Check:
        told.append(capsys.readouterr().out)
        return doctor.Check("torch", False, "none")

    monkeypatch.setattr(doctor, "checks", lambda: (check() for check in [doctor._python, slow]))
    assert main(["doctor"]) == 1
    assert "python" in told[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert "usage: inspire" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("reproduce", PRESETS),
        ("train", [name for name in RECIPES if "grounding" not in name]),  # those are of `inspire pretrain`
        ("collect", MODES),
        ("label", MODES),
    ],
)
def test_help_lists_what_can_be_chosen(command, names, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    words = re.findall(r"\w+", capsys.readouterr().out)
    assert set(names) <= set(words)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--policy", "no_such", "--out", "x"], "unknown checkpoint 'no_such'"),
        (["demo", "--base", "no_such"], "unknown checkpoint 'no_such'"),
        (["demo", "--suite", "tabletop_gaol"], "Did you mean 'tabletop_goal'"),
        (
            ["evaluate", "--policy", "nano_base", "--out", "x", "--control", "unasked"],
            "This one is a base model (reasoning.enabled=false). Possible: none",
        ),
        (
            ["evaluate", "--policy", "nano_base", "--out", "x", "--dataset", "no_such", "--control", "truth"],
            "This one is a base model",
        ),
        (
            ["evaluate", "--policy", "nano_inspire", "--out", "x", "--n-action-steps", "5"],
            "nano_inspire decides 4 actions at once. Possible: 1 to 4",
        ),
        (["compare", "no_such"], "no such folder"),
        (["report", "no_such"], "no such folder"),
        (["compare"], "No run is given"),
        (["report"], "No run is given"),
        (["labels", "no_such"], "no such folder"),
        (["label", "no_such", "--out", "x", "--modes", "directoin"], "Did you mean 'direction'"),
        (["train", "--out", "x"], "--dataset is needed"),
        (["train", "--out", "x", "--resume"], "nothing to resume"),
        (
            ["collect", "--suite", "tabletop_sene", "--episodes", "1", "--out", "x"],
            "Did you mean 'tabletop_seen'",
        ),
    ],
)
def test_bad_input_is_said_in_a_line_without_traceback(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith(f"inspire {arguments[0]}: ")
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["--out file", "--out file/below"])
@pytest.mark.parametrize(
    "command",
    ["evaluate --policy nano_base", "reproduce --preset smoke", "pretrain", "demo", "collect --episodes 1"],
)
def test_a_file_in_the_place_of_the_output_is_told_before_any_work(
    command, out, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert main([*command.split(), *out.split()]) == 2
    assert re.search(
        "file (exists|is a file|holds other things)|Cannot write .*file", capsys.readouterr().err
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_an_unknown_suite_or_task_lists_the_choices(checkpoint, capsys, tmp_path):
    start = ["evaluate", "--policy", str(checkpoint), "--out", str(tmp_path / "run")]
    assert main([*start, "--suite", "tabletop_gaol"]) == 2
    assert "Did you mean 'tabletop_goal'" in capsys.readouterr().err
    assert main([*start, "--suite", "tabletop_goal", "--task", "fly"]) == 2
    assert "Unknown task 'fly'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_interruption_is_not_a_crash(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("inspire_vla.cli.doctor.run", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"  # it leaves nothing to resume
    monkeypatch.setattr("inspire_vla.cli.collect.run", interrupted)
    assert main(["collect", "--suite", "tabletop_seen", "--episodes", "1", "--out", "x"]) == 130
    assert "the same command resumes" in capsys.readouterr().err


def test_an_interruption_while_libraries_load_is_not_a_crash(monkeypatch, capsys):
    def interrupted(words):
        raise KeyboardInterrupt

    monkeypatch.setattr("inspire_vla.cli.parse", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"


SWALLOWS = """
import os, signal
try:
    os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"]))
    sum(range(1000))  # the handler runs between two instructions
except BaseException:  # as in C++ that a library runs when it is imported
    pass
"""
COMMAND = """
import signal, sys
from inspire_vla import cli

class Command:
    @staticmethod
    def run(options):
        print("begins")
        import swallows
        print("goes on")

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with SIGINT ignored
cli.parse, cli._module = lambda words: None, lambda name: Command
sys.exit(cli.main(["train"]))
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_library_that_swallows_an_interruption_while_it_loads_stops_the_command_all_the_same(
    name, code, tmp_path
):
    (tmp_path / "swallows.py").write_text(SWALLOWS, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "SIGNAL": name}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND], capture_output=True, text=True, env=environment, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "begins\n", "\nStopped.\n")


INTERRUPTED = """
import atexit, os, signal, sys
module = sys.argv.pop(1)

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    sum(range(1000))  # a handler of Python's would run here

def trace(frame, event, argument):
    if frame.f_globals.get("__name__") == module:
        sys.settrace(None)
        interrupt()

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with SIGINT ignored
atexit.register(interrupt) if module == "the end" else sys.settrace(trace)
from ENTRY import main
sys.exit(main())
"""


@pytest.mark.parametrize("module", ["inspire_vla.cli", "inspire_vla.errors", "the end"])
def test_ctrl_c_shows_no_traceback_while_the_first_modules_load_or_python_ends(module):
    """From the line of the installed script that calls the command."""
    project = Path(inspire_vla.__file__).parents[2] / "pyproject.toml"
    if not project.is_file():
        pytest.skip("not in a checkout")
    entry, function = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["scripts"][
        "inspire"
    ].split(":")
    assert function == "main"
    code = INTERRUPTED.replace("ENTRY", entry)
    done = subprocess.run(
        [sys.executable, "-c", code, module, "--version"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_a_program_that_imports_the_package_keeps_its_own_ctrl_c():
    code = (
        "import signal; before = signal.getsignal(2); import inspire_vla.__main__, inspire_vla.cli as cli; "
    )
    code += "cli.main(['--version']); assert signal.getsignal(2) is before"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


@pytest.mark.parametrize(("needed", "code"), [(True, 0), (False, 1)])
def test_an_optional_check_that_fails_is_no_failure_of_the_installation(monkeypatch, capsys, needed, code):
    """Such as a package that is broken when it is imported."""

    def broken() -> doctor.Check:
        raise ImportError("libGL.so.1 is missing")

    for name in ("_opencv", "_libero", "_libero_plus", "_libero_pro"):
        monkeypatch.setattr(doctor, name, broken)
    for name in ("_platform", "_python", "_packages", "_torch", "_rendering", "_plugin", "_ffmpeg", "_disk"):
        fine = needed or name != "_torch"
        monkeypatch.setattr(
            doctor, name, lambda name=name, fine=fine: doctor.Check(name.strip("_"), fine, "x")
        )
    monkeypatch.setattr(doctor, "EXTRAS", {})
    assert main(["doctor"]) == code
    shown = " ".join(capsys.readouterr().out.split())
    assert "ImportError: libGL.so.1 is missing (optional)" in shown
    assert ("All that is needed is here." if needed else "Needed, and not right here: torch.") in shown
    assert "Optional, and not here: broken, broken, broken, broken." in shown


def test_doctor_says_how_to_get_what_is_optional(monkeypatch):
    installed = {"opencv-python": "5.0", "opencv-python-headless": "4.13"}

    def version(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    both, ray = doctor._opencv(), doctor._extra("Ray")
    assert not both.ok
    assert "opencv-python 5.0, opencv-python-headless 4.13" in both.found
    assert "make libero" in both.advice
    assert "[ray]" in ray.advice
    assert "make libero" in doctor._libero().advice
    assert not any(check.required or check.ok for check in (both, ray, doctor._libero()))
    del installed["opencv-python"]
    assert doctor._opencv().ok


def test_train_turns_into_lerobots_arguments(training, tmp_path):
    line = [
        "train",
        "--dataset",
        "d",
        "--out",
        str(tmp_path / "o"),
        "--no-reasoning",
        "--steps",
        "5",
        "--seed",
        "1",
    ]
    recipe, arguments = train_arguments(parse([*line, "--", "--policy.vq.levels=3"]))
    assert recipe == "nano_tabletop"
    assert arguments == [
        "--dataset.root=d",
        f"--output_dir={tmp_path / 'o'}",
        "--steps=5",
        "--seed=1",
        "--policy.reasoning.enabled=false",
        "--policy.vq.levels=3",
    ]
    (tmp_path / "o").mkdir()
    with pytest.raises(InspireError, match="exists"):
        train_arguments(parse(line))
    recipe, arguments = train_arguments(parse(["train", "--out", str(training), "--resume"]))
    assert recipe is None
    config = training / "checkpoints" / "000003" / "pretrained_model" / "train_config.json"
    assert arguments == [f"--config_path={config}", "--resume=true", f"--output_dir={training}"]


def test_resuming_finds_the_newest_whole_checkpoint_by_itself(training):
    """A training that is killed while LeRobot moves the link `last`, or while it saves."""
    shutil.copytree(training / "checkpoints" / "000003", training / "checkpoints" / "000006")
    torn = training / "checkpoints" / "000006" / "training_state" / "optimizer_state.safetensors"
    whole = torn.read_bytes()
    (training / "checkpoints" / "last").unlink()
    line = parse(["train", "--out", str(training), "--resume"])
    for content, step in ((whole, "000006"), (whole[:-3], "000003")):
        torn.write_bytes(content)
        assert f"/{step}/" in train_arguments(line)[1][0]
        assert find(training).parent.name == "000006"  # its policy is whole
    shutil.rmtree(training / "checkpoints")
    with pytest.raises(InspireError, match=r"no whole checkpoint in it\. Start again: .*another --out"):
        train_arguments(line)


def test_resuming_a_finished_training_says_so_and_how_to_train_on(training, capsys, monkeypatch):
    resumed: list[list[str]] = []
    monkeypatch.setattr("inspire_vla.cli.train.train_arguments", lambda options: (None, []))
    monkeypatch.setitem(
        sys.modules,
        "inspire_vla.lerobot_plugin.training",
        SimpleNamespace(train=lambda arguments, recipe: resumed.append(arguments)),
    )
    folder = training / "checkpoints" / "000003" / "pretrained_model"
    config = json.loads((folder / "train_config.json").read_text(encoding="utf-8"))
    (folder / "train_config.json").write_text(json.dumps(config | {"steps": 3}), encoding="utf-8")
    shutil.rmtree(training.parent / "d")  # its dataset is not needed to say that
    line = ["train", "--out", str(training), "--resume"]
    for more in ([], ["--steps", "2"], ["--", "--steps=3"]):
        assert main([*line, *more]) == 0
        told = capsys.readouterr().out
        assert "finished, at step 3:" in told
        assert str(folder) in told
        assert f"`inspire train --out {training} --resume --steps 6` trains on" in told
    assert not resumed
    for more in (["--holdout", "1"], ["--recipe", "nano_own"], ["--from", "nano_base"]):  # nothing is ignored
        assert main([*line, *more]) == 2
        assert f"leave out {more[0]}" in capsys.readouterr().err
    for more in (["--steps", "4"], ["--", "--steps", "4"]):
        assert main([*line, *more]) == 0
        assert "finished" not in capsys.readouterr().out
    assert len(resumed) == 2


def test_a_full_disk_or_a_folder_that_cannot_be_written_is_noticed_before_training(
    training, tmp_path, monkeypatch
):
    new = parse(["train", "--out", str(tmp_path / "new"), "--dataset", str(tmp_path)])
    resumed = parse(["train", "--out", str(training), "--resume"])
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1))
    for options in (new, resumed):
        with pytest.raises(InspireError, match="GB free"):
            train_arguments(options)

    def read_only(dir):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    for options in (new, resumed):
        with pytest.raises(InspireError, match="cannot be written: Read-only"):
            train_arguments(options)
    assert not (tmp_path / "new").exists()


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(training, tmp_path):
    newest = shutil.copytree(training / "checkpoints" / "000003", training / "checkpoints" / "000006")
    (newest / "training_state" / "rng_state.safetensors").write_bytes(b"")
    with pytest.warns(
        UserWarning, match=r"000006 is passed over: .*rng_state\.safetensors is not a whole file"
    ):
        _, arguments = train_arguments(parse(["train", "--out", str(training), "--resume"]))
    assert "000003" in arguments[0]


def test_a_resumed_training_ignores_nothing_that_is_asked_for(training, tmp_path):
    line = ["train", "--out", str(training), "--resume"]
    for same in ([], ["--dataset", str(tmp_path / "x" / ".." / "d")]):
        assert train_arguments(parse([*line, *same]))[1][1:] == ["--resume=true", f"--output_dir={training}"]
    with pytest.raises(InspireError, match="does not say what it was trained on"):
        train_arguments(parse([*line, "--dataset", "other"]))
    with pytest.raises(InspireError, match="leave out --recipe"):
        train_arguments(parse([*line, "--recipe", "minivla"]))


def test_a_file_that_may_not_be_read_is_told_without_a_traceback(tmp_path, capsys, monkeypatch):
    def refused(options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "run.json"))

    monkeypatch.setattr("inspire_vla.cli.compare.run", refused)
    assert main(["compare", "x"]) == 2
    assert capsys.readouterr().err == f"inspire compare: {tmp_path / 'run.json'}: Permission denied.\n"
    monkeypatch.setattr("inspire_vla.cli.compare.run", lambda _: tmp_path.read_text(encoding="utf-8"))
    assert main(["compare", "x"]) == 2
    assert capsys.readouterr().err == f"inspire compare: {tmp_path}: Is a directory.\n"


def test_a_fault_of_the_machine_is_told_without_a_traceback(capsys, monkeypatch):
    def full(options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def without_memory(options):
        raise MemoryError("Unable to allocate 2 TiB")

    monkeypatch.setattr("inspire_vla.cli.compare.run", full)
    assert main(["compare", "x"]) == 2
    assert capsys.readouterr().err == "inspire compare: No space left on device.\n"
    monkeypatch.setattr("inspire_vla.cli.compare.run", without_memory)
    assert main(["compare", "x"]) == 2
    assert capsys.readouterr().err == "inspire compare: not enough memory (Unable to allocate 2 TiB).\n"


def test_an_interrupted_training_is_told_how_it_goes_on(training, tmp_path, capsys, monkeypatch):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("inspire_vla.cli.train.run", interrupted)
    monkeypatch.setattr("inspire_vla.cli.compare.run", interrupted)
    (tmp_path / "begun").mkdir()
    none = "No checkpoint was saved yet. The same command with another --out starts again."
    for out, said in (
        (training, f"`inspire train --out {training} --resume` continues from the last checkpoint."),
        (tmp_path / "begun", none),
    ):
        assert main(["train", "--out", str(out)]) == 130
        assert capsys.readouterr().err == f"\nStopped. {said}\n"
    assert main(["compare", "x"]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--suite", "tabletop_seen", "--task", "x"], "--task is for LIBERO"),
        (
            ["--suite", "libero_object", "--layout-randomness", "0.5"],
            "--layout-randomness is for the tabletop",
        ),
    ],
)
def test_options_of_the_other_benchmark_are_refused(arguments, said, tmp_path, capsys) -> None:
    assert main(["collect", *arguments, "--episodes", "1", "--out", str(tmp_path / "x")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ray-gpus", "0.5"], "--ray-gpus belongs to --ray"),
        (["--suite", "libero_goal", "--layout-randomness", "0.5"], "--layout-randomness is for the tabletop"),
        (["--mapping", "names.json"], "--mapping is for LIBERO"),
    ],
)
def test_an_evaluation_ignores_nothing_that_is_asked_for(arguments, said, tmp_path, capsys) -> None:
    assert main(["evaluate", "--policy", "nano_base", *arguments, "--out", str(tmp_path / "x")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("shard", ["8/8", "3", "a/b", "-1/2"])
def test_a_wrong_shard_is_refused(shard, capsys):
    assert parse(["evaluate", "--out", "x", "--shard", "2/8"]).shard == (2, 8)
    with pytest.raises(SystemExit) as stopped:
        parse(["evaluate", "--out", "x", f"--shard={shard}"])
    assert stopped.value.code == 2
    assert "is written I/N" in capsys.readouterr().err


def test_several_values_are_separated_by_blanks_or_commas():
    assert parse("evaluate --out x --suite a,b c --task t u".split()).suite == ("a", "b", "c")


def test_words_after_two_dashes_are_for_training_alone(capsys):
    with pytest.raises(SystemExit):
        main(["doctor", "--", "--policy.x=y"])
    assert "no arguments after --" in capsys.readouterr().err


def test_an_unknown_command_or_option_is_refused_with_what_is_near(capsys):
    assert main(["evalute"]) == 2
    assert "Did you mean 'evaluate'?" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--out", "x", "--suiet", "seen"])
    assert stopped.value.code == 2
    assert "--suite" in capsys.readouterr().err


SELECTIONS = (
    ["labels", "d", "--figure", "f.png", "--episodes"],
    ["evaluate", "--dataset", "d", "--out", "x", "--episodes"],
    ["train", "--dataset", "d", "--out", "x", "--holdout"],
)


@pytest.mark.parametrize("command", SELECTIONS, ids=lambda words: words[0])
def test_episodes_are_selected_in_one_way_everywhere(command, capsys):
    options = parse([*command, "0,5:7"])
    assert (options.holdout if command[0] == "train" else options.episodes) == "0,5:7"
    for words, right in ((["0", "5"], "0,5"), (["0,", "5"], "0,5"), (["0:2", "5"], "40:50 or 3,7")):
        with pytest.raises(SystemExit):
            parse([*command, *words])
        told = " ".join(capsys.readouterr().err.replace("│", " ").split())
        assert f"takes one word: write {right}; found {' '.join(words)}" in told


def test_a_number_alone_says_which_episodes_it_may_stand_for(capsys):
    for command in SELECTIONS[:2]:
        more = [] if command[0] == "labels" else ["--policy", "nano_base"]
        assert main([*command, "5", *more]) == 2
        assert "Write 5:6 for episode 5, or 0:5 for the first 5." in capsys.readouterr().err


def test_a_wrong_number_is_told_without_the_inside_of_the_parser(capsys):
    with pytest.raises(SystemExit):
        parse(["train", "--out", "x", "--steps", "0"])
    told = capsys.readouterr().err
    assert "--steps: must be at least 1, found 0" in told
    assert "PrimitiveConstructorSpec" not in told


def test_a_training_that_left_no_checkpoint_is_not_to_be_resumed(tmp_path, capsys):
    """Neither message may advise what the other one refuses."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train.log").touch()
    words = ["train", "--out", str(tmp_path / "run"), "--dataset", "d"]
    assert main(words) == 2
    assert "without a checkpoint to continue from. Give another --out." in capsys.readouterr().err
    assert main([*words, "--resume"]) == 2
    assert "leave out --resume, and give another --out" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["mentions", "put the red cube in the box"]])
def test_a_reader_that_has_gone_is_no_traceback(words: list[str]) -> None:
    """As in `inspire --help | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "inspire_vla", *words]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False, env=buffered
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_warning_of_this_package_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A person is not shown the line of code that found it."""

    def run(options: object) -> None:
        for place in (inspire_vla.__file__, json.__file__):
            print(warnings.formatwarning("labels may be wrong", UserWarning, place, 7, "x = 1"))

    monkeypatch.setattr("inspire_vla.cli.mentions.run", run)
    assert main(["mentions", "x"]) == 0
    ours, others = capsys.readouterr().out.split("\n\n", 1)
    assert ours == "warning: labels may be wrong"
    assert others.startswith(f"{json.__file__}:7: UserWarning")


def test_a_report_or_comparison_replaces_no_file_of_a_run(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("run.json", "episodes.jsonl"):
        (run / name).write_text("kept", encoding="utf-8")
    for command, out, message in (
        ("compare", run / "run.json", "is a file of the run in"),
        ("compare", run / "episodes.jsonl", "ends in .json, found 'episodes.jsonl'"),
        ("report", run / "run.json", "ends in .html, found 'run.json'"),
        ("report", run, "is a folder, where a file is needed"),
    ):
        assert main([command, "x", "--out", str(out)]) == 2
        assert message in capsys.readouterr().err
    assert {file.read_text(encoding="utf-8") for file in run.iterdir()} == {"kept"}
