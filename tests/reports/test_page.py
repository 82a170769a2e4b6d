import re
from html.parser import HTMLParser

import pytest
from tests.reports import synthetic

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import compare
from inspire_vla.reports.figures import difference_chart, inline_svg, success_chart
from inspire_vla.reports.page import _confusions, render_page, write_page

VOID = {"meta", "br", "img", "source", "link", "input", "hr"}


class Balance(HTMLParser):
    """Checks that tags close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    return synthetic.comparison(tmp_path_factory.mktemp("runs"))


def check(html):
    parser = Balance()
    parser.feed(html)
    assert not parser.open
    return parser.seen


def test_the_page_holds_everything_and_loads_nothing(filmed):
    html = render_page(filmed, notes=["a note"], attention=synthetic.attention())
    seen = check(html)
    assert {"svg", "table", "video", "img"} <= seen
    for attribute in re.findall(r'(?:src|href|poster)="([^"]*)"', html):
        assert attribute.startswith(("data:", "#"))
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []
    for word in (
        "majority class",
        "McNemar",
        "put the black bowl on the plate",
        "a note",
        "Attention</h2>",
        "12.0 % on it, 1.2 times chance",
        "of attention",
        "commit",
    ):
        assert word in html


def test_what_records_say_is_escaped(filmed):
    nasty = "<script>alert('x')</script>"
    comparison = synthetic.comparison()
    comparison["tasks"][0]["task"] = nasty
    comparison["policies"][0]["name"] = nasty
    comparison["answers"][0]["policy"] = nasty
    comparison["policies"][1]["crashed"] = [
        {"suite": "s", "task": nasty, "seed": 1, "error": nasty, "traceback": nasty}
    ]
    comparison["policies"][1]["run"]["command"] = nasty
    html = render_page(comparison, notes=[nasty], title=nasty)
    check(html)
    assert nasty not in html
    attention = synthetic.attention(instruction=nasty)
    assert nasty not in render_page(comparison, attention=attention)
    assert html.count("alert(") == html.count("&lt;script&gt;alert(")


def test_the_attention_of_another_checkpoint_is_refused():
    runs = [synthetic.run("base", 0, talks=False), synthetic.run("InSpire", 1, talks=True)]
    for run in runs:
        run.info["policy"] |= {"checkpoint": "mine", "sha256": "a" * 64}
    attention = synthetic.attention()
    attention.about["policies"] = [{"name": "InSpire", "checkpoint": "mine", "sha256": "a" * 64}]
    comparison = compare(runs)
    assert "Attention</h2>" in render_page(comparison, attention=attention)
    attention.about["policies"] = [{"name": "InSpire", "checkpoint": "nano_inspire", "sha256": "b" * 64}]
    with pytest.raises(
        InspireError, match=r"another 'InSpire' \(nano_inspire, weights bbbbbbbb\) than the run"
    ):
        render_page(comparison, attention=attention)


def test_a_single_run_has_no_difference(filmed):
    alone = compare([synthetic.run("base", 0, talks=False)])
    assert difference_chart(alone) is None
    html = render_page(alone)
    check(html)
    assert "Paired difference" not in html
    assert "Answers against the truth" not in html


def test_videos_are_the_first_of_every_suite_and_limited(filmed):
    assert render_page(filmed, max_videos=4).count("<video") == 4
    assert render_page(filmed, max_videos=0).count("<video") == 0
    assert render_page(filmed).count("<video") == 8
    for limit, note in (
        (4, "4 of 8 filmed episodes"),
        (12, "8 of 8 filmed episodes"),
        (0, "8 episodes are filmed"),
    ):
        assert note in render_page(filmed, max_videos=limit)


def test_a_row_of_the_confusion_matrix_adds_up_to_its_n(filmed):
    """Modes direction_3d and position have more answers than the matrix has columns."""
    confusion = {f"word {i}": {f"word {(i + k) % 40}": 40 - i for k in range(3)} for i in range(30)}
    (entry,) = [entry for entry in filmed["answers"] if entry.get("seen")]
    comparison = filmed | {"answers": [entry | {"seen": entry["seen"] | {"confusion": confusion}}]}
    matrix = _confusions(comparison)[0]
    assert matrix["words"] == [*(f"word {i}" for i in range(12)), "other (20)"]
    assert [row["truth"] for row in matrix["rows"]] == matrix["words"]
    for row in matrix["rows"]:
        assert sum(count for count, _ in row["cells"]) == row["total"]
        assert sum(share for _, share in row["cells"]) == pytest.approx(1)
    assert sum(row["total"] for row in matrix["rows"]) == sum(sum(row.values()) for row in confusion.values())
    html = render_page(comparison)
    check(html)
    assert html.count("<th>other (20)</th>") == 2
    assert "true most seldom" not in render_page(filmed)


def test_every_video_has_its_timeline(filmed):
    html = render_page(filmed)
    assert html.count("data-steps=") == 8
    assert html.count(">gripper</text>") == 8
    assert 'data-fps="10.0"' in html
    for name in set(re.findall(r"var\(--([\w-]+)\)", html)):
        assert f"--{name}:" in html, name


def test_charts_name_every_suite(filmed):
    for figure in (success_chart(filmed), difference_chart(filmed)):
        chart = inline_svg(figure)
        for name in ("seen", "unseen", "spatial", "goal"):
            assert f">{name}<" in chart
        assert "InSpire" in "".join(re.findall(r"<title>([^<]*)", chart))


def test_the_page_is_written_whole(filmed, tmp_path):
    path = write_page(tmp_path / "deep" / "index.html", filmed)
    assert path.read_text().endswith("</html>")
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InspireError, match="Cannot write"):
        write_page(tmp_path / "file" / "index.html", filmed)
