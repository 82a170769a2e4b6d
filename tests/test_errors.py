"""Errors name what is possible in a form that can be read; what other libraries say stands in plain words."""

import ast
import itertools
import re
import socket
from pathlib import Path

import av
import pyarrow.csv
import pytest

import inspire_vla
from inspire_vla.errors import counted, did_you_mean, nearest, part_of_these, possible, reason_of, some_of

ROOT = Path(inspire_vla.__file__).parent
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in ROOT.rglob("*.py")}


def raised(call) -> BaseException:
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    "call",
    [
        lambda path: path.read_bytes(),
        lambda path: pyarrow.csv.read_csv(path),  # has the number within its text
        lambda path: av.open(str(path)),
    ],
    ids=["open", "pyarrow", "av"],
)
def test_an_error_of_the_system_is_its_words_alone(tmp_path, call):
    error = raised(lambda: call(tmp_path / "none.csv"))
    assert "rrno" in str(error)
    assert reason_of(error) == "No such file or directory"


def test_the_file_is_named_where_the_sentence_does_not(tmp_path):
    error = raised((tmp_path / "none").read_bytes)
    assert reason_of(error, with_file=True) == f"No such file or directory: {tmp_path / 'none'}"
    assert reason_of(ValueError("x"), with_file=True) == "x"


def test_a_number_that_is_not_the_systems_is_left_out_too(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    assert reason_of(raised(lambda: av.open(str(tmp_path / "a.mp4")))) == (
        "Invalid data found when processing input"
    )
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert reason_of(unknown) == "Name or service not known"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("Not a parquet file."), "Not a parquet file"),
        (ValueError(" First. Second.\nThird."), "First. Second"),
        (RuntimeError(), "RuntimeError"),
        (OSError("no number"), "no number"),
    ],
)
def test_it_stands_within_a_sentence(error, expected):
    assert reason_of(error) == expected


def test_no_message_holds_the_raw_text_of_another_librarys_error():
    """It may end in a full stop of its own, have several lines, or begin with [Errno 2]."""
    ours = own_errors()
    assert "NoReply" in ours  # an error of an error of ours
    raw = [f"{path.relative_to(ROOT)}:{n}" for path, tree in TREES.items() for n in raw_texts(tree, ours)]
    assert not raw, f"take reason_of(error) there: {raw}"


def test_a_raw_text_is_found():
    tree = ast.parse(
        "try:\n    open(p)\nexcept OSError as e:\n    raise InspireError(f'{p}: {e}.')\n"
        "except NoReply as e:\n    raise InspireError(f'{e} Again.')\n"
    )
    assert raw_texts(tree, {"NoReply"}) == [4]


def own_errors() -> set[str]:
    """Names of InspireError and its subclasses, whose texts are sentences already."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    names: set[str] = set()
    while more := {name for name, its in bases.items() if its & {*names, "InspireError"}} - names:
        names |= more
    return names | {"InspireError"}


def raw_texts(tree: ast.Module, ours: set[str]) -> list[int]:
    """Lines of `raise …(f"… {error} …")` in handlers of other errors than `ours`. A KeyError's text is its key."""
    lines = []
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None or handler.type is None:
            continue
        kinds = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
        if kinds <= ours | {"KeyError"}:
            continue
        lines += [
            value.lineno
            for statement in ast.walk(handler)
            if isinstance(statement, ast.Raise)
            for value in ast.walk(statement)
            if isinstance(value, ast.FormattedValue)
            and isinstance(value.value, ast.Name)
            and value.value.id == handler.name
        ]
    return lines


# --- names that are possible

TASKS = [
    f"{scene}__put_the_{colour}_cube_in_the_{place}"
    for scene in ("box", "shelf")
    for colour in ("red", "blue", "green")
    for place in ("bowl", "top_drawer", "basket")
]


def test_a_short_list_stays_on_the_line():
    assert (
        did_you_mean("nano_on", ["nano_own", "pi05"])
        == " Did you mean 'nano_own'? Possible: ['nano_own', 'pi05']."
    )
    assert possible(["b", "a"]) == " Possible: ['a', 'b']."


@pytest.mark.parametrize(
    ("word", "first", "hint"),
    [
        ("box__put_the_red_cube_in_the_bowel", "box__put_the_red_cube_in_the_bowl", True),
        ("Put the blue cube in the top drawer", "box__put_the_blue_cube_in_the_top_drawer", True),
        ("shelf", "shelf__put_the_red_cube_in_the_bowl", False),
    ],
)
def test_a_long_list_has_the_nearest_ten_one_to_a_line(word, first, hint):
    lines = did_you_mean(word, TASKS).split("\n  ")
    assert (lines[0] == f" Did you mean {first!r}? Possible, the nearest first:") == hint
    assert lines[1] == first
    assert len(lines) == 12
    assert set(lines[1:11]) <= set(TASKS)
    assert lines[11] == "… and 8 more. The name 'list' shows all."


def test_names_that_hold_the_word_come_first():
    names = did_you_mean("drawer", TASKS).split("\n  ")[1:7]
    assert set(names) == {task for task in TASKS if "drawer" in task}


def test_the_word_list_shows_all():
    assert did_you_mean("list", TASKS) == "\n  ".join([" Possible:", *sorted(TASKS)])


def test_ten_long_names_need_no_count():
    assert did_you_mean("x", TASKS[:10]) == "\n  ".join([" Possible:", *sorted(TASKS[:10])])
    assert possible(TASKS).startswith("\n  ".join([" Possible:", *sorted(TASKS)[:10]]))


def test_a_message_of_one_line_gets_the_nearest_alone():
    assert nearest("top_drawer_green_cube", TASKS) == ""
    assert (
        nearest("shelf__put_the_red_cube_in_a_bowl", TASKS)
        == " Did you mean 'shelf__put_the_red_cube_in_the_bowl'?"
    )


def test_no_message_writes_a_list_of_its_own():
    """It would be one long line."""
    pattern = re.compile(r"Possible: \{(sorted|list)\(")
    places = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in TREES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line) and path.name != "errors.py"
    ]
    assert not places, f"take possible(choices) or did_you_mean(word, choices) there: {places}"


def test_a_count_and_its_noun():
    assert [counted(n, "step") for n in (0, 1, 2000)] == ["0 steps", "1 step", "2,000 steps"]
    assert counted(1, "process starts", "processes start") == "1 process starts"
    assert part_of_these(1, 1, "episode") == "this episode"
    assert part_of_these(1, 3, "episode") == "1 of these 3 episodes"
    assert part_of_these(3, 3, "episode") == "all of these 3 episodes"


def test_of_many_reasons_the_most_frequent_are_given():
    assert some_of("b") == "b"
    assert some_of("abbccc") == "3 × c; 2 × b; a"
    assert some_of("abcdd") == "2 × d; a; b; and 1 other reason"


COUNTED = (
    "episodes|frames|labels|chunks|rows|samples|instructions|demonstrations|sequences|closings|videos|answers"
)


def test_no_message_has_a_plural_behind_a_number_that_may_be_one():
    """ "trained on 1 of these 1 episodes": `counted` says "1 episode"."""
    plain = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            plain += [
                f"{path.relative_to(ROOT)}:{number.lineno}: {{{ast.unparse(number.value)}}}{text.value}"
                for number, text in itertools.pairwise(parts)
                if isinstance(number, ast.FormattedValue)
                and isinstance(text, ast.Constant)
                and re.match(rf" ({COUNTED})\b", text.value)
            ]
    assert not plain
