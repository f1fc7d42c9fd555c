"""Text has the contrast that WCAG requires, light and dark. Nothing moves for readers who prefer no motion."""

import re
from importlib import resources

import pytest

from xnorlit.report.palette import DARK, LIGHT

STYLE = resources.files("xnorlit.report.html").joinpath("style.css").read_text()


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """Source: WCAG 2.2, relative luminance and contrast ratio."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_by_hand():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_colour_can_be_read(scheme):
    words = ["ink", "soft", "link", "good", "warn", "bad", *(f"arm-{i}" for i in range(6))]
    assert [w for w in words for ground in ("paper", "panel") if contrast(scheme[w], scheme[ground]) < 4.5] == []


def test_nothing_scrolls_by_itself_where_motion_is_not_wanted():
    moving = re.search(r"@media \(prefers-reduced-motion: no-preference\) \{([^}]*)\}", STYLE)
    assert moving
    assert "scroll-behavior: smooth" in moving[1]
    assert STYLE.count("scroll-behavior") == 1
    assert not re.search(r"\b(animation|transition)\b", STYLE)
