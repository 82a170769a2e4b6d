"""The HTML page of a comparison: one self-contained file that loads nothing from elsewhere."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from inspire_vla.comparison_format import Comparison
from inspire_vla.errors import InspireError
from inspire_vla.files import write_text
from inspire_vla.reports import table, tables, theme, timeline
from inspire_vla.reports.attention import Attention, compared
from inspire_vla.reports.attention_figures import share_chart
from inspire_vla.reports.figures import difference_chart, inline_svg, success_chart
from inspire_vla.reports.images import data_url, jpeg
from inspire_vla.reports.offline import offline_tables
from inspire_vla.reports.video import first_image, frame_rate

SHOWN_ANSWERS = 12
"""Answers of a confusion matrix that have a row and a column; the others share the last ones."""


def write_page(path: str | Path, comparison: Comparison, **options: Any) -> Path:
    """Write the page atomically and return its path; arguments as for `render_page`."""
    write_text(path, render_page(comparison, **options))
    return Path(path)


def render_page(
    comparison: Comparison,
    *,
    title: str = "InSpire and its base model",
    attention: Attention | None = None,
    notes: Sequence[str] = (),
    max_videos: int = 12,
) -> str:
    """Return the page of a comparison (see `evaluation.compare`) as HTML. Everything that records hold is escaped.

    Args:
        attention: maps and shares of attention to show.
        notes: paragraphs at the top, plain text: what the reader should know about this run.
        max_videos: at most so many, the first of every suite before any second; never chosen by outcome.
    """
    offline = comparison.get("offline")
    videos = _videos(comparison, max_videos)
    rollouts: dict[str, Any] = {}
    if comparison["policies"]:
        difference = difference_chart(comparison)
        first = comparison["policies"][0]["name"]
        rollouts = {
            "success_chart": inline_svg(success_chart(comparison), "Success in percent, with 95 % intervals"),
            "difference_chart": difference
            and inline_svg(difference, f"Difference to {first} in points, with 95 % intervals"),
            "task_table": tables.task_table(comparison),
            "goals_table": tables.goals_table(comparison) if comparison.get("goals") else None,
            "cost_table": tables.cost_table(comparison),
        }
    return render(
        "page.html",
        c=comparison,
        title=title,
        notes=notes,
        warnings=tables.warnings(comparison),
        offline=offline and [*offline_tables(offline), tables.cost_table(offline)],
        runs=[*comparison["policies"], *(offline["policies"] if offline else ())],
        **rollouts,
        confusions=_confusions(comparison),
        videos=videos,
        shown=sum(len(film["episodes"]) for film in videos),
        filmed=len(_filmed(comparison)),
        attention=None if attention is None else _attention(attention, comparison),
    )


def render(template: str, **values: Any) -> str:
    """Render a template of this package. Every text is escaped."""
    environment = Environment(
        loader=PackageLoader("inspire_vla.reports", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        percent=table.percent,
        interval=table.interval,
        points=table.points,
        point_interval=table.point_interval,
        p_value=table.p_value,
        timeline=timeline.episode_timeline,
        answer_label=timeline.answer_label,
        pretty=partial(json.dumps, indent=1, ensure_ascii=False, default=str),
    )
    return environment.get_template(template).render(
        colours=theme.css_variables(), policies=theme.POLICIES, **values
    )


def _attention(attention: Attention, comparison: Comparison) -> dict[str, Any]:
    """The tiles as data, the chart, and the differences; a policy keeps the colour that it has on the page."""
    _refuse_others(attention, comparison)
    known = [policy["name"] for policy in comparison["policies"]]
    names = known if set(attention.policies) <= set(known) else attention.policies
    chart = inline_svg(share_chart(attention.measured), "Share of attention") if attention.measured else None
    return {
        "examples": [
            {
                "instruction": example.instruction,
                "suite": example.suite,
                "tiles": [
                    {
                        "src": data_url("image/jpeg", jpeg(tile.image)), "policy": tile.policy, "doing": tile.doing,
                        "about": tile.about, "numbers": tile.numbers,
                        "colour": names.index(tile.policy) if tile.policy else None,
                    }
                    for tile in example.tiles
                ],
            }
            for example in attention.examples
        ],
        "method": attention.method,
        "chart": chart,
        "compared": compared(attention.measured),
        "n": len({(m.suite, m.task, m.seed) for m in attention.measured}),
    }  # fmt: skip


def _refuse_others(attention: Attention, comparison: Comparison) -> None:
    """Raise InspireError if the attention is of another checkpoint than the policy of that name on the page."""
    played = {policy["name"]: policy["run"].get("policy", {}) for policy in comparison["policies"]}
    for policy in attention.about.get("policies", ()):
        named = played.get(policy["name"], {})
        measured, evaluated = policy.get("sha256"), named.get("sha256")
        if measured and evaluated and measured != evaluated:
            raise InspireError(
                f"The attention is of another {policy['name']!r} ({policy.get('checkpoint')}, weights {measured[:8]}) "
                f"than the run ({named.get('checkpoint')}, {evaluated[:8]}). Measure it again with `inspire attention`."
            )


def _confusions(comparison: Comparison) -> list[dict[str, Any]]:
    """Per policy and group: the answers that occur and, for each true answer, the share of each given answer.

    Behind the most frequent answers is one row, and one column, of all others, so that a row adds up to its n.
    """
    matrices = []
    for entry in comparison["answers"]:
        for group in comparison["groups"]:
            answers = entry.get(group["group"])
            if not answers:
                continue
            confusion = answers["confusion"]
            every = sorted(
                set(confusion) | {given for row in confusion.values() for given in row},
                key=lambda word: (-sum(confusion.get(word, {}).values()), word),
            )
            words = {word: [word] for word in every[:SHOWN_ANSWERS]}
            if others := every[SHOWN_ANSWERS:]:
                words[f"other ({len(others)})"] = others
            rows = []
            for name, truths in words.items():
                true = [confusion.get(truth, {}) for truth in truths]
                counts = [sum(row.get(word, 0) for row in true for word in given) for given in words.values()]
                total = sum(sum(row.values()) for row in true)
                shares = [(count, count / total if total else 0.0) for count in counts]
                rows.append({"truth": name, "cells": shares, "total": total})
            matrices.append(
                {
                    "policy": entry["policy"], "group": group["group"],
                    "words": list(words), "others": len(others), "rows": rows, **answers,
                }
            )  # fmt: skip
    return matrices


def _filmed(comparison: Comparison) -> list[dict[str, Any]]:
    return [e for e in comparison["episodes"] if e["video"] and Path(e["video"]).is_file()]


def _videos(comparison: Comparison, limit: int) -> list[dict[str, Any]]:
    """The filmed episodes; those of one (suite, task, seed) together, in the order of the policies."""
    order = [policy["name"] for policy in comparison["policies"]]
    filmed: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for episode in _filmed(comparison):
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
                "answers": timeline.answers_in(group),
                "steps": max(episode["steps"] for episode in group),
            }
        )
    return chosen


def _sources(video: Path) -> dict[str, Any]:
    poster = first_image(video)
    return {
        "src": data_url("video/mp4", video.read_bytes()),
        "poster": data_url("image/jpeg", jpeg(poster, quality=80)),
        "width": poster.width,
        "height": poster.height,
        "fps": frame_rate(video),
    }
