"""Episode videos of several policies side by side, as one animated image for a page.

python scripts/film.py OUT.webp runs/base/videos/….mp4 runs/inspire/videos/….mp4

The shorter video stands still on its last image. One image in EVERY is kept, at the videos' own speed.
"""

import argparse
from pathlib import Path

from PIL import Image

from inspire_vla.files import atomic_path
from inspire_vla.labels.video import open_video
from inspire_vla.reports.theme import DARK, rgb
from inspire_vla.reports.video import frame_rate

EVERY = 5
HEIGHT = 420
"""Of the film, in pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    options = parser.parse_args()
    columns = [_images(video) for video in options.videos]
    film = [_side_by_side([c[min(i, len(c) - 1)] for c in columns]) for i in range(max(map(len, columns)))]
    each_ms = round(1000 * EVERY / frame_rate(options.videos[0]))
    with atomic_path(options.out) as partial:
        film[0].save(
            partial, "WEBP", save_all=True, append_images=film[1:], duration=each_ms, loop=0, quality=60
        )
    print(f"{options.out}: {len(film)} images, {options.out.stat().st_size:,} bytes")


def _images(video: Path) -> list[Image.Image]:
    with open_video(video) as container:
        images = [frame.to_image() for frame in container.decode(video=0)]
    return [*images[::EVERY], images[-1]]


def _side_by_side(images: list[Image.Image]) -> Image.Image:
    height = max(image.height for image in images)
    whole = Image.new("RGB", (sum(image.width for image in images), height), rgb(DARK["paper"]))
    left = 0
    for image in images:
        whole.paste(image, (left, 0))
        left += image.width
    return whole.resize((round(whole.width * HEIGHT / height), HEIGHT), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
