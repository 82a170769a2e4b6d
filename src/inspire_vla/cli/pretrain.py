"""`inspire pretrain`."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from inspire_vla.cli.options import Positive, check_device
from inspire_vla.jobs import usable_cores

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
    """Named plan."""
    steps: Positive | None = None
    """All training steps; by default the recipe's."""
    naming_steps: Positive | None = None
    """Of these, steps of dense classification alone."""
    seed: int | None = None
    """By default the recipe's."""
    device: str = "cpu"
    """cpu, cuda, …."""
    threads: Positive = field(default_factory=usable_cores)
    """Threads of torch; by default one per core."""
    processes: Positive = field(default_factory=usable_cores)
    """Processes that draw images; by default one per core."""


def run(options: Arguments) -> None:
    check_device(options.device)
    import torch

    from inspire_vla.evaluation import provenance
    from inspire_vla.files import write_json
    from inspire_vla.grounding.examination import examine, point_at
    from inspire_vla.grounding.pointing import NEAR
    from inspire_vla.grounding.pretraining import check_plan, load_pretrained, pretrain, read_plan
    from inspire_vla.recipes import recipe_file
    from inspire_vla.reports.pointing_figure import Pointed, draw_pointing
    from inspire_vla.tabletop.random_scenes import draw_images

    torch.set_num_threads(options.threads)
    origin = provenance()  # of the code that trains; the working tree may have changed at the end
    plan = read_plan(
        recipe_file(options.recipe), steps=options.steps, naming_steps=options.naming_steps, seed=options.seed
    )
    check_plan(options.out, plan)  # before the images are drawn, which takes long
    files = draw_images(
        options.images_dir, options.images, processes=options.processes, image_size=plan.image_size
    )
    held_out = draw_images(options.images_dir, 1, seed=HELD_OUT_SEED, image_size=plan.image_size)
    out = Path(pretrain(files, options.out, plan, device=options.device))
    trained = load_pretrained(out, plan)
    asked, places = point_at(*trained, held_out, images=SHOWN)
    answers = [
        Pointed(pixels, exchange.question, tuple(place), exchange.place)
        for (pixels, exchange), place in zip(asked, places.tolist(), strict=True)
        if exchange.place is not None
    ]
    draw_pointing(answers, NEAR).save(out / "pointing.png")
    result = examine(*trained, held_out)
    write_json(out / "examination.json", asdict(result) | {"provenance": origin})
    print(
        f"On {result.where_n} held-out images: found {result.found:.1%} of objects within 3 % of the image's side "
        f"(blind {result.found_blind:.1%}), median error {result.error:.3f}; presence {result.presence:.1%} "
        f"(chance about 50 %), names {result.naming:.1%}.\nFigure of {SHOWN} of them: {out / 'pointing.png'}"
    )
