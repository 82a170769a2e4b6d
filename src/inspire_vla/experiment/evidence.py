"""What the results of an experiment rest on, small enough for git: every episode, no weights, no images.

The copy has the layout of an experiment's folder, so `inspire reproduce --results-only --out COPY` writes the same
results from it.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from inspire_vla.errors import InspireError
from inspire_vla.experiment.runner import JOURNAL

_WHOLE = (
    JOURNAL,
    "grounding/*.json",
    "grounding/log.jsonl",
    "demonstrations/*/meta/info.json",
    "demonstrations/*/meta/inspire_labels.json",
    "policies/*/finished",
    "runs/*/run.json",
    "runs/*/finished",
)
_LARGE = ("timeline", "traceback")
"""Of an episode: what no number of the results is made of."""


def keep_evidence(out: Path, folder: Path) -> None:
    """Copy the evidence of the experiment in `out` to `folder`; an earlier copy is replaced once the new one is whole.

    Paths below `out` are told from there, whatever it is called on this machine.

    Raises InspireError where `folder` holds something else.
    """
    if folder.exists() and not (folder / JOURNAL).is_file():
        raise InspireError(f"{folder} holds no evidence of an experiment (no {JOURNAL}): give a new folder.")
    roots = {str(out.resolve()), str(out)} - {"."}
    below = re.compile(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, sorted(roots)))})/")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for source, text in _evidence(out):
        copy = partial / source.relative_to(out)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(below.sub("", text), encoding="utf-8")
    earlier = folder.with_name(f".{folder.name}.earlier")
    if folder.exists():
        shutil.rmtree(earlier, ignore_errors=True)
        os.replace(folder, earlier)
    os.replace(partial, folder)
    shutil.rmtree(earlier, ignore_errors=True)


def refuse_evidence(out: Path) -> None:
    """Raise InspireError where `out` is such a copy: what is left to do would begin without weights and images."""
    for info in out.glob("demonstrations/*/meta/info.json"):
        dataset = info.parents[1]
        if not (dataset / "data").is_dir():
            raise InspireError(
                f"{dataset} holds no demonstrations: {out} is a copy of an experiment's evidence. Its results: "
                "--results-only. To go on with it, copy it, remove the copy's demonstrations, give the copy as --out."
            )


def _evidence(out: Path) -> Iterator[tuple[Path, str]]:
    for pattern in _WHOLE:
        for path in sorted(out.glob(pattern)):
            yield path, path.read_text(encoding="utf-8")
    for path in sorted(out.glob("runs/*/episodes.jsonl")):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        slim = [{key: value for key, value in line.items() if key not in _LARGE} for line in lines]
        yield (
            path,
            "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in slim),
        )
    for path in sorted(out.glob("logs/*_train_*.txt")):
        printed = path.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
        yield path, "".join(f"{line[line.index('smpl:') :]}\n" for line in printed if "smpl:" in line)
