"""Draw many random scenes into files; interrupted, it goes on with the file it was at."""

from functools import partial
from pathlib import Path

from tqdm.auto import tqdm

from inspire_vla.errors import InspireError
from inspire_vla.grounding.images import save_images
from inspire_vla.jobs import map_in_processes

IMAGES_A_FILE = 2048


def draw_images(
    out: str | Path, count: int, *, seed: int = 0, processes: int = 1, image_size: int = 96
) -> list[Path]:
    """Make sure that `count` images (rounded up to whole files) lie in `out`; returns their files.

    File i depends on seed, i and image size alone, so it does not matter who draws it and when.

    Raises:
        InspireError: a number out of range.
    """
    for name, number in (("count", count), ("processes", processes)):
        if number < 1:
            raise InspireError(f"{name} must be at least 1, found {number}.")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / _name(seed, number, image_size) for number in range(-(-count // IMAGES_A_FILE))]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    with tqdm(total=len(files), initial=len(files) - len(missing), desc="drawing images", unit="file") as bar:
        for _ in map_in_processes(partial(_draw, folder, seed, image_size), missing, processes):
            bar.update()
    return files


def _name(seed: int, number: int, image_size: int) -> str:
    return f"images_{image_size}_seed{seed}_{number:05d}.npz"


def _draw(folder: Path, seed: int, image_size: int, number: int) -> None:
    from inspire_vla.tabletop.random_scenes import random_scenes

    images = random_scenes(seed * 1_000_003 + number, IMAGES_A_FILE, image_size)
    save_images(images, folder / _name(seed, number, image_size))
