"""Evidence: the files that the results of an experiment are computed from, without weights and images.

The copy has the layout of the experiment's folder, so `inspire reproduce --results-only --out COPY` writes the same
results from it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.experiment.folder import JOURNAL
from inspire_vla.files import atomic_path, read_json, read_json_lines
from inspire_vla.labels.collected_dataset import COLLECTION_FILE

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
_LARGE = ("timeline", "traceback")
"""Fields of an episode that no result is computed from."""


def check_evidence_folder(folder: Path) -> None:
    """Raise InspireError for a folder that holds something else than the evidence of an experiment."""
    if folder.exists() and not (folder / JOURNAL).is_file():
        raise InspireError(f"{folder} holds no evidence of an experiment (no {JOURNAL}): give a new folder.")


def keep_evidence(out: Path, folder: Path) -> None:
    """Copy the evidence of the experiment in `out` to `folder`, in place of an earlier copy.

    Paths below `out` become relative to it, whatever it is called on this machine.

    Raises:
        InspireError: `folder` holds something else.
    """
    check_evidence_folder(folder)
    roots = {str(out.resolve()), str(out)} - {"."}
    below = re.compile(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, sorted(roots)))})/")
    with atomic_path(folder) as partial:
        for source, text in _evidence(out):
            copy = partial / source.relative_to(out)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(below.sub("", text), encoding="utf-8")


def refuse_evidence(out: Path) -> None:
    """Raise InspireError if `out` is evidence: without weights and images, its missing stages cannot run."""
    for info in out.glob("demonstrations/*/meta/info.json"):
        dataset = info.parents[1]
        if not (dataset / "data").is_dir():
            raise InspireError(
                f"{dataset} holds no demonstrations: {out} is a copy of an experiment's evidence. Its results: "
                "--results-only. To continue it, copy it, remove the copy's demonstrations, give the copy as --out."
            )


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
