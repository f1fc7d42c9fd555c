"""The rows of a comparison's table: the text of each cell."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from xnorlit.comparison.comparison import AccuracyGap, Arm, Comparison, Gap, Mean
from xnorlit.comparison.statistics import Interval


def _empty(_: Arm | Gap) -> str:
    return ""


@dataclass(frozen=True)
class Row:
    """A title, and the text of a cell as a function of the column's arm or gap."""

    title: str
    arm: Callable[[Arm], str] = _empty
    gap: Callable[[Gap], str] = _empty


def rows(comparison: Comparison) -> Iterator[Row]:
    """The rows in order, without empty or trivial ones."""
    yield Row("top-1 %", lambda arm: _mean(arm.top1_percent), lambda gap: _points(gap.top1))
    if any(gap.top1.over_seeds for gap in comparison.gaps):
        yield Row("  over seeds", gap=lambda gap: _interval(gap.top1.over_seeds))
        yield Row("  over both", gap=lambda gap: _interval(gap.top1.over_both))
    yield Row("  McNemar p", gap=lambda gap: _p_values(gap.top1))
    if comparison.classes > 5:  # With at most five classes, top-5 is always 100 %.
        yield Row("top-5 %", lambda arm: _mean(arm.top5_percent), lambda gap: _points(gap.top5))
    yield Row("training time", lambda arm: duration(arm.train_seconds.mean), lambda gap: _longer(gap.train_time_factor))
    yield Row(
        "  one step", lambda arm: f"{1000 * arm.step_seconds.mean:.1f} ms", lambda gap: _longer(gap.step_time_factor)
    )
    yield Row("parameters", lambda arm: f"{arm.parameters:,}")
    yield Row("  binary", lambda arm: f"{arm.binary_parameters:,}")
    yield Row("binary weights", _weight_bits, lambda gap: _smaller(gap.binary_weights_factor))
    yield Row("network, trained", lambda arm: _mebibytes(arm.float_bits))
    yield Row("network, packed", lambda arm: _mebibytes(arm.packed_bits), lambda gap: _smaller(gap.packed_size_factor))


def _mean(value: Mean) -> str:
    spread = "" if value.spread is None else f" ± {value.spread:.2f}"
    return f"{value.mean:.2f}{spread}"


def _points(gap: AccuracyGap) -> str:
    return f"{_mean(Mean(gap.points, gap.spread))} {_interval(gap.over_images)}"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"[{interval.low:.2f}, {interval.high:.2f}]"


def _p_values(gap: AccuracyGap) -> str:
    values = [seed.mcnemar_p for seed in gap.seeds]
    return ", ".join(f"{p:.2g}" for p in values) if len(values) <= 3 else f"at most {max(values):.2g}"


def _weight_bits(arm: Arm) -> str:
    bits = arm.bits_per_binary_weight
    if bits is None:
        return "32 bit" if arm.packed_bits == arm.float_bits else "no 1-bit weights"
    return f"{bits:.3g} bit"


def _longer(factor: float | None) -> str:
    return "" if factor is None else f"{factor:.2f} x as long"


def _smaller(factor: float | None) -> str:
    return "" if factor is None else f"{factor:.1f} x smaller"


def _mebibytes(bits: int) -> str:
    return f"{bits / 2**23:.3g} MiB"


def duration(seconds: float) -> str:
    """Hours and minutes, minutes and seconds, or seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
