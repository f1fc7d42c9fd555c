"""Charts keep lines inside the axes, leave gaps where there is no number, and have text descriptions."""

import re

import pytest

from xnorlit.report.html import chart
from xnorlit.report.html.chart import Line, Point


def line(value, **options) -> Line:
    return Line("xnor", "arm-1", list(range(1, len(value) + 1)), value, "/curves", **options)


def coordinates(svg: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", svg)]


@pytest.mark.parametrize(
    "values",
    [
        [0.1, 0.5, 0.9],
        [0.5],
        [0.5, 0.5],
        [-3.0, 8.0],
        [1e-6, 2e-6],
        [1e5, 3e5],
        [0.0, 0.0],
        [0.999, 1.0],
        [0.1, 0.1 + 1e-17, 0.1 + 1e-11],
    ],
)
def test_every_point_lies_inside_the_axes(values):
    svg = str(chart.lines("Top-1", "One line.", [line(values)], x="epoch", y="%"))
    found = coordinates(svg) or [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg)]
    assert len(found) == len(values)
    assert all(chart.LEFT <= x <= chart.WIDTH - chart.RIGHT for x, _ in found)
    assert all(chart.TOP <= y <= chart.HEIGHT - chart.BOTTOM for _, y in found)


def test_the_middle_of_the_axis_is_the_middle_of_the_picture():
    svg = str(chart.lines("Top-1", "One line.", [line([0.0, 50.0, 100.0])], x="epoch", y="%"))
    (x0, y0), (x1, y1), (x2, y2) = coordinates(svg)
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)
    assert y0 > y2  # higher values are higher up


def test_a_missing_number_leaves_a_gap():
    svg = str(chart.lines("Loss", "One line.", [line([1.0, None, 2.0, 3.0])], x="epoch", y="loss"))
    assert re.search(r'<path d="M[\d. ]+M[\d. ]+L[\d. ]+"/>', svg)


def test_a_chart_without_numbers_is_drawn_empty():
    svg = str(chart.lines("Loss", "One line.", [line([None, None])], x="epoch", y="loss", zero=True))
    assert '<path d=""/>' in svg


@pytest.mark.parametrize("sizes", [(0.227, 5.62), (5.0, 5.0), (1e-3, 1e4)])
def test_networks_lie_inside_the_axes(sizes):
    found = [
        Point("xnor", "arm-1", sizes[0], 68.0, 0.5 * sizes[0], 2 * sizes[0]),
        Point("float", "arm-0", sizes[1], 76.5),
    ]
    svg = str(chart.points("Memory", "Two points.", found, x="MiB", y="%"))
    places = [float(x) for x in re.findall(r'cx="([\d.]+)"', svg)]
    bars = [float(x) for pair in re.findall(r'bar" x1="([\d.]+)" x2="([\d.]+)"', svg) for x in pair]
    assert len(places) == len(bars) == 2
    assert all(chart.LEFT <= x <= chart.WIDTH - chart.RIGHT for x in (*places, *bars))


def test_names_cannot_escape_html_attributes():
    svg = str(chart.lines('"><script>', "'\">", [Line('<b>"', "arm-1", [1], [1.0], "/a")], x="<x>", y="<y>"))
    assert "<script>" not in svg
    assert "<b>" not in svg
    assert "<x>" not in svg


def test_labels_of_networks_that_lie_close_together_are_kept_apart():
    close = [Point(f"arm {i}", "arm-1", 0.227 + 0.001 * i, 70 + 0.1 * i) for i in range(4)]
    svg = str(chart.points("Memory", "Points.", [*close, Point("float", "arm-0", 5.6, 76)], x="MiB", y="%"))
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(start|end)">(arm \d|float)</text>', svg)
    boxes = []
    for x, y, anchor, label in found:
        left = float(x) - (10 * len(label) if anchor == "end" else 0)
        boxes.append((left, float(y) - 20, left + 10 * len(label), float(y)))
        assert left >= chart.LEFT
        assert left + 10 * len(label) <= chart.WIDTH
    assert len(boxes) == 5
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])
