"""Statistics and figures of labels, custom labels, and the commands `inspire label` and `inspire labels`."""

import json
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from inspire_vla.cli import main
from inspire_vla.errors import InspireError
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.function_labeller import FunctionLabeller
from inspire_vla.labels.labeller import Episode, Recording
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.registry import get_labeller
from inspire_vla.labels.storage import label_dataset
from inspire_vla.labels.summary import TaskSummary, least_confident, summarize, timelines
from inspire_vla.labels.table_labeller import TableLabeller
from inspire_vla.spatial import canonical_answers


@pytest.fixture(scope="module")
def labelled(synthetic, tmp_path_factory):
    root = tmp_path_factory.mktemp("labelled")
    label_dataset(synthetic.make_dataset(root / "source"), DemonstrationLabeller(), out=root / "out")
    return root / "out"


def test_counts_add_up(synthetic, labelled):
    info, (task,) = summarize(labelled)
    assert (task.episodes, task.mentions) == (4, synthetic.mentions)
    assert task.frames == 4 * len(synthetic.path()[0])
    assert all(sum(counter.values()) == task.frames for counter in task.words)
    assert all(task.words[0][word] > 0 for word in ("down", "grasped"))
    assert len(set(task.changes)) == 1
    assert info.labeller == "from_demonstration"


def test_unknown_mode_and_episode_are_refused(labelled):
    with pytest.raises(InspireError, match="not in 'position'"):
        summarize(labelled, mode="position")
    with pytest.raises(InspireError, match="no labelled episode 99"):
        list(timelines(labelled, only=[1, 99]))
    assert [one.segment.episode for one in timelines(labelled, only=[3, 1])] == [1, 3]


def test_the_episodes_of_least_confidence_come_first(labelled):
    shown = list(timelines(labelled))
    doubtful = replace(shown[2], confidence=np.full(shown[2].answers.shape, 0.1))
    unlabelled = replace(shown[1], answers=np.full_like(shown[1].answers, ""))
    assert least_confident([shown[0], unlabelled, doubtful, doubtful, shown[3]], 2) == [1, 2]


def test_many_episodes_are_summed_up_and_those_without_a_grasp_named():
    from inspire_vla.cli.labels import _held

    frames = Counter({episode: 30 + episode for episode in range(40)}) | Counter()
    frames[7] = frames[9] = 0
    assert "0 to 69, median 50; never in 2 episodes: 7, 9" in _held(frames)


@pytest.mark.parametrize("count", [3, 9, 10, 30])
def test_the_shares_of_a_table_add_up_whatever_is_said(count, capsys):
    """Columns are the words said most, one for the others together, and always that of no label."""
    from inspire_vla.cli.labels import _print_shares

    words = Counter({f"far to the {i}": count - i for i in range(count)}) + Counter({"": 2 * count})
    _print_shares([TaskSummary("lift it", ("it",), [words], [Counter()], 1, words.total(), [0])])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  it")]
    shares = [float(number) for number in rows[0].split()[1:]]
    assert sum(shares) == pytest.approx(100, abs=0.6)
    assert shares[-1] == pytest.approx(100 * 2 * count / words.total(), abs=0.05)
    assert len(shares) == min(count, 9) + (count > 9) + 1


def test_the_table_has_a_column_of_no_label_and_one_of_the_other_words(capsys):
    from inspire_vla.cli.labels import _print_shares

    words = Counter({f"w{i}": 30 - i for i in range(12)})
    _print_shares([TaskSummary("lift it", ("it",), [words], [Counter()], 1, words.total(), [0])])
    (header,) = {
        tuple(line.split("%")[1].split()) for line in capsys.readouterr().out.splitlines() if "%" in line
    }
    assert list(header[header.index("w8") + 1 :]) == ["3", "more", "no", "label"]


def test_the_review_shows_the_mode_that_is_asked_for(synthetic, tmp_path):
    source, out = synthetic.make_dataset(tmp_path / "source", episodes=1), tmp_path / "out"
    label_dataset(source, DemonstrationLabeller(), out=out, modes=["direction", "distance_fine"])
    for mode, answers in (("direction", "[a-z]+"), ("distance_fine", r"\d|grasped")):
        page = tmp_path / f"{mode}.html"
        assert main(["labels", str(out), "--mode", mode, "--review", str(page)]) == 0
        assert f"Reasoning mode: {mode}; not shown: " in page.read_text()
        assert set(re.findall("the plate: <b>([^<]*)", page.read_text())) <= {
            answer for answer in canonical_answers(mode) if re.fullmatch(answers, answer)
        }


