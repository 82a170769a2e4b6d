"""Colours, fonts and words for images; the same colours as the page."""

from functools import cache

from PIL import ImageDraw, ImageFont

INK, PAPER, FAINT = (235, 238, 242), (22, 26, 32), (130, 140, 152)
TRUE, FALSE, UNKNOWN = (64, 192, 120), (240, 92, 80), (150, 160, 172)
Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def font(size: int) -> Font:
    """Pillow's own font: no file of the machine is needed."""
    return ImageFont.load_default(size)


def wrap(draw: ImageDraw.ImageDraw, text: str, size: int, width: int) -> list[str]:
    """Break `text` into lines of at most `width` pixels; a longer word stands alone, cut with an ellipsis."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and draw.textlength(joined, font(size)) <= width:
            lines[-1] = joined
        else:
            lines.append(fit(draw, word, size, width))
    return lines or [""]


def fit(draw: ImageDraw.ImageDraw, text: str, size: int, width: int) -> str:
    """Cut `text` to `width` pixels, with an ellipsis."""
    if draw.textlength(text, font(size)) <= width:
        return text
    while text and draw.textlength(text + "…", font(size)) > width:
        text = text[:-1]
    return text + "…"
