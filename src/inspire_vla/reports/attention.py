"""Where a model looks, laid over what it sees."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from inspire_vla.errors import InspireError
from inspire_vla.reports.drawing import INK, PAPER, fit, font

# Heat from nothing to most: dark blue, violet, orange, light yellow. Even in lightness, so it survives a grey printer.
_STOPS = np.array([[20, 24, 60], [110, 40, 130], [230, 110, 60], [255, 235, 150]], dtype=np.float64)


def heat_colours(weights: np.ndarray) -> np.ndarray:
    """(…) in [0, 1] → (…, 3) uint8."""
    position = np.clip(weights, 0, 1) * (len(_STOPS) - 1)
    low = np.minimum(position.astype(int), len(_STOPS) - 2)
    part = (position - low)[..., None]
    return (_STOPS[low] * (1 - part) + _STOPS[low + 1] * part).round().astype(np.uint8)


def overlay(
    picture: np.ndarray, weights: np.ndarray | None, *, size: int = 320, strength: float = 0.75
) -> Image.Image:
    """Lay attention weights (h, w) ≥ 0 of the picture's patches over `picture` (H, W, 3) uint8.

    Heat is what exceeds the mean weight, in units of the largest excess (or of half the mean, where all weights are
    alike): colours compare places within a picture, not pictures. Without weights it is the picture alone.

    Returns a picture `size` pixels wide. Raises InspireError for wrong shapes, negative or non-finite weights.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise InspireError(f"picture must be (H, W, 3) uint8, found {picture.shape} {picture.dtype}.")
    height = round(size * picture.shape[0] / picture.shape[1])
    shown = Image.fromarray(picture).resize((size, height), Image.Resampling.BICUBIC)
    if weights is None:
        return shown
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or not np.isfinite(weights).all() or (weights < 0).any():
        raise InspireError(f"weights must be (h, w), finite and ≥ 0, found shape {weights.shape}.")
    mean = weights.mean()
    excess = np.maximum(weights / mean - 1, 0) if mean > 0 else weights
    scaled = excess / max(excess.max(), 0.5)
    smooth = Image.fromarray(scaled.astype(np.float32)).resize((size, height), Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(smooth, dtype=np.float64), 0, 1)
    alpha = (strength * np.sqrt(heat))[..., None]
    grey = np.asarray(shown.convert("L"), dtype=np.float64)[..., None]
    base = 0.6 * np.asarray(shown, dtype=np.float64) + 0.4 * grey
    blended = base * (1 - alpha) + heat_colours(heat) * alpha
    return Image.fromarray(blended.round().astype(np.uint8))


def side_by_side(pictures: Sequence[tuple[str, Image.Image]], *, gap: int = 8) -> Image.Image:
    """Set pictures of one height in a row, each beneath its title."""
    if not pictures:
        raise InspireError("side_by_side() needs at least one picture, found none.")
    head = 26
    width = sum(picture.width for _, picture in pictures) + gap * (len(pictures) - 1)
    canvas = Image.new("RGB", (width, head + max(picture.height for _, picture in pictures)), PAPER)
    draw = ImageDraw.Draw(canvas)
    x = 0
    for title, picture in pictures:
        draw.text((x + 4, 4), fit(draw, title, 14, picture.width - 8), INK, font(14))
        canvas.paste(picture, (x, head))
        x += picture.width + gap
    return canvas


def png(picture: Image.Image) -> bytes:
    """Encode as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
