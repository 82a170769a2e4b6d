"""`inspire pretrain`."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from inspire_vla.backbones.devices import check_device, warn_of_slow_bfloat16
from inspire_vla.cli.options import Positive, PositiveOrNone, SeedOrNone, holds_out
from inspire_vla.files import check_folder
from inspire_vla.worker_processes import usable_cores

if TYPE_CHECKING:
    from inspire_vla.grounding.images import Images

SHOWN = 12
"""Images in the figure."""
HELD_OUT_SEED = 1
"""Seed of the images of the evaluation."""


@dataclass(kw_only=True)
class Arguments:
    """Pre-train the nano backbone on names and positions of objects in random scenes."""

    out: Path
    """Folder for the weights; an interrupted call, made again, resumes."""
    images: Positive = 81920
    """Number of training images."""
    images_dir: Path = Path("datasets/images")
    """Folder of the images, which are drawn if missing."""
    recipe: str = "nano_grounding"
    """Named recipe."""
    steps: PositiveOrNone = None
    """All training steps; by default the recipe's."""
    dense_steps: PositiveOrNone = None
    """The first of these, which train dense classification alone."""
    seed: SeedOrNone = None
    """By default the recipe's."""
    device: str = "cpu"
    """cpu, cuda, …."""
    threads: Positive = field(default_factory=usable_cores)
    """Threads of torch; by default one per core."""
    processes: Positive = field(default_factory=usable_cores)
    """Processes that draw images; by default one per core."""


def _drawer(scenes: str) -> Callable[[int, int, int], "Images"]:
    """What draws random scenes of a benchmark's objects."""
    if scenes == "libero":
        from inspire_vla.libero.installation import require_libero

        require_libero()
        from inspire_vla.libero.random_scenes import random_scenes as of_libero

        return of_libero
    from inspire_vla.tabletop.random_scenes import random_scenes

    return random_scenes


@holds_out("pre-training into")
def run(options: Arguments) -> None:
    check_device(options.device)
    for folder in (options.out, options.images_dir):
        check_folder(folder)
    import torch

    from inspire_vla.evaluation import provenance
    from inspire_vla.files import folder_lock, write_json
    from inspire_vla.grounding.evaluation import evaluate, point_at
    from inspire_vla.grounding.heads import POINTING_TOLERANCE
    from inspire_vla.grounding.images import draw_images
    from inspire_vla.grounding.pretraining import (
        check_config,
        load_pretrained,
        pretrain,
        read_recipe,
        with_dtype,
    )
    from inspire_vla.recipes import PRETRAINING_RECIPES, recipe_file
    from inspire_vla.reports.attention_figures import Pointing, pointing_figure
    from inspire_vla.reports.figures import save

    torch.set_num_threads(options.threads)
    origin = provenance()  # of the code that trains; the working tree may have changed at the end
    recipe = recipe_file(options.recipe, PRETRAINING_RECIPES)
    config = read_recipe(recipe, steps=options.steps, dense_steps=options.dense_steps, seed=options.seed)
    config = with_dtype(config, options.out, options.device)
    check_config(options.out, config)  # before the images are drawn, which takes long
    warn_of_slow_bfloat16(options.device, config.dtype)
    name = {"tabletop": "images"}.get(config.scenes, config.scenes)
    draw = partial(
        draw_images, _drawer(config.scenes), options.images_dir, image_size=config.image_size, name=name
    )
    with folder_lock(options.images_dir, "drawing images into"):
        files = draw(options.images, processes=options.processes)
        held_out = draw(1, seed=HELD_OUT_SEED)
    out = Path(pretrain(files, options.out, config, device=options.device))
    trained = load_pretrained(out, config)
    asked, points = point_at(*trained, held_out, images=SHOWN)
    answers = [
        Pointing(pixels, question.text, tuple(point), question.point)
        for (pixels, question), point in zip(asked, points.tolist(), strict=True)
        if question.point is not None
    ]
    save(pointing_figure(answers, POINTING_TOLERANCE), out / "pointing.png")
    result = evaluate(*trained, held_out)
    write_json(out / "evaluation.json", asdict(result) | {"provenance": origin})
    by_kind = ", ".join(
        f"{kind} {of_kind.accuracy:.1%} (n = {of_kind.n})"
        for kind, of_kind in result.pointing_by_kind.items()
    )
    print(
        f"Held-out images, {result.pointing_n} questions: pointing accuracy {result.pointing_accuracy:.1%} (within "
        f"{POINTING_TOLERANCE:.0%} of the image's side; blind baseline {result.pointing_accuracy_blind:.1%}), median "
        f"error {result.pointing_median_error:.3f}; by kind of phrase: {by_kind}; "
        f"presence {result.presence_accuracy:.1%} (chance about 50 %); "
        f"recognition {result.recognition_accuracy:.1%}.\nFigure of {SHOWN} of them: {out / 'pointing.png'}"
    )
