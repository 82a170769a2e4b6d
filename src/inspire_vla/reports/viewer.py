"""Moments of an episode in rerun: images, answers against the truth, actions, over the steps.

    camera/<name>                images                  dialogue           answers and truths as a table
    confidence/<mention>         of the answer           answers            the answers as a log
    state/<name>, action/<name>  numbers                 gripper            open 0, closed 0.5, holding 1

rerun is optional: the extra `view`.
"""

import importlib
import itertools
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.files import atomic_path
from inspire_vla.reports.moments import Moment
from inspire_vla.reports.table import at, make_table

GRIPPER = {"open": 0.0, "closed": 0.5, "holding": 1.0}


def view(
    name: str,
    instruction: str,
    mentions: Sequence[str],
    moments: Iterable[Moment],
    *,
    save: str | Path | None = None,
    outcome: str = "",
) -> None:
    """Send moments to rerun: to a file if `save` is given, else to a viewer that is opened.

    Raises InspireError without rerun-sdk, or as `check_save` does. On an error no file is left.
    """
    check_save(save)
    rr, blueprint = _rerun()
    recording = rr.RecordingStream("inspire_vla", recording_id=name)
    coming = iter(moments)
    first = list(itertools.islice(coming, 1))
    views = layout(blueprint, [camera for moment in first for camera in moment.images])
    with nullcontext() if save is None else atomic_path(save) as target:
        if target is None:
            recording.spawn(default_blueprint=views)
        else:
            recording.save(target, default_blueprint=views)
        _log(recording, rr, name, instruction, mentions, itertools.chain(first, coming), outcome)
        recording.flush()
        recording.disconnect()


def check_save(save: str | Path | None) -> None:
    """Raise InspireError for a file that a recording is not saved as: its name does not end in .rrd."""
    if save is not None and Path(save).suffix != ".rrd":
        raise InspireError(f"A recording is saved as .rrd, found {Path(save).name!r}.")


def _log(
    recording: Any,
    rr: Any,
    name: str,
    instruction: str,
    mentions: Sequence[str],
    moments: Iterable[Moment],
    outcome: str,
) -> None:
    recording.log(
        "episode",
        rr.TextDocument(f"# {instruction}\n{name}  \n{outcome}", media_type="text/markdown"),
        static=True,
    )
    before: tuple[Any, ...] = ()
    for moment in moments:
        recording.set_time("step", sequence=moment.step)
        for camera, image in moment.images.items():
            recording.log(f"camera/{_path(camera)}", rr.Image(image).compress(jpeg_quality=90))
        for kind, numbers in (("state", moment.state), ("action", moment.action)):
            for key, number in numbers.items():
                recording.log(f"{kind}/{_path(key)}", rr.Scalars(float(number)))
        if moment.gripper is not None:
            recording.log("gripper", rr.Scalars(GRIPPER[moment.gripper]))
        for mention, confidence in zip(mentions, moment.confidences, strict=False):
            recording.log(f"confidence/{_path(mention)}", rr.Scalars(float(confidence)))
        shown = (tuple(moment.answers), tuple(moment.truths), tuple(moment.confidences))
        if shown != before and (moment.answers or moment.truths):
            text = dialogue_text(instruction, mentions, moment)
            recording.log("dialogue", rr.TextDocument(text, media_type="text/markdown"))
            for line in _log_lines(mentions, moment):
                recording.log("answers", rr.TextLog(line))
            before = shown


def dialogue_text(instruction: str, mentions: Sequence[str], moment: Moment) -> str:
    """Return the dialogue of a moment as Markdown: a row for each object, then the instruction."""
    rows = []
    for i, mention in enumerate(mentions):
        answer, truth, confidence = (
            at(row, i) for row in (moment.answers, moment.truths, moment.confidences)
        )
        mark = "" if answer is None or truth is None else " ✓" if answer == truth else " ✗"
        number = "–" if answer is None or confidence is None else f"{confidence:.0%}"
        rows.append((mention, f"**{answer or '–'}**", number, f"{truth or '–'}{mark}"))
    table = make_table(("object", "answer", "confidence", "truth"), rows)
    return "\n".join([*table.markdown(), "", f"> {instruction}"])


def _log_lines(mentions: Sequence[str], moment: Moment) -> list[str]:
    lines = []
    for i, mention in enumerate(mentions):
        answer, truth = at(moment.answers, i), at(moment.truths, i)
        if answer is None and truth is None:
            continue
        if answer is None:
            lines.append(f"{mention}: truth {truth}")
        else:
            lines.append(
                f"{mention}: {answer}" + (f" (truth: {truth})" if truth not in (None, answer) else "")
            )
    return lines


def layout(blueprint: Any, cameras: Sequence[str]) -> Any:
    """The views, as a Blueprint of rerun. Each camera has one: rerun draws images of one view on top of each other."""
    b = blueprint
    return b.Blueprint(
        b.Horizontal(
            b.Vertical(
                *(b.Spatial2DView(origin=f"camera/{_path(camera)}", name=camera) for camera in cameras)
            ),
            b.Vertical(
                b.TextDocumentView(origin="dialogue", name="dialogue"),
                b.TimeSeriesView(origin="confidence", name="confidence"),
                b.TimeSeriesView(origin="state", name="state"),
                b.TimeSeriesView(origin="action", name="action"),
                b.TimeSeriesView(origin="gripper", name="gripper: open, closed, holding"),
                b.TextLogView(origin="answers", name="answers"),
                row_shares=[2, 2, 2, 2, 1, 1],
            ),
            column_shares=[3, 2],
        ),
        collapse_panels=True,
    )


def _path(text: str) -> str:
    """Return a name as one part of rerun's paths."""
    return "".join(letter if letter.isalnum() else "_" for letter in text)


def _rerun() -> tuple[Any, Any]:
    try:
        return importlib.import_module("rerun"), importlib.import_module("rerun.blueprint")
    except ImportError as error:
        raise InspireError(
            f"`inspire view` needs rerun: pip install -c constraints.txt -e '.[view]' ({reason_of(error)})."
        ) from error
