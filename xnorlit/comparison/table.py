"""A comparison on the terminal: the differences, the table, the paper's results."""

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xnorlit.comparison.comparison import Comparison, Gap
from xnorlit.comparison.difference import NOT_SET, Difference
from xnorlit.comparison.rows import rows
from xnorlit.edge.names import printable

ROLES = {"binarizer": "", "declared": "declared", "undeclared": "not declared"}
_STYLES = {"matched": "green", "declared": "yellow", "published": "yellow", "unmatched": "red", "identical": "red"}


def render(comparison: Comparison) -> RenderableType:
    """The whole comparison, for a Rich console of any width."""
    return Group(*_parts(comparison))


def _parts(comparison: Comparison) -> Iterator[RenderableType]:
    yield _heading(comparison)
    for gap in comparison.gaps:
        yield from _differences(gap, named=len(comparison.gaps) > 1)
    yield Text()
    yield _table(comparison)
    yield Text()
    yield from _legend(comparison)
    yield from _published(comparison)
    for note in comparison.notes:
        yield _text(f"note: {note}", "yellow")


def _heading(comparison: Comparison) -> Text:
    data = "synthetic images (generated, not photographs)" if comparison.synthetic else PurePath(comparison.source).name
    seeds = sorted({seed.seed for arm in comparison.arms for seed in arm.seeds})
    verdict = _verdict(comparison)
    name = f"{comparison.experiment}/{comparison.pair}"
    listed = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    heading = Text(printable(name), "bold")
    heading.append(f" · {printable(verdict[0])}", verdict[1])
    return heading.append(printable(f" · {data} · {listed} · {comparison.images:,} images"), "not bold")


def _verdict(comparison: Comparison) -> tuple[str, str]:
    """The verdict that all gaps share, or a summary of several, with its style."""
    verdicts = {gap.difference.verdict: _STYLES[gap.difference.kind] for gap in comparison.gaps}
    if len(verdicts) == 1:
        return next(iter(verdicts.items()))
    return ("matched", "green") if comparison.matched else ("not all matched: see below", "yellow")


def _differences(gap: Gap, *, named: bool) -> Iterator[RenderableType]:
    if named:
        yield _text(f"{gap.arm} and {gap.reference}: {gap.difference.verdict}", _STYLES[gap.difference.kind])
    table = _plain_table(["differs in", gap.arm, gap.reference, ""])
    for key, arm, reference, role in difference_rows(gap.difference):
        table.add_row(*(_text(cell) for cell in (f"  {key}", arm, reference)), _text(ROLES[role], "bold"))
    if table.row_count:
        yield table


def difference_rows(difference: Difference) -> Iterator[tuple[str, str, str, str]]:
    """Key, the arm's value, the reference's value and role. Binarizers of different classes take a single row.

    The settings of two different classes always differ, so listing them would say nothing.
    """
    for place in difference.named("binarizer"):
        items = [
            item for item in difference.keys_of("binarizer") if item.key == place or item.key.startswith(f"{place}.")
        ]
        classes = [item for item in items if item.key in (place, f"{place}.class_path")]
        for item in classes or items:
            key = place if classes else item.key
            yield key, _class_name(item.arm), _class_name(item.reference), "binarizer"
    for role in ("declared", "undeclared"):
        for item in difference.keys_of(role):
            yield item.key, _value(item.arm), _value(item.reference), item.role


def _table(comparison: Comparison) -> Table:
    """The table. With two arms the gap has a column; with more, each arm's gap has a row below the arm."""
    arms, gaps = comparison.arms, {gap.arm: gap for gap in comparison.gaps}
    if len(arms) == 2:
        gap = comparison.gaps[0]
        title = f"{gap.reference} minus {gap.arm} (95 % interval)"
        table = _plain_table(["", *(arm.label for arm in arms), title])
        for row in rows(comparison):
            table.add_row(*(_text(cell) for cell in (f"  {row.title}", *map(row.arm, arms), row.gap(gap))))
        return table
    table = _plain_table(["", *(arm.label for arm in arms)])
    for row in rows(comparison):
        values = list(map(row.arm, arms))
        against = [row.gap(gaps[arm.label]).replace(" [", "\n[") if arm.label in gaps else "" for arm in arms]
        if any(values):
            table.add_row(*(_text(cell) for cell in (f"  {row.title}", *values)))
        if any(against):
            title = f"to {comparison.reference}" if any(values) else row.title.strip()
            table.add_row(*(_text(cell) for cell in (f"    {title}", *against)))
    return table


def _legend(comparison: Comparison) -> Iterator[Text]:
    text = "Intervals are 95 %. Over images: paired bootstrap, for these trained networks"
    seeds = max(len(gap.top1.seeds) for gap in comparison.gaps)
    if seeds > 1:
        text += (
            ". Over seeds: Student's t, for these images. Over both: other images and other seeds. ± is the standard "
            f"deviation over {seeds} seeds"
        )
    yield _text(f"{text}. Accuracies are those after the last epoch.", "dim")


def _published(comparison: Comparison) -> Iterator[Text]:
    paper = comparison.published
    yield _text(
        f"the paper on {paper.data} (published, not measured here), top-1 / top-5 %: {paper.binary_top1} / "
        f"{paper.binary_top5} against {paper.float_top1} / {paper.float_top5}, a gap of "
        f"{paper.float_top1 - paper.binary_top1:.3f} / "
        f"{paper.float_top5 - paper.binary_top5:.3f}"
    )
    claims = " and ".join(f"{claim.factor:g} x {claim.what}" for claim in comparison.claims)
    yield _text(f"the paper quotes, but did not measure: {claims}", "dim")


def _plain_table(titles: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(_text(title), overflow="fold")
    return table


def _class_name(value: object) -> str:
    """`XNOR` for `xnorlit.binarize.XNOR`."""
    return _value(value).rpartition(".")[2] if isinstance(value, str) and value != NOT_SET else _value(value)


def _value(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _text(text: str, style: str = "") -> Text:
    # In a plain string, rich would read "[6.9, 8.7]" as markup.
    return Text(printable(text), style)
