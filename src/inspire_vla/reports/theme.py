"""The colours of pages, figures and videos, light and dark. p0, p1, …: of policies. w-left, …: of answers."""

from markupsafe import Markup

LIGHT = {
    "paper": "#fbfbf9", "card": "#ffffff", "ink": "#1c2126", "soft": "#5d6873", "line": "#dfe2e4", "band": "#f1f2ef",
    "p0": "#6b7785", "p1": "#d1570c", "p2": "#1f7a8c", "p3": "#7b4fa3", "p4": "#4f7d2c", "p5": "#b0326b",
    "good": "#1a7444", "bad": "#c0352b", "heat": "209, 87, 12",
    "w-right": "#1f7a8c", "w-left": "#2f5fb3", "w-up": "#7b4fa3", "w-down": "#b0326b", "w-front": "#c2560a",
    "w-back": "#8a6d00", "w-grasped": "#1d7f4b", "w-close": "#55706a", "w-near": "#7d9a3c", "w-middle": "#b08a2e",
    "w-far": "#8c5a4a", "w-other": "#6b7785",
}  # fmt: skip
DARK = {
    "paper": "#14181c", "card": "#1b2025", "ink": "#e7eaec", "soft": "#98a3ad", "line": "#303840", "band": "#20262c",
    "p0": "#93a1b0", "p1": "#ff9147", "p2": "#58b8cc", "p3": "#b58ae0", "p4": "#93c76a", "p5": "#ea7aac",
    "good": "#5fcf93", "bad": "#ff7d72", "heat": "255, 145, 71",
    "w-right": "#58b8cc", "w-left": "#86abf5", "w-up": "#b58ae0", "w-down": "#ea7aac", "w-front": "#ff9d5c",
    "w-back": "#dcbf52", "w-grasped": "#5fcf93", "w-close": "#9dbdb5", "w-near": "#b9d673", "w-middle": "#e6c268",
    "w-far": "#cf9a88", "w-other": "#93a1b0",
}  # fmt: skip
POLICIES = 6
"""Policy i has the colour p(i % POLICIES)."""
OTHER = "other"
ANSWERS = tuple(name.removeprefix("w-") for name in LIGHT if name.startswith("w-"))
"""Answers with a colour of their own, in the order of legends; OTHER is all the rest."""


def css_variables() -> Markup:
    """Return the colours as CSS variables, light and dark. Print is light."""
    light, dark = (
        ":root{" + "".join(f"--{name}:{colour};" for name, colour in colours.items()) + "}"
        for colours in (LIGHT, DARK)
    )
    return Markup(f"{light}\n@media screen and (prefers-color-scheme:dark){{{dark}}}")


def answer_name(answer: str | None) -> str:
    """Return the name of an answer's colour: the answer itself, or OTHER."""
    return answer if answer is not None and answer in ANSWERS else OTHER


def rgb(colour: str) -> tuple[int, int, int]:
    """ "#ff9147" → (255, 145, 71)."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
