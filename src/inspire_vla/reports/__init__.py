"""What a person looks at: tables, figures, videos, the HTML page. Reads what evaluation has written.

tables.py   tables in the terminal, in Markdown and on the page     results.py  the tables of docs/results.md
figures.py  matplotlib figures, in files and on the page            timeline.py answers over an episode's steps
page.py     the HTML page                                           video.py    an episode as a video
offline.py  tables of policies on recorded frames                model_card.py   the card of a checkpoint
viewer.py   episodes in rerun                                       label_review.py  labels to check by eye
attention.py, attention_figures.py  attention maps and their shares on objects
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspire_vla.reports.attention import Attention, read_attention, write_attention
    from inspire_vla.reports.page import render_page, write_page
    from inspire_vla.reports.tables import print_comparison
    from inspire_vla.reports.video import write_episode_video

_MODULES = {
    "Attention": "attention", "read_attention": "attention", "write_attention": "attention",
    "render_page": "page", "write_page": "page", "print_comparison": "tables", "write_episode_video": "video",
}  # fmt: skip

__all__ = [
    "Attention",
    "print_comparison",
    "read_attention",
    "render_page",
    "write_attention",
    "write_episode_video",
    "write_page",
]


def __getattr__(name: str) -> Any:
    """Import on first use: a table needs neither matplotlib nor a video encoder."""
    if name not in _MODULES:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
