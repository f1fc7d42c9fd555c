"""The dashboard's blocks of Markdown: a comparison, in the same words and figures as `compare` and the page."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath

from xnorlit.comparison.comparison import Comparison, Gap
from xnorlit.comparison.rows import rows
from xnorlit.comparison.table import ROLES, difference_rows
from xnorlit.report.html import wording

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~])")


def text(kind: str, comparison: Comparison) -> str:
    """A block of text.

    Args:
        kind: One of `xnorlit.report.wandb.settings.TEXTS`.
        comparison: The comparison to describe.
    """
    return "\n".join(_TEXTS[kind](comparison))


def _verdict(comparison: Comparison) -> Iterator[str]:
    """The cost of each arm, with the deciding interval; then the images and seeds."""
    for gap in comparison.gaps:
        yield f"{_gained(gap, comparison)}\n"
    data = "synthetic images (generated, not photographs)" if comparison.synthetic else PurePath(comparison.source).name
    seeds = sorted({seed.seed for arm in comparison.arms for seed in arm.seeds})
    images, classes = wording.whole(comparison.images), wording.whole(comparison.classes)
    listed = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    yield f"{_plain(data)}, split {_plain(comparison.split)}: {images} images of {classes} classes; {listed}."


def _gained(gap: Gap, comparison: Comparison) -> str:
    arm, twin = (next(a for a in comparison.arms if a.label == label) for label in (gap.arm, gap.reference))
    top1, count = gap.top1, len(arm.seeds)
    shared = f", over the {count} seed{'s' if count > 1 else ''} that both have" if count != len(twin.seeds) else ""
    mean = arm.top1_percent.mean
    interval = getattr(top1, top1.deciding)
    covers = "over images " if top1.over_both and top1.deciding == "over_images" else ""
    what = {
        "loses": f"loses {wording.points(top1.points)} points of top-1 accuracy to",
        "gains": f"gains {wording.points(-top1.points)} points of top-1 accuracy over",
        "undecided": f"(a gap of {wording.points(top1.points)} points of top-1 accuracy) cannot be distinguished from",
    }[top1.outcome]
    smaller = (
        f" Its weights are {wording.factor(gap.packed_size_factor)} smaller." if gap.packed_size_factor != 1 else ""
    )
    return (
        f"**{_plain(gap.arm)}** {what} **{_plain(gap.reference)}** (95 % interval {covers}"
        f"[{wording.points(interval.low)}, {wording.points(interval.high)}]; {wording.points(mean)} % against "
        f"{wording.points(mean + top1.points)} %{shared}).{smaller} The pair is {_plain(gap.difference.verdict)}."
    )


def _comparison(comparison: Comparison) -> Iterator[str]:
    """The table of `xnorlit compare`, with a column per arm and per gap."""
    arms, gaps = comparison.arms, comparison.gaps
    yield from _table(
        ["", *(arm.label for arm in arms), *(f"{gap.reference} minus {gap.arm}" for gap in gaps)],
        ([row.title.strip(), *map(row.arm, arms), *map(row.gap, gaps)] for row in rows(comparison)),
    )
    yield (
        "\nAccuracies are those after the last epoch. Intervals are 95 %. Over images: paired bootstrap, for these "
        "trained networks. Over seeds: Student's t. Over both: other images and other seeds. McNemar's test is exact, "
        "for each seed."
    )


def _differences(comparison: Comparison) -> Iterator[str]:
    """Every key in which the resolved configurations differ."""
    for gap in comparison.gaps:
        yield f"**{_plain(gap.arm)}** and **{_plain(gap.reference)}**: {_plain(gap.difference.verdict)}.\n"
        found = [[key, a, b, ROLES[role]] for key, a, b, role in difference_rows(gap.difference)]
        if found:
            yield from _table(["key", gap.arm, gap.reference, ""], found)
            yield ""


def _paper(comparison: Comparison) -> Iterator[str]:
    """The published pair, then this one."""
    paper, gaps = comparison.published, {gap.arm: gap for gap in comparison.gaps}
    data = "synthetic" if comparison.synthetic else PurePath(comparison.source).name
    binary, twin = (wording.points(value, 3) for value in (paper.binary_top1, paper.float_top1))
    yield from _table(
        ["", "images", "top-1 %", "gap in top-1, points"],
        [
            ["AlexNet-XNOR, paper", paper.data, binary, wording.points(paper.float_top1 - paper.binary_top1, 3)],
            ["AlexNet, paper", paper.data, twin, ""],
            *(
                [
                    f"{arm.label}, here",
                    data,
                    wording.points(arm.top1_percent.mean),
                    wording.points(gaps[arm.label].top1.points) if arm.label in gaps else "",
                ]
                for arm in comparison.arms
            ),
        ],
    )
    claims = " and ".join(f"{claim.factor:g} x {claim.what}" for claim in comparison.claims)
    yield f"\n{_plain(paper.source)}. It quotes, but did not measure: {claims}."


def _notes(comparison: Comparison) -> Iterator[str]:
    """Notes that qualify the figures."""
    yield from (f"- {_plain(note)}" for note in comparison.notes or ("There are no notes on these figures.",))


def _table(head: Sequence[str], body: Iterator[list[str]] | list[list[str]]) -> Iterator[str]:
    yield _row(head)
    yield _row(["---"] * len(head), plain=str)
    yield from (_row(cells) for cells in body)


def _row(cells: Sequence[str], plain: Callable[[str], str] | None = None) -> str:
    return f"| {' | '.join((plain or _plain)(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    """Text that Markdown shows verbatim: names come from files and are not markup."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


_TEXTS: dict[str, Callable[[Comparison], Iterator[str]]] = {
    "verdict": _verdict,
    "comparison": _comparison,
    "differences": _differences,
    "paper": _paper,
    "notes": _notes,
}
