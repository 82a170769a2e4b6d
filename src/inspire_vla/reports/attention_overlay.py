"""Attention drawn over an image, and outlines of objects in it."""

import numpy as np
from PIL import Image, ImageFilter

from inspire_vla.errors import InspireError

# From low to high attention: dark blue, violet, orange, light yellow. Lightness rises evenly, so it prints in grey.
_HEAT = np.array([[20, 24, 60], [110, 40, 130], [230, 110, 60], [255, 235, 150]], dtype=np.float64)


def heat_colours(weights: np.ndarray) -> np.ndarray:
    """(…) in [0, 1] → (…, 3) uint8."""
    stops = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(weights, stops, channel) for channel in _HEAT.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay(image: np.ndarray, weights: np.ndarray | None, *, size: int = 320) -> Image.Image:
    """Draw attention weights (h, w) ≥ 0 of an image's patches over the image (H, W, 3) uint8.

    Shown is the excess over the mean weight, relative to the largest excess (at least half the mean). So colours
    compare places within an image, not images. Without weights the image is only resized.

    Returns an image `size` pixels wide. Raises InspireError for wrong shapes, negative or non-finite weights.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InspireError(f"image must be (H, W, 3) uint8, found {image.shape} {image.dtype}.")
    height = round(size * image.shape[0] / image.shape[1])
    resized = Image.fromarray(image).resize((size, height), Image.Resampling.BICUBIC)
    if weights is None:
        return resized
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or not np.isfinite(weights).all() or (weights < 0).any():
        raise InspireError(f"weights must be (h, w), finite and ≥ 0, found shape {weights.shape}.")
    mean = weights.mean()
    excess = np.maximum(weights / mean - 1, 0) if mean > 0 else weights
    scaled = excess / max(excess.max(), 0.5)
    smooth = Image.fromarray(scaled.astype(np.float32)).resize((size, height), Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(smooth, dtype=np.float64), 0, 1)
    alpha = (0.75 * np.sqrt(heat))[..., None]
    grey = np.asarray(resized.convert("L"), dtype=np.float64)[..., None]
    base = 0.6 * np.asarray(resized, dtype=np.float64) + 0.4 * grey
    return Image.fromarray((base * (1 - alpha) + heat_colours(heat) * alpha).round().astype(np.uint8))


def outlined(
    image: Image.Image, mask: np.ndarray, colour: tuple[int, int, int], *, width: int = 2
) -> Image.Image:
    """Return the image with the edge of `mask` (H, W) bool drawn around it, with a dark border outside."""
    grown = Image.fromarray(np.asarray(mask, dtype=np.uint8) * 255).resize(
        image.size, Image.Resampling.NEAREST
    )
    inside, line, border = (
        np.asarray(grown.filter(ImageFilter.MaxFilter(2 * reach + 1)) if reach else grown) > 127
        for reach in (0, width, width + 1)
    )
    pixels = np.array(image)
    pixels[border & ~line] = pixels[border & ~line] // 3
    pixels[line & ~inside] = colour
    return Image.fromarray(pixels)
