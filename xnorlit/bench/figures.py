"""Medians with their quartiles, and ratios taken round by round."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

WIDE = 0.15


@dataclass(frozen=True)
class Figure:
    """Median and quartiles over the rounds.

    Attributes:
        median: Median over the rounds.
        lower: Lower quartile.
        upper: Upper quartile.
        least: Smallest value of all rounds.
        rounds: Number of rounds.
    """

    median: float
    lower: float
    upper: float
    least: float
    rounds: int

    @staticmethod
    def of(samples: Sequence[float]) -> "Figure":
        """The figure of at least one sample."""
        if len(samples) == 1:
            lower = median = upper = samples[0]
        else:
            lower, median, upper = statistics.quantiles(samples, n=4, method="inclusive")
        return Figure(median, lower, upper, min(samples), len(samples))

    @property
    def spread(self) -> float:
        """Distance between the quartiles, relative to the median."""
        return (self.upper - self.lower) / self.median if self.median else 0.0

    def to_json(self) -> dict[str, float]:
        """The figure as JSON."""
        return asdict(self)


def exactly(value: float) -> Figure:
    """A figure that is counted instead of timed."""
    return Figure(value, value, value, value, 1)


def ratio(over: Sequence[float], ours: Sequence[float]) -> Figure:
    """How many times longer `over` takes than `ours`: the ratio of each round, then their median.

    Args:
        over: Seconds of the opponent, one per round.
        ours: Seconds in the same rounds.
    """
    return Figure.of([theirs / mine for theirs, mine in zip(over, ours, strict=True)])
