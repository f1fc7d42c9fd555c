"""Charts as inline SVG: lines over epochs, points by size or time, and accuracies with intervals.

Plotly's smallest bundle for Python is 4.6 MB, but the page must stay below 3 MB. The only feature of Plotly that the
page needs is values under the pointer, which takes sixty lines of script.js.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 72, 16, 14, 58
_LETTER, _LINE = 10, 20  # rough size of a label's letter and line: enough to keep labels apart
_ROW = 56  # the least height of an arm's row


@dataclass(frozen=True)
class Line:
    """A line over epochs: CSS class of its colour, kind (`mean`, `seed`, `dashed`), and place in the record."""

    label: str
    colour: str
    epoch: Sequence[int]
    value: Sequence[float | None]
    at: str
    kind: str = "mean"
    least: Sequence[float | None] = ()
    most: Sequence[float | None] = ()


@dataclass(frozen=True)
class Point:
    """A network: its label, colour and position, and a bar from `least` to `most` if they are known."""

    label: str
    colour: str
    x: float
    y: float
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Estimate:
    """An arm's accuracy: its mean, its seeds, an interval from `least` to `most`, and the value it is compared with."""

    label: str
    colour: str
    mean: float
    seeds: Sequence[float]
    against: float
    least: float | None = None
    most: float | None = None


def lines(
    title: str, text: str, found: Sequence[Line], *, x: str, y: str, scale: float = 1, zero: bool = False
) -> Markup:
    """Lines over epochs.

    Args:
        title: Title of the chart, for screen readers.
        text: Description of the chart, in a sentence.
        found: The lines; None among their values leaves a hole.
        x: Label of the horizontal axis.
        y: Label of the vertical axis, with its unit.
        scale: Factor from the values to the axis: 100 for fractions shown in percent.
        zero: Whether the vertical axis includes 0, with a line.
    """
    bounds = [v for line in found for v in (*line.value, *line.least, *line.most) if v is not None]
    low, high = scale * min(bounds, default=0), scale * max(bounds, default=1)
    ys = _ticks(min(low, 0) if zero else low, max(high, 0) if zero else high)
    last = max((max(line.epoch, default=1) for line in found), default=1)
    first = min((min(line.epoch, default=1) for line in found), default=1)
    xs = [tick for tick in _ticks(first, last) if first <= tick <= last and tick == int(tick)] or [first]
    axes = _Axes(first, max(last, first + 1), ys[0], ys[-1])
    body = [_grid(axes, xs, ys, x, y)]
    if zero:
        body.append(f'<line class="zero" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{axes.y(0)}" y2="{axes.y(0)}"/>')
    for line in found:
        if line.least:
            body.append(_band(axes, line, scale))
        body.append(_path(axes, line, scale))
    body.append(f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}" visibility="hidden"/>')
    about = {
        "x": x, "first": axes.x0, "last": axes.x1, "left": LEFT, "right": WIDTH - RIGHT, "scale": scale,
        "lines": [{"label": line.label, "at": line.at} for line in found if line.kind != "seed"],
    }  # fmt: skip
    return _svg(title, text, "".join(body), about)


def points(title: str, text: str, found: Sequence[Point], *, x: str, y: str) -> Markup:
    """Accuracy of networks against a size or a time, on a logarithmic axis."""
    xs = _powers(min(p.least or p.x for p in found), max(p.most or p.x for p in found))
    low, high = min(p.y for p in found), max(p.y for p in found)
    room = 0.1 * (high - low)  # keeps networks off the frame
    ys = _ticks(low - room, high + room)
    axes = _Axes(math.log10(xs[0]), math.log10(xs[-1]), ys[0], ys[-1])
    body = [_grid(axes, [math.log10(v) for v in xs], ys, x, y, [_short(v) for v in xs])]
    taken: list[_Box] = []
    for p in sorted(found, key=lambda p: -p.y):  # from the top, so that the labels of close points keep their order
        px, py = axes.x(math.log10(p.x)), axes.y(p.y)
        if p.least and p.most:
            ends = axes.x(math.log10(p.least)), axes.x(math.log10(p.most))
            body.append(f'<line class="{p.colour} bar" x1="{ends[0]}" x2="{ends[1]}" y1="{py}" y2="{py}"/>')
        dx, dy, anchor = _beside(p.label, px, py, taken)
        body.append(
            f'<g class="{p.colour}"><title>{escape(p.label)}: {_short(p.x)}, {p.y:.2f}</title>'
            f'<circle cx="{px}" cy="{py}" r="6"/>'
            f'<text x="{px + dx}" y="{py + dy}" text-anchor="{anchor}">{escape(p.label)}</text></g>'
        )
    return _svg(title, text, "".join(body), None)


