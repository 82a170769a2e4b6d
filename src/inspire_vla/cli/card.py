"""`inspire card`."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from inspire_vla.cli.options import holds_out
from inspire_vla.errors import InspireError, counted


@dataclass
class Arguments:
    """Write a checkpoint's model card for the Hugging Face hub, with what was measured."""

    policy: Positional[Annotated[str, arg(metavar="CHECKPOINT")]]
    """Checkpoint: a folder, an included one, or user/name on the hub."""
    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="[RUN …]")]] = ()
    """Folders of its evaluations; without any the card says that nothing was measured."""
    name: str = "USER/NAME"
    """Name on the hub, which the card's commands show."""
    license: str = "apache-2.0"
    """Licence of the weights, in the hub's words."""
    out: Path | None = None
    """The card; by default README.md in the checkpoint's folder. The first one is kept as README.md.before_card."""


@holds_out("writing")
def run(options: Arguments) -> None:
    from inspire_vla import policies
    from inspire_vla.evaluation import compare, pool, read_run
    from inspire_vla.files import check_file, read_json, write_text
    from inspire_vla.lerobot_plugin.checkpoints import find
    from inspire_vla.reports.model_card import model_card

    folder = find(options.policy)
    if options.out is None and not Path(options.policy).exists():
        raise InspireError(f"{options.policy} is not a folder of yours: give --out for its card.")
    if options.out is not None:
        check_file(options.out, ".md")
    about = policies.describe(options.policy)
    runs = [read_run(path) for path in options.runs]
    for run in runs:
        measured = run.info.get("policy", {})
        if (weights := measured.get("sha256")) != about["sha256"]:
            raise InspireError(
                f"{run.path} is of other weights than {folder}: {str(weights)[:12]}, not {str(about['sha256'])[:12]}."
            )
        now = policies.as_begun(about, options.policy, run.path)["settings_sha256"]
        if measured.get("settings_sha256", now) != now:
            raise InspireError(
                f"{run.path} played these weights with other settings than {folder} holds (hash of its configuration, "
                "statistics and tokenizers). Evaluate the checkpoint as it is."
            )
        control = run.info.get("plan", {}).get("control", "none")
        if control != "none":
            raise InspireError(
                f"{run.path} overrode the answers (--control {control}); a card holds the policy's own."
            )
        if "finished" not in run.info:
            text = (
                f"warning: {run.path} is not finished ({counted(len(run.records), 'episode')} so far); the "
                "card says so."
            )
            print(f"inspire card: {text}", file=sys.stderr)
    kinds = [[run for run in runs if run.is_offline is offline] for offline in (False, True)]
    pooled = [pool([kind], about["name"]) for kind in kinds if kind]
    training = folder / "train_config.json"
    card = model_card(
        about,
        compare(pooled) if pooled else None,
        [run.info for run in runs],
        name=options.name,
        license=options.license,
        training=read_json(training, dict) if training.is_file() else None,
        suites=policies.trained_on(options.policy),
    )
    out = options.out or folder / "README.md"
    earlier = out.with_name("README.md.before_card")
    if options.out is None and out.exists() and not earlier.exists():
        shutil.copy2(out, earlier)
    write_text(out, card)
    print(f"Card: {out}")
