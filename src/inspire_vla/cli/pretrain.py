"""`inspire pretrain`: teach a small backbone what things are called and where they are in an image."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from inspire_vla.cli.number_arguments import positive
from inspire_vla.jobs import usable_cores

SHOWN = 12
"""Images in the figure, spread over those of the examination."""
HELD_OUT_SEED = 1
"""Of the images that the examination is held on."""


def pretrain_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", required=True, help="folder for the weights; interrupted, call again to go on")
    sub.add_argument(
        "--images", type=positive, default=81920, metavar="N", help="drawn, default: %(default)s"
    )
    sub.add_argument("--images-dir", default="datasets/images", help="where they lie, default: %(default)s")
    sub.add_argument("--recipe", default="nano_grounding", help="named plan, default: %(default)s")
    sub.add_argument("--steps", type=positive, help="all steps; default: the recipe's")
    sub.add_argument("--naming-steps", type=positive, help="of these, on names alone")
    sub.add_argument("--seed", type=int)
    sub.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
    sub.add_argument("--threads", type=positive, default=usable_cores(), help="default: all cores")
    sub.add_argument("--processes", type=positive, default=usable_cores(), help="that draw images")


def pretrain(options: argparse.Namespace) -> None:
    import torch

    from inspire_vla.evaluation import provenance
    from inspire_vla.grounding.examination import examine, point_at
    from inspire_vla.grounding.pointing import NEAR
    from inspire_vla.grounding.pretraining import check_plan, load_pretrained, read_plan
    from inspire_vla.grounding.pretraining import pretrain as train
    from inspire_vla.recipes import recipe_file
    from inspire_vla.reports.pointing_figure import Pointed, draw_pointing
    from inspire_vla.tabletop.random_scenes import draw_images

    torch.set_num_threads(options.threads)
    origin = provenance()  # of the code that trains, which may have changed when it is done
    plan = read_plan(
        recipe_file(options.recipe), steps=options.steps, naming_steps=options.naming_steps, seed=options.seed
    )
    check_plan(options.out, plan)  # before the drawing, which takes long
    files = draw_images(
        options.images_dir, options.images, processes=options.processes, image_size=plan.image_size
    )
    held_out = draw_images(options.images_dir, 1, seed=HELD_OUT_SEED, image_size=plan.image_size)
    out = train(files, options.out, plan, device=options.device)
    trained = load_pretrained(out, plan)
    asked, places = point_at(*trained, held_out, images=SHOWN)
    answers = [
        Pointed(pixels, exchange.question, tuple(place), exchange.place)
        for (pixels, exchange), place in zip(asked, places.tolist(), strict=True)
        if exchange.place is not None
    ]
    draw_pointing(answers, NEAR).save(out / "pointing.png")
    result = examine(*trained, held_out)
    (Path(out) / "examination.json").write_text(
        json.dumps(asdict(result) | {"provenance": origin}, indent=1) + "\n", encoding="utf-8"
    )
    print(
        f"On {result.where_n} held-out images: found {result.found:.1%} of things within 3 % of the image's side "
        f"(blind {result.found_blind:.1%}), median error {result.error:.3f}; presence {result.presence:.1%} "
        f"(chance about 50 %), names {result.naming:.1%}.\nWhere it points on {SHOWN} of them: {out / 'pointing.png'}"
    )
