"""`inspire report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from inspire_vla.cli.options import NotNegative, holds_out


@dataclass
class Arguments:
    """Write one self-contained HTML page about runs."""

    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN …")]]
    """Folders of runs, the base model's first. Shards of one run count as one."""
    out: Path = Path("report.html")
    """The page."""
    title: str = "InSpire and its base model"
    """Title of the page."""
    max_videos: NotNegative = 12
    """At most so many videos."""
    attention: Path | None = None
    """Folder that `inspire attention --out` wrote."""


@holds_out("writing")
def run(options: Arguments) -> None:
    from inspire_vla.evaluation import compare, join_shards, read_run
    from inspire_vla.files import check_file
    from inspire_vla.reports.attention_files import read_attention
    from inspire_vla.reports.page import write_page

    check_file(options.out, ".html")
    page = write_page(
        options.out,
        compare(join_shards([read_run(path) for path in options.runs])),
        title=options.title,
        attention=None if options.attention is None else read_attention(options.attention),
        max_videos=options.max_videos,
    )
    print(f"Page: {page}")