def estimates(title: str, text: str, found: Sequence[Estimate], *, x: str) -> Markup:
    """A row per arm on one linear axis: large dot for the mean, small dots for the seeds, a bar for the interval.

    The dashed line is the value that each arm is compared with: a bar that crosses it leaves the difference open.
    """
    values = [v for e in found for v in (e.mean, e.against, e.least, e.most, *e.seeds) if v is not None]
    xs = _ticks(min(values), max(values))
    height = max(HEIGHT, TOP + BOTTOM + _ROW * len(found))
    axes, row = _Axes(xs[0], xs[-1], 0, 1), (height - TOP - BOTTOM) / len(found)
    body = [_grid(axes, xs, (), x, "", height=height, tall=True)]
    for i, e in enumerate(found):
        top, at = round(TOP + i * row, 1), round(TOP + (i + 0.6) * row, 1)
        shapes = [_level("against", axes.x(e.against), axes.x(e.against), top, round(top + row, 1))]
        if e.least is not None and e.most is not None:
            shapes.append(_level("interval", axes.x(e.least), axes.x(e.most), at, at))
        shapes += [f'<circle class="one" cx="{axes.x(seed)}" cy="{at}" r="4"/>' for seed in e.seeds if len(e.seeds) > 1]
        shapes.append(f'<circle cx="{axes.x(e.mean)}" cy="{at}" r="7"/>')
        shapes.append(f'<text x="{LEFT + 6}" y="{at - 14:.1f}">{escape(e.label)}</text>')
        body.append(f'<g class="{e.colour}"><title>{escape(e.label)}: {e.mean:.2f}</title>{"".join(shapes)}</g>')
    return _svg(title, text, "".join(body), None, height)


def _level(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1}" x2="{x2}" y1="{y1}" y2="{y2}"/>'


_Box = tuple[float, float, float, float]


def _beside(label: str, x: float, y: float, taken: list[_Box]) -> tuple[float, float, str]:
    """The position of a point's label: above or below, on the side with room, without covering other labels."""
    width = _LETTER * len(label)
    sides = [("start", 10, x + 10), ("end", -10, x - 10 - width)]
    inside = [side for side in sides if side[2] >= LEFT and side[2] + width <= WIDTH] or sides[:1]
    offsets = [dy for step in range(0, 5 * _LINE, _LINE) for dy in (-8 - step, 24 + step)]
    rows = [dy for dy in offsets if y + dy - _LINE >= TOP and y + dy <= HEIGHT - BOTTOM] or offsets[:1]
    places = [(dx, dy, anchor, (at, y + dy - _LINE, at + width, y + dy)) for dy in rows for anchor, dx, at in inside]
    free = [place for place in places if not any(_overlap(place[3], box) for box in taken)] or places
    dx, dy, anchor, box = free[0]
    taken.append(box)
    return dx, dy, anchor


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@dataclass(frozen=True)
class _Axes:
    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        return round(LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM), 1)


def _svg(title: str, text: str, body: str, about: dict | None, height: int = HEIGHT) -> Markup:
    data = f' tabindex="0" data-chart="{escape(json.dumps(about))}"' if about else ""
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(f"{title}. {text}")}"{data}>'
        f"<title>{escape(title)}</title><desc>{escape(text)}</desc>{body}</svg>"
    )


def _grid(
    axes: _Axes,
    xs: Sequence[float],
    ys: Sequence[float],
    x: str,
    y: str,
    names: Sequence[str] | None = None,
    *,
    height: int = HEIGHT,
    tall: bool = False,
) -> str:
    down = height - BOTTOM
    found = []
    for value in ys:
        at = axes.y(value)
        found.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        found.append(f'<text class="tick" x="{LEFT - 8}" y="{at + 6}" text-anchor="end">{_short(value)}</text>')
    for value, name in zip(xs, names or [_short(value) for value in xs], strict=True):
        at = axes.x(value)
        found.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP if tall else down}" y2="{down + 5}"/>')
        found.append(f'<text class="tick" x="{at}" y="{down + 24}" text-anchor="middle">{name}</text>')
    middle = (TOP + down) / 2
    turned = f'transform="rotate(-90 18 {middle})" x="18" y="{middle}"'
    found.append(
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{height - 6}" text-anchor="middle">{escape(x)}</text>'
    )
    found.append(f'<text class="axis" {turned} text-anchor="middle">{escape(y)}</text>')
    return f'<g aria-hidden="true">{"".join(found)}</g>'


def _path(axes: _Axes, line: Line, scale: float) -> str:
    steps, pen = [], "M"
    for epoch, value in zip(line.epoch, line.value, strict=True):
        if value is None:
            pen = "M"
            continue
        steps.append(f"{pen}{axes.x(epoch)} {axes.y(scale * value)}")
        pen = "L"
    shape = f'<path d="{"".join(steps)}"/>'
    if len(steps) == 1:  # a line of one point would be invisible
        x, y = steps[0][1:].split()
        shape = f'<circle cx="{x}" cy="{y}" r="4"/>'
    return f'<g class="{line.colour} {line.kind}"><title>{escape(line.label)}</title>{shape}</g>'


def _band(axes: _Axes, line: Line, scale: float) -> str:
    known = [
        (epoch, low, high)
        for epoch, low, high in zip(line.epoch, line.least, line.most, strict=True)
        if low is not None and high is not None
    ]
    upper = [f"{axes.x(epoch)},{axes.y(scale * high)}" for epoch, _, high in known]
    lower = [f"{axes.x(epoch)},{axes.y(scale * low)}" for epoch, low, _ in reversed(known)]
    return f'<polygon class="{line.colour} band" points="{" ".join([*upper, *lower])}"/>'


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers, the first at most `low`, the last at least `high`."""
    span = high - low if high - low > 1e-9 else max(abs(high), 1.0)  # Marks have ten decimals.
    rough = span / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * 0.999)
    start, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * k, 10) for k in range(start, max(end, start + 1) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten around the values."""
    tens = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    marks = [k * 10.0**ten for ten in tens for k in (1, 2, 5)]
    start = max(i for i, mark in enumerate(marks) if mark < low * 0.95)
    end = min(i for i, mark in enumerate(marks) if mark > high * 1.05)
    return marks[start : end + 1]


def _short(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")
