"""Evidence: the files that the results of an experiment are computed from, without images, and without weights unless
they are asked for.

The copy has the layout of the experiment's folder, so `inspire reproduce --results-only --out COPY` writes the same
results from it. With weights, what is left to evaluate can be evaluated in it.
"""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.experiment.folder import JOURNAL
from inspire_vla.experiment.stages import Stage
from inspire_vla.files import atomic_path, read_json, read_json_lines
from inspire_vla.labels.collected_dataset import COLLECTION_FILE
from inspire_vla.lerobot_plugin.checkpoints import find

_FILES = (
    JOURNAL,
    "grounding/*.json",
    "grounding/log.jsonl",
    "grounding/finished",
    "demonstrations/*/meta/info.json",
    "demonstrations/*/meta/inspire_labels.json",
    "policies/*/finished",
    "policies/*/train_log.jsonl",
    "runs/*/run.json",
    "runs/*/finished",
)
_LAST = "checkpoints/last/pretrained_model"
"""Where a policy's last checkpoint lies in the copy, below the folder of its training."""
_LARGE = ("timeline", "traceback")
"""Fields of an episode that no result is computed from."""


def check_evidence_folder(folder: Path) -> None:
    """Raise InspireError for a folder that holds something else than the evidence of an experiment."""
    if folder.exists() and not (folder / JOURNAL).is_file():
        raise InspireError(f"{folder} holds no evidence of an experiment (no {JOURNAL}): give a new folder.")


def keep_evidence(out: Path, folder: Path, *, weights: bool = False) -> None:
    """Copy the evidence of the experiment in `out` to `folder`, in place of an earlier copy.

    With `weights` also those of the pre-training and of each policy's last checkpoint. Paths below `out` become
    relative to it, whatever it is called on this machine.

    Raises:
        InspireError: `folder` holds something else, or, with `weights`, a finished training has no checkpoint.
    """
    check_evidence_folder(folder)
    roots = {str(out.resolve()), str(out)} - {"."}
    below = re.compile(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, sorted(roots)))})/")
    with atomic_path(folder) as partial:
        for source, text in _evidence(out):
            copy = partial / source.relative_to(out)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(below.sub("", text), encoding="utf-8")
        for source, place in _with_weights(out) if weights else ():
            copy = partial / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.suffix == ".json":
                copy.write_text(below.sub("", source.read_text(encoding="utf-8")), encoding="utf-8")
            else:
                shutil.copyfile(source, copy)


def refuse_evidence(out: Path, to_do: Sequence[Stage]) -> None:
    """Raise InspireError if `out` is evidence, and lacks the images or weights that a stage to do needs."""
    for need in dict.fromkeys(need for stage in to_do for need in stage.needs if need.exists()):
        dataset = need.parents[1]
        if need == dataset / "meta" / "info.json" and not (dataset / "data").is_dir():
            raise InspireError(
                f"{dataset} holds no demonstrations: {out} is a copy of an experiment's evidence. Its results: "
                "--results-only. To continue it, copy it, remove the copy's demonstrations, give the copy as --out."
            )
        trained = need.name == "finished" and any(need.parent.glob("*log.jsonl"))
        if trained and not any(need.parent.rglob("*.safetensors")):
            raise InspireError(
                f"{need.parent} has the log of a training and no weights: {out} is a copy of an experiment's evidence. "
                "Its results: --results-only. To continue it, put the weights there, or keep it with --keep FOLDER "
                "--weights where they are."
            )


def _with_weights(out: Path) -> Iterator[tuple[Path, Path]]:
    """The files of the pre-training's weights and of each policy's last checkpoint, and their places in the copy.

    A training that is not finished may have no checkpoint yet.
    """
    for source in sorted(out.glob("grounding/*.safetensors")):
        yield source, source.relative_to(out)
    for trained in sorted(out.glob("policies/*/")):
        try:
            checkpoint = find(trained)
        except InspireError as error:
            if (trained / "finished").exists():
                raise InspireError(f"--weights: the weights of {trained} are not here. ({error})") from None
            continue
        for source in sorted(
            path for path in checkpoint.iterdir() if path.suffix in (".json", ".safetensors")
        ):
            yield source, trained.relative_to(out) / _LAST / source.name


def _evidence(out: Path) -> Iterator[tuple[Path, str]]:
    for pattern in _FILES:
        for path in sorted(out.glob(pattern)):
            yield path, path.read_text(encoding="utf-8")
    for path in sorted(out.glob(f"demonstrations/*/{COLLECTION_FILE}")):  # the episodes are its large part
        settings = read_json(path, dict[str, Any])["settings"]
        yield path, json.dumps({"settings": settings, "episodes": []}, indent=1) + "\n"
    for path in sorted(out.glob("runs/*/episodes.jsonl")):
        lines = read_json_lines(path)
        slim = [{key: value for key, value in line.items() if key not in _LARGE} for line in lines]
        texts = (json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in slim)
        yield path, "".join(f"{text}\n" for text in texts)
