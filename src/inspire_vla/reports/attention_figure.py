"""Where base and InSpire look, side by side, as in the paper's figure 4: a row an observation, a tile a look.

put the red mug on the plate                                  tabletop_seen
[camera]  [base, acting]  [InSpire, acting]  [InSpire, the red mug? left]  [InSpire, the plate? down]
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from inspire_vla.errors import InspireError
from inspire_vla.reports.attention import heat_colours, jpeg, png
from inspire_vla.reports.attention_chart import write_share_chart
from inspire_vla.reports.attention_share import Measurement, Share, as_rows, compared, summarise
from inspire_vla.reports.drawing import Colour, fit, font
from inspire_vla.reports.theme import LIGHT, rgb

TILE = 288
"""Side of a tile, pixels."""
GAP, MARGIN, HEAD, CAPTION = 12, 24, 34, 62
INK, SOFT, PAPER = rgb(LIGHT["ink"]), rgb(LIGHT["soft"]), rgb(LIGHT["paper"])


@dataclass(frozen=True)
class Tile:
    """One image. `policy` is "" for what the camera sees; `about` says what was asked and said."""

    image: Image.Image
    policy: str
    doing: str
    about: str = ""
    share: Share | None = None

    @property
    def numbers(self) -> str:
        """How much of the attention lies on the object, beside chance."""
        if self.share is None or not self.share.area > 0:
            return ""
        return f"{100 * self.share.share:.1f} % on it, {self.share.ratio:.1f} times chance"


@dataclass(frozen=True)
class Row:
    """One observation and the looks at it."""

    instruction: str
    suite: str
    seed: int
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Attention:
    """What `inspire attention` finds: examples to look at, and what was measured over the suites.

    `about`: method, suites, checkpoints, provenance; written along.
    """

    rows: tuple[Row, ...]
    measured: tuple[Measurement, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return str(self.about.get("method", "rollout"))

    @property
    def policies(self) -> list[str]:
        """In the order in which they were given, which gives them their colours."""
        return list(dict.fromkeys(t.policy for row in self.rows for t in row.tiles if t.policy))


def draw_figure(rows: Sequence[Row], policies: Sequence[str] = ()) -> Image.Image:
    """Set the rows beneath each other on light paper; `policies` in the order of their colours.

    Raises InspireError for no row.
    """
    if not rows:
        raise InspireError("a figure needs at least one row, found none.")
    most = max(len(row.tiles) for row in rows)
    width = 2 * MARGIN + most * TILE + (most - 1) * GAP
    each = HEAD + TILE + CAPTION + GAP
    canvas = Image.new("RGB", (width, 2 * MARGIN + len(rows) * each + 26), PAPER)
    draw = ImageDraw.Draw(canvas)
    y = MARGIN
    for row in rows:
        draw.text((MARGIN, y), fit(draw, row.instruction, 20, width - 320), INK, font(20))
        draw.text((width - MARGIN, y + 6), f"{row.suite}, seed {row.seed}", SOFT, font(14), anchor="ra")
        y += HEAD
        x = MARGIN
        for tile in row.tiles:
            canvas.paste(tile.image.resize((TILE, TILE)), (x, y))
            _caption(draw, x, y + TILE + 6, tile, policies)
            x += TILE + GAP
        y += TILE + CAPTION + GAP
    _scale(canvas, draw, y)
    return canvas


def write_attention(folder: str | Path, attention: Attention) -> Path:
    """Write attention.json, its tiles, figure.png and, where anything was measured, shares.svg. Returns the folder."""
    target = Path(folder)
    (target / "tiles").mkdir(parents=True, exist_ok=True)
    rows = []
    for i, row in enumerate(attention.rows):
        tiles = []
        for k, tile in enumerate(row.tiles):
            name = f"tiles/{i:02d}_{k:02d}.jpg"
            (target / name).write_bytes(jpeg(tile.image))
            share = None if tile.share is None else vars(tile.share)
            tiles.append(
                {
                    "file": name,
                    "policy": tile.policy,
                    "doing": tile.doing,
                    "about": tile.about,
                    "share": share,
                }
            )
        rows.append({"instruction": row.instruction, "suite": row.suite, "seed": row.seed, "tiles": tiles})
    if attention.rows:
        (target / "figure.png").write_bytes(png(draw_figure(attention.rows, attention.policies)))
    if attention.measured:
        write_share_chart(target / "shares.svg", attention.measured)
    data = {
        "about": attention.about,
        "summary": summarise(attention.measured),
        "compared": compared(attention.measured),
        "rows": rows,
        "measured": as_rows(attention.measured),
    }
    (target / "attention.json").write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8")
    return target


def read_attention(folder: str | Path) -> Attention:
    """Inverse of `write_attention`, but for the losses of JPEG. Raises InspireError for another folder."""
    source = Path(folder)
    try:
        data = json.loads((source / "attention.json").read_text(encoding="utf-8"))
        rows = tuple(
            Row(row["instruction"], row["suite"], row["seed"], tuple(_tile(source, t) for t in row["tiles"]))
            for row in data["rows"]
        )
        return Attention(rows, tuple(Measurement(**row) for row in data["measured"]), data["about"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InspireError(f"{source} is not what `inspire attention --out` writes: {error}.") from error


def _tile(source: Path, data: dict[str, Any]) -> Tile:
    share = None if data["share"] is None else Share(**data["share"])
    with Image.open(source / data["file"]) as image:
        return Tile(image.convert("RGB"), data["policy"], data["doing"], data["about"], share)


def _caption(draw: ImageDraw.ImageDraw, x: int, y: int, tile: Tile, policies: Sequence[str]) -> None:
    left = x
    if tile.policy:
        number = list(policies).index(tile.policy) % 6 if tile.policy in policies else 0
        colour: Colour = rgb(LIGHT[f"p{number}"])
        draw.ellipse((x, y + 4, x + 10, y + 14), fill=colour)
        left += 16
    head = f"{tile.policy}, {tile.doing}" if tile.policy else tile.doing
    draw.text((left, y), fit(draw, head, 15, TILE - 16), INK, font(15))
    for line, text in enumerate(text for text in (tile.about, tile.numbers) if text):
        draw.text((x, y + 19 + 17 * line), fit(draw, text, 13, TILE), SOFT, font(13))


def _scale(canvas: Image.Image, draw: ImageDraw.ImageDraw, y: int) -> None:
    """The key: from the mean attention to the most."""
    ramp = heat_colours(np.linspace(0, 1, 160))[None].repeat(10, 0)
    canvas.paste(Image.fromarray(ramp), (MARGIN, y + 6))
    draw.text((MARGIN + 170, y + 2), "attention above its mean, to the most in the image", SOFT, font(13))
