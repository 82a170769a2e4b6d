"""Draw many free pictures into files; interrupted, it goes on with the file it was at."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tqdm.auto import tqdm

from inspire_vla.errors import InspireError
from inspire_vla.grounding.pictures import save_pictures

PICTURES_A_FILE = 2048


def draw_pictures(
    out: str | Path, count: int, *, seed: int = 0, processes: int = 1, image_size: int = 96
) -> list[Path]:
    """Make sure that `count` pictures (rounded up to whole files) lie in `out`; returns their files.

    File i depends on seed, i and image size alone, so it does not matter who draws it and when.

    Raises:
        InspireError: a number out of range.
    """
    for name, number in (("count", count), ("processes", processes)):
        if number < 1:
            raise InspireError(f"{name} must be at least 1, found {number}.")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    files = [
        folder / f"pictures_{image_size}_seed{seed}_{i:05d}.npz" for i in range(-(-count // PICTURES_A_FILE))
    ]
    missing = [(file, i) for i, file in enumerate(files) if not file.exists()]
    with tqdm(
        total=len(files), initial=len(files) - len(missing), desc="drawing pictures", unit="file"
    ) as bar:
        if processes == 1:
            for file, i in missing:
                _draw(file, seed, i, image_size)
                bar.update()
        elif missing:
            context = multiprocessing.get_context("spawn")  # OpenGL contexts do not survive a fork
            with ProcessPoolExecutor(min(processes, len(missing)), mp_context=context) as pool:
                for done in as_completed([pool.submit(_draw, f, seed, i, image_size) for f, i in missing]):
                    done.result()
                    bar.update()
    return files


def _draw(file: Path, seed: int, number: int, image_size: int) -> None:
    from inspire_vla.tabletop.free_pictures import free_pictures

    save_pictures(free_pictures(seed * 1_000_003 + number, PICTURES_A_FILE, image_size), file)
