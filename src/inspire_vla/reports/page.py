"""One self-contained HTML file from a comparison: nothing is loaded from elsewhere, so it can be mailed and kept."""

import base64
import io
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from inspire_vla.errors import InspireError
from inspire_vla.reports import attention_chart, numbers, theme, timeline
from inspire_vla.reports.attention import jpeg
from inspire_vla.reports.attention_figure import Attention
from inspire_vla.reports.attention_share import compared
from inspire_vla.reports.chart import difference_chart, success_chart
from inspire_vla.reports.table import warnings
from inspire_vla.reports.video import first_image, frame_rate


def write_page(
    path: str | Path,
    comparison: dict[str, Any],
    *,
    title: str = "InSpire and its base model",
    attention: Attention | None = None,
    notes: Sequence[str] = (),
    max_videos: int = 12,
) -> Path:
    """Write the page of a comparison (see `evaluation.compare`) and return its path; whole or not at all.

    Args:
        attention: shown under "Where they look".
        notes: paragraphs at the top, plain text: what the reader should know about this run.
        max_videos: at most so many, the first filmed of every suite before any second; nothing is picked by outcome.

    Raises InspireError when the page cannot be written.
    """
    target = Path(path)
    text = render_page(comparison, title=title, attention=attention, notes=notes, max_videos=max_videos)
    partial_file = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial_file.write_text(text, encoding="utf-8")
        os.replace(partial_file, target)
    except OSError as error:
        raise InspireError(f"cannot write the page {target}: {error.strerror or error}.") from error
    return target


def render_page(
    comparison: dict[str, Any],
    *,
    title: str = "InSpire and its base model",
    attention: Attention | None = None,
    notes: Sequence[str] = (),
    max_videos: int = 12,
) -> str:
    """Return the page as HTML. Everything that comes from records is escaped."""
    environment = Environment(
        loader=PackageLoader("inspire_vla.reports", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        percent=numbers.percent,
        interval=numbers.interval,
        points=numbers.points,
        p_value=numbers.p_value,
        ms=numbers.milliseconds,
        timeline=partial(timeline.episode_timeline, titled=False),
        pretty=partial(json.dumps, indent=1, ensure_ascii=False, default=str),
    )
    return environment.get_template("page.html").render(
        c=comparison,
        title=title,
        notes=notes,
        warnings=warnings(comparison),
        success_chart=success_chart(comparison),
        difference_chart=difference_chart(comparison),
        confusions=_confusions(comparison),
        videos=_videos(comparison, max_videos),
        looks=None if attention is None else _looks(attention, comparison),
        colours=theme.variables(),
        figure_style=Markup(timeline.STYLE + attention_chart.STYLE),
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _looks(attention: Attention, comparison: dict[str, Any]) -> dict[str, Any]:
    """The tiles as data, the chart, and the differences; a policy has the colour that it has elsewhere on the page."""
    _refuse_others(attention, comparison)
    known = [policy["name"] for policy in comparison["policies"]]
    names = known if set(attention.policies) <= set(known) else attention.policies
    rows = [
        {
            "instruction": row.instruction,
            "suite": row.suite,
            "tiles": [
                {
                    "src": _data("image/jpeg", jpeg(tile.image)), "policy": tile.policy, "doing": tile.doing,
                    "about": tile.about, "numbers": tile.numbers,
                    "colour": names.index(tile.policy) % 6 if tile.policy else None,
                }
                for tile in row.tiles
            ],
        }
        for row in attention.rows
    ]  # fmt: skip
    return {
        "rows": rows,
        "method": attention.method,
        "chart": attention_chart.share_chart(attention.measured) if attention.measured else None,
        "compared": compared(attention.measured),
        "n": len({(m.suite, m.task, m.seed) for m in attention.measured}),
    }


def _refuse_others(attention: Attention, comparison: dict[str, Any]) -> None:
    """Raise InspireError where the one who looks is another checkpoint than its namesake on the page."""
    played = {policy["name"]: policy["run"].get("policy", {}) for policy in comparison["policies"]}
    for policy in attention.about.get("policies", ()):
        named = played.get(policy["name"], {})
        here, there = policy.get("sha256"), named.get("sha256")
        if here and there and here != there:
            raise InspireError(
                f"the attention is of another {policy['name']!r} ({policy.get('checkpoint')}, weights {here[:8]}) than "
                f"the run ({named.get('checkpoint')}, {there[:8]}). Look again: inspire attention --policy CHECKPOINT …"
            )


def _confusions(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """Per policy and group: the words that occur and, per truth, the share of each answer in its row."""
    tables = []
    for entry in comparison["answers"]:
        for group in comparison["groups"]:
            answers = entry.get(group["group"])
            if not answers:
                continue
            confusion = answers["confusion"]
            words = sorted(
                set(confusion) | {said for row in confusion.values() for said in row},
                key=lambda word: -sum(confusion.get(word, {}).values()),
            )[:12]
            rows = []
            for truth in words:
                row = confusion.get(truth, {})
                total = sum(row.values())
                shares = [(row.get(word, 0), row.get(word, 0) / total if total else 0.0) for word in words]
                rows.append({"truth": truth, "cells": shares, "total": total})
            tables.append(
                {"policy": entry["policy"], "group": group["group"], "words": words, "rows": rows, **answers}
            )
    return tables


def _videos(comparison: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    """The filmed episodes, those of one (suite, task, seed) together, policies in their order."""
    order = [policy["name"] for policy in comparison["policies"]]
    filmed: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for episode in comparison["episodes"]:
        if episode["video"] and Path(episode["video"]).is_file():
            filmed.setdefault((episode["suite"], episode["task"], episode["seed"]), []).append(episode)
    suites = [suite["suite"] for suite in comparison["suites"]]
    rank: dict[tuple[str, str, int], int] = {}
    for suite in suites:
        for position, key in enumerate(sorted(key for key in filmed if key[0] == suite)):
            rank[key] = position
    chosen: list[dict[str, Any]] = []
    for key in sorted(filmed, key=lambda k: (rank[k], suites.index(k[0]))):
        group = sorted(filmed[key], key=lambda episode: order.index(episode["policy"]))
        if sum(len(c["episodes"]) for c in chosen) + len(group) > limit:
            break
        chosen.append(
            {
                "suite": key[0],
                "instruction": group[0]["instruction"],
                "seed": key[2],
                "episodes": [{**episode, **_sources(Path(episode["video"]))} for episode in group],
                "words": timeline.words_in(group),
                "steps": max(episode["steps"] for episode in group),
            }
        )
    return chosen


def _sources(video: Path) -> dict[str, Any]:
    poster = first_image(video)
    buffer = io.BytesIO()
    poster.save(buffer, "JPEG", quality=80)
    return {
        "src": _data("video/mp4", video.read_bytes()),
        "poster": _data("image/jpeg", buffer.getvalue()),
        "width": poster.width,
        "height": poster.height,
        "fps": frame_rate(video),
    }
