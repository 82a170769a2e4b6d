"""What other libraries say stands in our sentences in plain words."""

import ast
import socket
from pathlib import Path

import av
import pyarrow.csv
import pytest

import inspire_vla
from inspire_vla.errors import reason_of

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
    ("error", "said"),
    [
        (ValueError("Not a parquet file."), "Not a parquet file"),
        (ValueError(" First. Second.\nThird."), "First. Second"),
        (RuntimeError(), "RuntimeError"),
        (OSError("no number"), "no number"),
    ],
)
def test_it_stands_within_a_sentence(error, said):
    assert reason_of(error) == said


def test_no_message_holds_the_raw_text_of_another_librarys_error():
    """It may end in a full stop of its own, have several lines, or begin with [Errno 2]."""
    own = own_errors()
    assert "NoReply" in own  # an error of an error of ours
    raw = [f"{path.relative_to(ROOT)}:{n}" for path, tree in TREES.items() for n in raw_texts(tree, own)]
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
    own: set[str] = set()
    while more := {name for name, its in bases.items() if its & {*own, "InspireError"}} - own:
        own |= more
    return own | {"InspireError"}


def raw_texts(tree: ast.Module, own: set[str]) -> list[int]:
    """Lines of `raise …(f"… {error} …")` in handlers of other errors than our `own`. A KeyError's text is its key."""
    lines = []
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None or handler.type is None:
            continue
        kinds = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
        if kinds <= own | {"KeyError"}:
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
