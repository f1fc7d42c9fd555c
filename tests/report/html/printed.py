"""Read a page as a person would: whether a text states a value, and what a picture's lines show."""

import math
import re
from html import unescape

SUPERSCRIPT = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def says(text: str, value: object, place: str, before: str = "") -> bool:
    """Whether the text is the value, rounded to as many digits as it has.

    Args:
        text: As printed, with its unit.
        value: What it should say.
        place: In the record: it tells bits from bytes.
        before: The text that goes before: of "gains 3 points" the value is -3.
    """
    if isinstance(value, str):
        return text == value or (place.endswith("/started") and text == value[:16].replace("T", " "))
    text = text.replace("−", "-").replace(",", "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    number = -value if before.split()[-1:] == ["gains"] else value
    if match := re.fullmatch(r"(?:(\d+) h )?(\d+) min(?: (\d+) s)?", text):
        hours, minutes, seconds = match[1], int(match[2]), match[3]
        whole = round(number)
        return (int(hours or 0), minutes, int(seconds or 0)) == (
            whole // 3600, whole % 3600 // 60, 0 if hours else whole % 60,
        )  # fmt: skip
    if match := re.fullmatch(r"(\d\.\d) · 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", text):
        return f"{number:.1e}" == f"{match[1]}e-{-int(match[2].translate(SUPERSCRIPT)):02d}"
    if text == "< 10⁻³⁰⁰":
        return number < 1e-300
    digits, _, unit = text.partition(" ")
    scales = {"": 1, "s": 1, "×": 1, "%": 100, "ms": 1000, "MiB": 2**-23 if place.endswith("bits") else 2**-20}
    if unit not in scales:
        return False
    scale = scales[unit]
    shown = float(digits)
    if unit in ("×", "ms", "MiB"):
        return shown == float(f"{scale * number:.3g}")
    if place.rpartition("/")[2] in ("p", "holm_p", "mcnemar_p"):
        return shown == float(f"{number:.2g}")
    decimals = len(digits.partition(".")[2])
    return digits == f"{scale * number:.{decimals}f}"


def ticks(svg: str, anchor: str) -> tuple[float, float, float, float]:
    """(place, value) of the first and the last tick of an axis: `end` for the vertical one, `middle` for the other."""
    along = "y" if anchor == "end" else "x"
    found = re.findall(rf'<text class="tick" x="([\d.]+)" y="([\d.]+)" text-anchor="{anchor}">([^<]+)</text>', svg)
    places = [
        (float(x if along == "x" else y) - (6 if along == "y" else 0), float(text.replace("−", "-").replace(",", "")))
        for x, y, text in found
    ]
    return (*places[0], *places[-1])


def lines(svg: str) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """The points of each line, by (label, kind), in the units of the axes."""
    x0, v0, x1, v1 = ticks(svg, "middle")
    y0, w0, y1, w1 = ticks(svg, "end")
    found = {}
    for classes, label, shape in re.findall(
        r'<g class="([\w -]+)"><title>(.*?)</title>(<(?:path|circle)[^>]*>)</g>', svg
    ):
        at = re.findall(r"[ML]([\d.]+) ([\d.]+)", shape) or re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', shape)
        found[unescape(label), classes.split()[-1]] = [
            (
                v0 + (float(x) - x0) * ((v1 - v0) / (x1 - x0) if x1 != x0 else 1),
                w0 + (float(y) - y0) * (w1 - w0) / (y1 - y0),
            )
            for x, y in at
        ]
    return found


def estimates(svg: str) -> dict[str, dict[str, list[float]]]:
    """By label, what a row shows in the units of the axis: its mean, seeds, interval and the value it is judged by."""
    x0, v0, x1, v1 = ticks(svg, "middle")
    found = {}
    for row, label in re.findall(r'<g class="[\w -]+"><title>[^<]*</title>(.*?<text[^>]*>([^<]+)</text>)</g>', svg):
        shapes = {
            "mean": r'<circle cx="([\d.]+)"',
            "seeds": r'<circle class="one" cx="([\d.]+)"',
            "interval": r'class="interval" x1="([\d.]+)" x2="([\d.]+)"',
            "against": r'class="against" x1="([\d.]+)"',
        }
        found[unescape(label)] = {
            name: [
                v0 + (float(x) - x0) * (v1 - v0) / (x1 - x0)
                for match in re.finditer(shape, row)
                for x in match.groups()
            ]
            for name, shape in shapes.items()
        }
    return found


def networks(svg: str) -> dict[str, tuple[float, float]]:
    """The points of a picture with a logarithmic axis, by label."""
    x0, v0, x1, v1 = ticks(svg, "middle")
    y0, w0, y1, w1 = ticks(svg, "end")
    at = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="6"/><text[^>]*>([^<]+)</text>', svg)
    return {
        unescape(label): (
            v0 * math.exp((float(x) - x0) / (x1 - x0) * math.log(v1 / v0)),
            w0 + (float(y) - y0) * (w1 - w0) / (y1 - y0),
        )
        for x, y, label in at
    }
