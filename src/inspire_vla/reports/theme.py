"""The colours of pages, figures and videos, for light and dark; and the frame of a figure that stands alone.

Figures are drawn with CSS variables, so that one drawing fits the page it is put into. A figure in a file of its own
brings the variables along.
"""

from collections.abc import Mapping

from markupsafe import Markup, escape

LIGHT = {
    "paper": "#fbfbf9", "card": "#ffffff", "ink": "#1c2126", "soft": "#5d6873", "line": "#dfe2e4", "band": "#f1f2ef",
    "p0": "#6b7785", "p1": "#d1570c", "p2": "#1f7a8c", "p3": "#7b4fa3", "p4": "#4f7d2c", "p5": "#b0326b",
    "good": "#1a7444", "bad": "#c0352b", "heat": "209, 87, 12",
}  # fmt: skip
DARK = {
    "paper": "#14181c", "card": "#1b2025", "ink": "#e7eaec", "soft": "#98a3ad", "line": "#303840", "band": "#20262c",
    "p0": "#93a1b0", "p1": "#ff9147", "p2": "#58b8cc", "p3": "#b58ae0", "p4": "#93c76a", "p5": "#ea7aac",
    "good": "#5fcf93", "bad": "#ff7d72", "heat": "255, 145, 71",
}  # fmt: skip
OTHER = "other"
WORDS_LIGHT = {
    "right": "#1f7a8c", "left": "#2f5fb3", "up": "#7b4fa3", "down": "#b0326b", "front": "#c2560a", "back": "#8a6d00",
    "grasped": "#1d7f4b", "close": "#55706a", "near": "#7d9a3c", "middle": "#b08a2e", "far": "#8c5a4a",
    OTHER: "#6b7785",
}  # fmt: skip
WORDS_DARK = {
    "right": "#58b8cc", "left": "#86abf5", "up": "#b58ae0", "down": "#ea7aac", "front": "#ff9d5c", "back": "#dcbf52",
    "grasped": "#5fcf93", "close": "#9dbdb5", "near": "#b9d673", "middle": "#e6c268", "far": "#cf9a88",
    OTHER: "#93a1b0",
}  # fmt: skip
FIGURE_STYLE = """
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;fill:var(--ink)}
.paper{fill:var(--paper)}
"""


def variables() -> Markup:
    """CSS: the colours as variables, light and dark. Print is light."""

    def rule(colours: Mapping[str, str], words: Mapping[str, str]) -> str:
        named = {**colours, **{f"w-{word}": colour for word, colour in words.items()}}
        return ":root{" + "".join(f"--{name}:{colour};" for name, colour in named.items()) + "}"

    light, dark = rule(LIGHT, WORDS_LIGHT), rule(DARK, WORDS_DARK)
    return Markup(f"{light}\n@media screen and (prefers-color-scheme:dark){{{dark}}}")


def word_of(word: str | None) -> str:
    """The name of a word's colour: the word itself, or OTHER."""
    return word if word in WORDS_LIGHT and word is not None else OTHER


def rgb(colour: str) -> tuple[int, int, int]:
    """ "#ff9147" → (255, 145, 71)."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def standalone(body: str, width: float, height: float, label: str, style: str = "") -> Markup:
    """A figure as an SVG file with its own colours. Every text in `body` must have been escaped."""
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f"<style>{variables()}{FIGURE_STYLE}{style}</style>"
        f'<rect class="paper" width="{width:.0f}" height="{height:.0f}"/>{body}</svg>'
    )
