"""Where a model looks, laid over what it sees."""

import io

import numpy as np
from PIL import Image, ImageFilter

from inspire_vla.errors import InspireError

# Heat from nothing to most: dark blue, violet, orange, light yellow. Even in lightness, so it survives a grey printer.
_STOPS = np.array([[20, 24, 60], [110, 40, 130], [230, 110, 60], [255, 235, 150]], dtype=np.float64)


def heat_colours(weights: np.ndarray) -> np.ndarray:
    """(…) in [0, 1] → (…, 3) uint8."""
    position = np.clip(weights, 0, 1) * (len(_STOPS) - 1)
    low = np.minimum(position.astype(int), len(_STOPS) - 2)
    part = (position - low)[..., None]
    return (_STOPS[low] * (1 - part) + _STOPS[low + 1] * part).round().astype(np.uint8)


def overlay(
    image: np.ndarray, weights: np.ndarray | None, *, size: int = 320, strength: float = 0.75
) -> Image.Image:
    """Lay attention weights (h, w) ≥ 0 of the image's patches over `image` (H, W, 3) uint8.

    Heat is what exceeds the mean weight, in units of the largest excess (or of half the mean, where all weights are
    alike): colours compare places within an image, not images. Without weights it is the image alone.

    Returns an image `size` pixels wide. Raises InspireError for wrong shapes, negative or non-finite weights.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InspireError(f"image must be (H, W, 3) uint8, found {image.shape} {image.dtype}.")
    height = round(size * image.shape[0] / image.shape[1])
    shown = Image.fromarray(image).resize((size, height), Image.Resampling.BICUBIC)
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


def outlined(
    image: Image.Image, mask: np.ndarray, colour: tuple[int, int, int], *, width: int = 2
) -> Image.Image:
    """Return the image with the edge of `mask` (H, W) bool drawn around it, `width` pixels wide, on a dark hem."""
    grown = Image.fromarray(np.asarray(mask, dtype=np.uint8) * 255).resize(
        image.size, Image.Resampling.NEAREST
    )
    rings = []
    for reach in (0, width, width + 1):
        wide = grown if not reach else grown.filter(ImageFilter.MaxFilter(2 * reach + 1))
        rings.append(np.asarray(wide) > 127)
    inside, line, hem = rings
    pixels = np.array(image)
    pixels[hem & ~line] = pixels[hem & ~line] // 3
    pixels[line & ~inside] = colour
    return Image.fromarray(pixels)


def png(image: Image.Image) -> bytes:
    """Encode as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def jpeg(image: Image.Image, quality: int = 86) -> bytes:
    """Encode as JPEG: a sixth of a PNG's size, for pages."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
