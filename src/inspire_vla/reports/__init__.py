"""What a person looks at: tables, videos, attention maps, the HTML page. Reads what evaluation has written."""

from inspire_vla.reports.attention_figure import Attention, read_attention, write_attention
from inspire_vla.reports.page import render_page, write_page
from inspire_vla.reports.table import print_comparison
from inspire_vla.reports.video import write_episode_video

__all__ = [
    "Attention",
    "print_comparison",
    "read_attention",
    "render_page",
    "write_attention",
    "write_episode_video",
    "write_page",
]
