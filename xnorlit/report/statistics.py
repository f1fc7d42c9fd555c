"""How sure a gap between two networks is: pure functions of which images each of them gets right."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Correct = NDArray[np.bool_]
"""Which images are classified right: [images], or [seeds, images] for a pair that was trained several times."""


@dataclass(frozen=True)
class Interval:
    """A two-sided interval; `covers` names what it lets vary: "images" or "seeds"."""

    low: float
    high: float
    covers: str


def gap(first: Correct, second: Correct) -> float:
    """The difference of two accuracies, first minus second, as a fraction; over all seeds where there are several."""
    _check_paired(first, second)
    return float(first.mean() - second.mean())


def gap_interval(
    first: Correct, second: Correct, *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> Interval:
    """The paired bootstrap's percentile interval of `gap` over images: other images, the same trained networks.

    Per image i, d_i = mean over the S seeds of (first right) - (second right) takes one of the 2S + 1 values
    -1, -1 + 1/S, ..., 1. Drawing N images with replacement and averaging their d_i depends only on how often each
    value is drawn, and those counts are multinomial(N, share of each value). Drawing the counts is therefore the
    same bootstrap, not an approximation of it, and its cost does not grow with N.

    Args:
        first: Which images the first network gets right.
        second: The same images in the same order, for the second network.
        level: Probability that the interval should cover the gap.
        draws: Number of resamples.
        seed: Of the resampling; the same input always gives the same interval.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    _check_paired(first, second)
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    seeds, images = first.shape
    difference = first.sum(axis=0, dtype=np.int64) - second.sum(axis=0, dtype=np.int64)
    counts = np.bincount(difference + seeds, minlength=2 * seeds + 1)
    values = np.arange(-seeds, seeds + 1)
    resampled = np.random.default_rng(seed).multinomial(images, counts / images, size=draws)
    low, high = np.quantile(resampled @ values / (images * seeds), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), "images")


def disagreements(first: Correct, second: Correct) -> tuple[int, int]:
    """On how many images (only the first is right, only the second is right)."""
    _check_paired(first, second)
    return int((first & ~second).sum()), int((second & ~first).sum())


def mcnemar_p(first: Correct, second: Correct) -> float:
    """The exact two-sided p-value of McNemar's test that both networks err equally often.

    Of the b + c images on which exactly one is right, the number b is binomial(b + c, 1/2) if they do; images on
    which both are right or both wrong say nothing. 1 where they never disagree.

    Source: McNemar, Psychometrika 12 (1947); the exact form is the sign test.
    """
    only_first, only_second = disagreements(first, second)
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def standard_error(accuracy: float, images: int) -> float:
    """sqrt(p (1 - p) / N): how far an accuracy on N images typically is from that on all images."""
    return math.sqrt(accuracy * (1 - accuracy) / images)


def wilson_interval(right: int, images: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of one accuracy; unlike the normal one it stays right near 0 and 1.

    Source: Wilson, JASA 22 (1927).
    """
    interval = stats.binomtest(right, images).proportion_ci(level, method="wilson")
    return Interval(float(interval.low), float(interval.high), "images")


def spread(values: Sequence[float]) -> float | None:
    """The standard deviation over seeds (n - 1 in the denominator), or None for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def seed_interval(values: Sequence[float], *, level: float = 0.95) -> Interval | None:
    """Student's t interval of the mean over seeds: other trainings, the same images. None for a single seed.

    With three seeds its half-width is 2.5 standard deviations: few seeds say little, and the interval shows it.
    """
    deviation = spread(values)
    if deviation is None:
        return None
    mean, n = float(np.mean(values)), len(values)
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * deviation / math.sqrt(n)
    return Interval(mean - half, mean + half, "seeds")


def _check_paired(first: Correct, second: Correct) -> None:
    if first.shape != second.shape:
        raise ValueError(f"the same images were expected for both networks, not {first.shape} and {second.shape}")
    if first.size == 0:
        raise ValueError("at least one image was expected")