def test_columns_stand_below_each_other_in_any_script(synthetic, tmp_path, capsys):
    source, out = synthetic.make_dataset(tmp_path / "source", episodes=1), tmp_path / "out"
    instruction = LeRobotFiles.open(source).tasks[0]
    names = [{"mention": "红色方块", "role": "carried"}, {"mention": "the plate", "role": "goal"}]
    (tmp_path / "m.json").write_text(json.dumps({instruction: names}), encoding="utf-8")
    words = ["--out", str(out), "--mentions", str(tmp_path / "m.json")]
    assert main(["label", str(source), *words, "--dry-run"]) == 0
    assert not out.exists()
    assert main(["label", str(source), *words]) == 0
    capsys.readouterr()
    assert main(["labels", str(out)]) == 0
    shown = capsys.readouterr().out.splitlines()
    table = [
        line for line in shown if "share of frames" in line or re.match(r"  (红色方块|the plate) +\d", line)
    ]
    assert len(table) == 3
    assert len({cell_len(line) for line in table}) == 1


def test_the_command_labels_shows_and_draws(synthetic, tmp_path, capsys):
    source, out = synthetic.make_dataset(tmp_path / "source", episodes=2), tmp_path / "out"
    page, figure = tmp_path / "page.html", tmp_path / "figure.png"
    assert main(["label", str(source), "--out", str(out), "--review", str(page)]) == 0
    assert "2 episodes" in capsys.readouterr().out
    assert "the red cube: <b>" in page.read_text()
    assert main(["labels", str(out), "--figure", str(figure), "--episodes", "0:2"]) == 0
    shown = capsys.readouterr().out
    assert "grasped" in shown
    assert "the plate" in shown
    held = [line for line in shown.splitlines() if "held, frames of each episode" in line]
    counts = [line.split("episode ")[1].split(", ") for line in held]
    assert [list(map(str.strip, line)) for line in counts] == [
        [f"0: {counts[0][0].split(': ')[1]}", f"1: {counts[0][0].split(': ')[1]}"], ["0: 0", "1: 0"],
    ]  # fmt: skip
    assert int(counts[0][0].split(": ")[1]) > 20
    assert figure.stat().st_size > 5000
    assert main(["label", str(source), "--out", str(out)]) == 2
    assert "is a labelled dataset already" in capsys.readouterr().err
    assert main(["labels", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frame"]["name"] == "robot"


def episode(synthetic):
    hand, _, _ = synthetic.path()
    columns = {"observation.state": hand}
    names = {"observation.state": ("x", "y", "z")}
    return Episode(3, synthetic.instruction, synthetic.mentions, columns, names), hand


def test_positions_from_a_table(synthetic, tmp_path):
    shown, hand = episode(synthetic)
    path = tmp_path / "objects.csv"
    lines = [
        "episode,frame,object,x,y,z,grasped",
        "3,0,the red cube,0.5,0.2,0.02,0",
        "3,5,the red cube,0.5,0.2,0.1,1",
    ]
    path.write_text("\n".join([*lines, "3,2,1,0.6,-0.15,0.04,0"]) + "\n")
    table = TableLabeller.read(path, EndEffectorColumns.parse("observation.state:0,1,2", needs_gripper=False))
    tracks = table.label(shown)
    np.testing.assert_allclose(tracks.gripper_to_object_m[0, 0], synthetic.cube - hand[0], atol=1e-6)
    assert tracks.grasped[:, 0].tolist() == [False] * 5 + [True] * (len(hand) - 5)
    assert np.isnan(tracks.gripper_to_object_m[:2, 1]).all()
    assert np.isfinite(tracks.gripper_to_object_m[2:, 1]).all()
    path.write_text("episode,frame,x,y,z\n0,0,1,1,1\n")
    with pytest.raises(InspireError, match=r"lacks the columns \['object'\]"):
        TableLabeller.read(path)


def table_of(synthetic, path: Path) -> Path:
    rows = [f"3,0,the red cube,{','.join(map(str, synthetic.cube))}"]
    path.write_text("\n".join(["episode,frame,object,x,y,z", *rows]) + "\n", encoding="utf-8")
    return path


def test_a_table_in_metres_with_positions_in_millimetres(synthetic, tmp_path):
    shown, hand = episode(synthetic)
    table = TableLabeller.read(table_of(synthetic, tmp_path / "objects.csv"))
    columns = {"observation.state": 1000 * hand}
    with pytest.raises(InspireError, match="--metres-per-unit"):
        table.calibrate(Recording(columns, np.zeros(1, int), shown.names))
    told = replace(table, metres_per_unit=0.001, fingertips_below_m=0.1)
    told = told.calibrate(
        Recording(columns, np.zeros(1, int), shown.names)
    )  # there is no gripper, and none is needed
    found = told.label(replace(shown, columns=columns)).gripper_to_object_m[:, 0]
    np.testing.assert_allclose(found, synthetic.cube - (hand - [0, 0, 0.1]), atol=1e-6)
    assert told.settings()["metres_per_unit"] == 0.001


def test_a_table_needs_no_gripper(synthetic, tmp_path):
    table = TableLabeller.read(table_of(synthetic, tmp_path / "objects.csv"))
    with pytest.raises(InspireError, match=r"\(--position\)"):
        table.calibrate(Recording({"observation.state": np.zeros((5, 4))}, np.zeros(1, int)))
    assert EndEffectorColumns.parse("observation.state:0,1,2", needs_gripper=False).columns() == (
        "observation.state",
    )


def test_a_function_is_a_labeller(synthetic):
    shown, hand = episode(synthetic)

    def truth(episode):
        place = np.stack(
            [np.tile(synthetic.cube, (len(episode), 1)), np.tile(synthetic.plate, (len(episode), 1))], 1
        )
        return place - episode.columns["observation.state"][:, None], np.zeros((len(episode), 2), bool)

    assert FunctionLabeller(truth).label(shown).gripper_to_object_m.shape == (len(hand), 2, 3)
    with pytest.raises(InspireError, match="expected"):
        FunctionLabeller(lambda e: (np.zeros((1, 2, 3)), np.zeros((1, 2), bool))).label(shown)


def test_labellers_by_name():
    assert get_labeller("truth").name == "simulator_state"
    with pytest.raises(InspireError, match="Possible: demonstration, truth"):
        get_labeller("oracle")
    with pytest.raises(InspireError, match="cannot be imported"):
        get_labeller("no.such.module:thing")


@pytest.mark.parametrize(("code", "message"), [
    ("def truth(episode", r"SyntaxError: .*broken_0\.py, line 1"),
    ("\nplaces = unknown", r"NameError: name 'unknown' is not defined\. \S*broken_1\.py, line 2"),
    ("class truth:\n    def __init__(self, table): ...", "TypeError: .*missing 1 required positional argument"),
])  # fmt: skip
def test_a_module_that_fails_when_it_is_imported_is_named_with_its_line(code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"broken_{int(code[0] == chr(10))}"
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(InspireError, match=rf"labeller '{name}:truth' cannot be imported: {message}"):
        get_labeller(f"{name}:truth")


def test_a_module_of_the_current_folder_is_found(tmp_path, monkeypatch):
    """The console script has its own folder on the path, not the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    (tmp_path / "my_labels_of_today.py").write_text("def truth(episode): ...\n")
    before = list(sys.path)
    assert get_labeller("my_labels_of_today:truth").name == "my_labels_of_today:truth"
    assert sys.path == [*before, str(tmp_path)]  # last, so that no file there hides an installed module


def test_a_labeller_may_import_a_module_of_the_current_folder_when_it_is_called(tmp_path, monkeypatch):
    """Detectors take long to load, so users import them within their function."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    (tmp_path / "my_late_labels.py").write_text(
        "def truth(episode):\n    from my_late_detector import found\n    return found, [[1]] * 2\n"
    )
    (tmp_path / "my_late_detector.py").write_text("found = [[[0.1, 0.2, 0.3]]] * 2\n")
    labeller = get_labeller("my_late_labels:truth")
    assert get_labeller("my_late_labels:truth").name == labeller.name
    assert sys.path.count(str(tmp_path)) == 1
    tracks = labeller.label(Episode(0, "lift it", ("it",), {"observation.state": np.zeros((2, 1))}))
    assert tracks.grasped.all()
