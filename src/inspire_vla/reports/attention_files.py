"""The folder that `inspire attention --out` writes: what was measured, its figures, and how it is read back."""

from pathlib import Path

from pydantic import TypeAdapter

from inspire_vla.errors import InspireError
from inspire_vla.files import read_json, write_json
from inspire_vla.reports.attention import Attention, compared, summarise
from inspire_vla.reports.attention_figures import examples_figure, share_chart
from inspire_vla.reports.figures import save

_FILE = TypeAdapter(Attention)


def write_attention(folder: str | Path, attention: Attention) -> Path:
    """Write attention.json (with its images), figure.png and, if anything was measured, shares.svg; return the path."""
    target = Path(folder)
    if attention.examples:
        save(examples_figure(attention.examples, attention.policies), target / "figure.png")
    if attention.measured:
        save(share_chart(attention.measured), target / "shares.svg", dark=True)
    numbers = {"summary": summarise(attention.measured), "compared": compared(attention.measured)}
    write_json(target / "attention.json", numbers | _FILE.dump_python(attention, mode="json"))
    return target


def read_attention(folder: str | Path) -> Attention:
    """Inverse of `write_attention`, apart from JPEG's losses. Raises InspireError for another folder."""
    try:
        return read_json(Path(folder) / "attention.json", Attention)
    except InspireError as error:
        raise InspireError(f"{folder} is not what `inspire attention --out` writes: {error}") from error
