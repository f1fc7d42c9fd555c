"""The colours and marks of arms: the one source of the page's style sheet and of the notebooks' figures."""

from collections.abc import Mapping, Sequence

COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#656d76")
"""Blue, orange, green, purple, pink, grey, for a white background; the first is the reference's.

Blue and orange stay distinct under every colour blindness. From the third arm on, the marks help.
"""

DARK_COLOURS = ("#58a6ff", "#ffa657", "#56d364", "#bc8cff", "#ff9bce", "#8b949e")
"""The same hues for a dark background."""

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff", "panel": "#f5f6f8", "ink": "#1c2128", "soft": "#57606a", "rule": "#d4d9df", "link": "#0550ae",
    "good": "#116329", "warn": "#7d4e00", "bad": "#a40e26",
    **{f"arm-{i}": colour for i, colour in enumerate(COLOURS)},
}  # fmt: skip
"""Every colour of the page by its name in the style sheet."""

DARK: Mapping[str, str] = {
    "paper": "#0d1117", "panel": "#161b22", "ink": "#e6edf3", "soft": "#9aa4af", "rule": "#30363d", "link": "#6cb6ff",
    "good": "#56d364", "warn": "#e3b341", "bad": "#ff7b72",
    **{f"arm-{i}": colour for i, colour in enumerate(DARK_COLOURS)},
}  # fmt: skip
"""The same names for a reader who prefers a dark page."""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""Matplotlib's marker for each colour."""


def places(arms: Sequence[str], reference: str) -> dict[str, int]:
    """The index of each arm's colour: 0 for the reference; the others follow in order and wrap around.

    Args:
        arms: Names of the arms.
        reference: The arm that every gap is measured against.
    """
    others = [arm for arm in arms if arm != reference]
    return {reference: 0, **{arm: 1 + i % (len(COLOURS) - 1) for i, arm in enumerate(others)}}


def style_of(arms: Sequence[str], reference: str) -> dict[str, dict[str, str]]:
    """`{"color": "#rrggbb", "marker": "o"}` for each arm: its style in matplotlib.

    Args:
        arms: Names of the arms.
        reference: The arm that every gap is measured against.
    """
    return {arm: {"color": COLOURS[i], "marker": MARKERS[i]} for arm, i in places(arms, reference).items()}


def style_sheet() -> str:
    """The CSS variables of `LIGHT`, and of `DARK` on a screen whose reader prefers it."""
    light, dark = (" ".join(f"--{name}: {colour};" for name, colour in of.items()) for of in (LIGHT, DARK))
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
