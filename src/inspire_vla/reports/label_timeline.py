"""The labels of an episode as a figure: a row of colour per object, thinner where the labeller was less sure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inspire_vla.labels.summary import Timeline

COLOURS = {
    "right": "#4c9be8", "left": "#2563a8", "up": "#9ad17b", "down": "#3f8f4f", "front": "#f2b84b",
    "back": "#c9722f", "grasped": "#d6455d", "close": "#a06cd5", "near": "#a06cd5", "middle": "#7f8fa9",
    "far": "#4b5563", "": "#e5e7eb",
}  # fmt: skip


def draw_timelines(timelines: Sequence[Timeline], path: str | Path) -> Path:
    """Write a figure (PNG, SVG, PDF by the ending) of one panel per episode."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    heights = [1 + len(timeline.mentions) for timeline in timelines]
    figure = Figure(figsize=(9, 0.8 + 0.42 * sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(timelines), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    said: dict[str, str] = {}
    for panel, timeline in zip(panels, timelines, strict=True):
        seconds = len(timeline.answers) / timeline.fps
        for row, mention in enumerate(timeline.mentions):
            words = timeline.answers[:, row]
            edges = [0, *(np.flatnonzero(words[1:] != words[:-1]) + 1).tolist(), len(words)]
            for first, end in zip(edges, edges[1:], strict=False):  # noqa: RUF007
                word = str(words[first])
                said[word] = colour = COLOURS.get(word, _colour_of(word))
                sure = (
                    1.0 if timeline.confidence is None else float(timeline.confidence[first:end, row].mean())
                )
                panel.barh(
                    row, (end - first) / timeline.fps, left=first / timeline.fps,
                    height=0.25 + 0.6 * sure, color=colour, linewidth=0,
                )  # fmt: skip
                if (end - first) / len(words) > 0.07:
                    panel.text(
                        (first + end) / 2 / timeline.fps,
                        row,
                        word or "?",
                        ha="center",
                        va="center",
                        fontsize=7,
                    )
            panel.text(-0.01 * seconds, row, mention, ha="right", va="center", fontsize=8)
        panel.set(xlim=(0, seconds), ylim=(len(timeline.mentions) - 0.4, -0.6), yticks=[], xlabel="s")
        panel.set_title(f"episode {timeline.episode}: {timeline.instruction}", fontsize=9, loc="left")
        panel.spines[["top", "right", "left"]].set_visible(False)
    handles = [Patch(color=colour, label=word or "no label") for word, colour in sorted(said.items())]
    if len(handles) <= 12:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(8, len(handles)), fontsize=7)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path


def _colour_of(word: str) -> str:
    """A colour for words that are made, such as positions: always the same for the same word."""
    return f"#{sum(ord(c) * 2654435761 for c in word) & 0x7F7F7F | 0x404040:06x}"
