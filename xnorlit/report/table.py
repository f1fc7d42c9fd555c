"""A comparison for the terminal: what differs first, then the table, then the paper's row."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xnorlit.report.comparison import AccuracyGap, Arm, Comparison, Gap, Mean
from xnorlit.report.difference import NOT_SET, Difference
from xnorlit.report.statistics import Interval

_ROLES = {"binarizer": "", "declared": "declared", "undeclared": "not declared"}
_STYLES = {"matched": "green", "declared": "yellow", "published": "yellow", "unmatched": "red", "identical": "red"}


def render(comparison: Comparison) -> RenderableType:
    """The whole comparison, for a rich console of any width."""
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
    data = "synthetic images (generated, not photographs)" if comparison.synthetic else comparison.source
    seeds = sorted({seed.seed for arm in comparison.arms for seed in arm.seeds})
    verdict = _verdict(comparison)
    name = comparison.pair if comparison.synthetic else f"{comparison.experiment}/{comparison.pair}"
    listed = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    heading = Text(_printable(name), "bold")
    heading.append(f" · {_printable(verdict[0])}", verdict[1])
    return heading.append(_printable(f" · {data} · {listed} · {comparison.images:,} images"), "not bold")


def _verdict(comparison: Comparison) -> tuple[str, str]:
    """The verdict that all gaps share, or a word for several, and its style."""
    verdicts = {gap.difference.verdict: _STYLES[gap.difference.kind] for gap in comparison.gaps}
    if len(verdicts) == 1:
        return next(iter(verdicts.items()))
    return ("matched", "green") if comparison.matched else ("not all matched: see below", "yellow")


def _differences(gap: Gap, *, named: bool) -> Iterator[RenderableType]:
    if named:
        yield _text(f"{gap.arm} and {gap.reference}: {gap.difference.verdict}", _STYLES[gap.difference.kind])
    table = _plain_table(["differs in", gap.arm, gap.reference, ""])
    for key, arm, reference, role in _difference_rows(gap.difference):
        table.add_row(*(_text(cell) for cell in (f"  {key}", arm, reference)), _text(_ROLES[role], "bold"))
    if table.row_count:
        yield table


def _difference_rows(difference: Difference) -> Iterator[tuple[str, str, str, str]]:
    """Key, the arm's value, the reference's value and role; a binarizer of another class is one row, not one a setting.

    Two classes have different settings by nature: that XNOR has a `gradient` and Float none says nothing more.
    """
    for place in difference.named("binarizer"):
        items = [
            item for item in difference.keys_of("binarizer") if item.key == place or item.key.startswith(f"{place}.")
        ]
        classes = [item for item in items if item.key in (place, f"{place}.class_path")]
        for item in classes or items:
            key = place if classes else item.key
            yield key, _class_name(item.second), _class_name(item.first), "binarizer"
    for role in ("declared", "undeclared"):
        for item in difference.keys_of(role):
            yield item.key, _value(item.second), _value(item.first), item.role


def _table(comparison: Comparison) -> Table:
    two = len(comparison.arms) == 2
    labels = [arm.label for arm in comparison.arms]
    gap_title = f"{comparison.reference} minus {comparison.gaps[0].arm} (95 % interval)"
    table = _plain_table(["", *labels, *([gap_title] if two else [])])
    gaps = {gap.arm: gap for gap in comparison.gaps}
    for title, cells, versus in _rows(comparison):
        values = [cells(arm) for arm in comparison.arms]
        against = [versus(gaps[arm.label]) if arm.label in gaps else "" for arm in comparison.arms]
        if two:
            table.add_row(*(_text(cell) for cell in (f"  {title}", *values, "".join(against))))
            continue
        if any(values):
            table.add_row(*(_text(cell) for cell in (f"  {title}", *values)))
        if any(against):
            table.add_row(*(_text(cell, "dim") for cell in (f"    to {comparison.reference}", *against)))
    return table


def _rows(comparison: Comparison):
    """Title, the cell of an arm, and the cell of its gap, for each row."""
    several = any(len(gap.top1.seeds) > 1 for gap in comparison.gaps)
    nothing = lambda _: ""  # noqa: E731
    yield "top-1 %", lambda arm: _mean(arm.top1_percent, 2), lambda gap: _points(gap.top1)
    if several:
        yield "  over seeds", nothing, lambda gap: _interval(gap.top1.over_seeds)
    yield "  McNemar p", nothing, lambda gap: _p_values(gap.top1)
    if comparison.classes > 5:  # with five classes or fewer the true one is always among five
        yield "top-5 %", lambda arm: _mean(arm.top5_percent, 2), lambda gap: _points(gap.top5)
    yield "training time", lambda arm: _duration(arm.train_seconds.mean), lambda gap: _longer(gap.train_time_factor)
    yield "  one step", lambda arm: f"{1000 * arm.step_seconds.mean:.1f} ms", lambda gap: _longer(gap.step_time_factor)
    yield "parameters", lambda arm: f"{arm.parameters:,}", nothing
    yield "  of them binary", lambda arm: f"{arm.binary_parameters:,}", nothing
    yield "binary weights", _weight_bits, lambda gap: _smaller(gap.binary_weights_factor)
    yield "network, trained", lambda arm: _megabytes(arm.float_bits), nothing
    yield "network, packed", lambda arm: _megabytes(arm.packed_bits), lambda gap: _smaller(gap.packed_size_factor)


def _legend(comparison: Comparison) -> Iterator[Text]:
    text = "Intervals are 95 %: paired bootstrap over the images, for these trained networks"
    seeds = max(len(gap.top1.seeds) for gap in comparison.gaps)
    if seeds > 1:
        text += f"; over seeds: Student's t, for these images. ± is the standard deviation over {seeds} seeds"
    yield _text(f"{text}. Accuracies are of the last epoch.", "dim")


def _published(comparison: Comparison) -> Iterator[Text]:
    paper = comparison.published
    yield _text(
        f"the paper, {paper.data} (published, not run here): {paper.binary_top1} / {paper.binary_top5} against "
        f"{paper.float_top1} / {paper.float_top5}, a gap of {paper.float_top1 - paper.binary_top1:.3f} / "
        f"{paper.float_top5 - paper.binary_top5:.3f}"
    )
    claims = " and ".join(f"{claim.factor:g} x {claim.what}" for claim in comparison.claims)
    yield _text(f"claimed there, not measured: {claims}", "dim")


def _plain_table(titles: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(_text(title), overflow="fold")
    return table


def _mean(value: Mean, digits: int) -> str:
    spread = "" if value.spread is None else f" ± {value.spread:.{digits}f}"
    return f"{value.mean:.{digits}f}{spread}"


def _points(gap: AccuracyGap) -> str:
    return f"{_mean(Mean(gap.points, gap.spread), 2)} {_interval(gap.over_images)}"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"[{interval.low:.2f}, {interval.high:.2f}]"


def _p_values(gap: AccuracyGap) -> str:
    return ", ".join(f"{seed.mcnemar_p:.2g}" for seed in gap.seeds)


def _weight_bits(arm: Arm) -> str:
    bits = arm.bits_per_binary_weight
    return "32 bit" if bits is None else f"{bits:.3g} bit"


def _longer(factor: float | None) -> str:
    return "" if factor is None else f"{factor:.2f} x as long"


def _smaller(factor: float | None) -> str:
    return "" if factor is None else f"{factor:.1f} x smaller, as packed"


def _megabytes(bits: int) -> str:
    return f"{bits / 8e6:.2f} MB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _class_name(value: object) -> str:
    """`XNOR` of `xnorlit.binarize.XNOR`."""
    return _value(value).rpartition(".")[2] if isinstance(value, str) and value != NOT_SET else _value(value)


def _value(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _text(text: str, style: str = "") -> Text:
    # A Text, so that "[6.9, 8.7]" is not read as markup.
    return Text(_printable(text), style)


def _printable(text: str) -> str:
    # Names come from files: none of them may steer the terminal.
    return "".join(char if char.isprintable() else "?" for char in text)
