"""What a person looks at: tables, videos, attention maps, the HTML page. Reads what evaluation has written."""

from inspire_vla.reports.attention import overlay, png, side_by_side
from inspire_vla.reports.page import Figure, render_page, write_page
from inspire_vla.reports.table import print_comparison
from inspire_vla.reports.video import write_episode_video

__all__ = [
    "Figure",
    "overlay",
    "png",
    "print_comparison",
    "render_page",
    "side_by_side",
    "write_episode_video",
    "write_page",
]
