"""Files of mention overrides, and `inspire mentions`, which writes them."""

import json
import shutil

import pytest

from inspire_vla.cli import main
from inspire_vla.errors import InspireError
from inspire_vla.instruction import MentionRole, find_mentions, override_for, read_overrides, write_overrides
from inspire_vla.lerobot_plugin.checkpoints import find

GERMAN = "Lege den Würfel ab"


def written(path, content) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def test_a_file_is_read_with_and_without_roles(tmp_path):
    rows = [{"mention": "the cube", "role": "carried"}, {"mention": "the box"}, "the lid"]
    overrides = read_overrides(written(tmp_path / "m.json", {GERMAN: rows, "wave": []}))
    assert overrides[GERMAN] == (
        MentionRole("the cube", "carried"),
        MentionRole("the box"),
        MentionRole("the lid"),
    )
    assert find_mentions(GERMAN, overrides) == ("the cube", "the box", "the lid")
    assert find_mentions("wave", overrides) == ()
    assert find_mentions("open the drawer", overrides) == ("the drawer",)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{", "no valid JSON"),
        ([1], "m.json"),
        ({"wave": "the cup"}, "wave"),
        (
            {"wave": [{"mention": "the cup", "role": "aim"}]},
            "'wave': Unknown role 'aim' of 'the cup'.*carried",
        ),
        ({"wave": [{"mention": "the cup", "rule": "goal"}]}, "rule"),
        ({"wave": [""]}, "must be words"),
        ({"wave": ["?"]}, "'wave': write the words of its objects in place of"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(tmp_path, content, error):
    with pytest.raises(InspireError, match=error) as caught:
        read_overrides(written(tmp_path / "m.json", content))
    assert "m.json" in str(caught.value)


def test_what_is_written_is_what_is_read(tmp_path):
    sentences = ["open the drawer and put the cup in it", "put everything in the bin"]
    path = write_overrides(tmp_path / "m.json", sentences, {"wave": (MentionRole("the hand"),)})
    overrides = read_overrides(path)
    assert list(overrides) == sentences
    assert [(item.role, item.mention) for item in overrides[sentences[0]]] == [
        ("operated", "the drawer"),
        ("carried", "the cup"),
        ("goal", "the drawer"),
    ]
    with pytest.raises(InspireError, match="exists"):
        write_overrides(path, sentences)


@pytest.mark.parametrize(
    "mentions", ["the cup", 3, [3], [{"role": "goal"}], [{"mention": "a", "role": "b"}], [" "]]
)
def test_wrong_mentions_of_a_call_are_refused(mentions):
    with pytest.raises(InspireError):
        override_for(mentions)


def test_mentions_of_a_call():
    assert override_for(["the cup", {"mention": "the box", "role": "goal"}]) == (
        MentionRole("the cup"),
        MentionRole("the box", "goal"),
    )


def test_command_shows_roles_doubts_and_refusals(tmp_path, capsys):
    path = tmp_path / "m.json"
    sentences = [
        "put the cup on the plate",
        "put everything in the bin",
        GERMAN,
        "put cup, pen and bowl in box",
    ]
    assert main(["mentions", *sentences, "--write", str(path), "--max-objects=3"]) == 0
    shown = capsys.readouterr().out
    assert "carried   the cup\n  goal      the plate" in shown
    assert "doubt: it moves objects that it does not name" in shown
    assert "refused: 'Lege den Würfel ab' is not English (German" in shown
    assert "only the first 3 objects" in shown
    assert "Instructions: 1 clear, 2 with doubts, 1 refused" in shown
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content[GERMAN] == [{"mention": "?", "role": "carried"}]
    assert main(["mentions", GERMAN, "--mentions", str(path)]) == 2
    assert "in place of '?'" in capsys.readouterr().err
    content[GERMAN] = [{"mention": "the cube", "role": "carried"}]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert main(["mentions", GERMAN, "--mentions", str(path)]) == 0
    assert "carried   the cube" in capsys.readouterr().out


def test_command_shows_what_a_policy_is_asked_about(tmp_path, capsys):
    sentence = "put cup, pen and bowl in box"
    earlier = shutil.copytree(find("nano_inspire"), tmp_path / "earlier")
    config = json.loads((earlier / "config.json").read_text(encoding="utf-8"))
    config["reasoning"]["max_objects"] = 3
    (earlier / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main(["mentions", sentence, "--policy", str(earlier)]) == 0
    assert "only the first 3 objects are asked about: cup, box, pen" in capsys.readouterr().out
    assert main(["mentions", sentence]) == 0
    assert "only the first" not in capsys.readouterr().out
    assert main(["mentions", sentence, "--policy", "nano_base"]) == 2
    assert "nano_base is a base model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sources", "error"), [([], "in quotes"), (["no/such_folder"], "no folder no/such_folder")]
)
def test_command_refuses_what_is_neither_dataset_nor_sentence(sources, error, capsys):
    assert main(["mentions", *sources]) == 2
    assert error in capsys.readouterr().err


def test_command_takes_a_folder_with_a_blank_and_a_long_sentence(tmp_path, capsys):
    (tmp_path / "my data").mkdir()
    assert main(["mentions", str(tmp_path / "my data")]) == 2
    assert "is no LeRobot dataset" in capsys.readouterr().err
    assert main(["mentions", "put the cup on the plate and " * 200 + "wait"]) == 0
