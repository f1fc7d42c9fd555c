"""The uncertainty of a gap between two networks, from the images that each classifies correctly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Correct = NDArray[np.bool_]
"""Which images are classified correctly: [images], or [seeds, images] for several trainings."""


@dataclass(frozen=True)
class Interval:
    """A two-sided interval. `covers` says over what: "images", "seeds" or "images and seeds"."""

    low: float
    high: float
    covers: str

    def contains(self, value: float) -> bool:
        """Whether the value lies inside or on an end."""
        return self.low <= value <= self.high


def gap(first: Correct, second: Correct) -> float:
    """`mean(first) - mean(second)`: the difference of two accuracies over all images and seeds, as a fraction."""
    _check_paired(first, second)
    return float(first.mean() - second.mean())


def gap_interval(
    first: Correct, second: Correct, *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> Interval:
    """The paired bootstrap's percentile interval of `gap` over images, for the same trained networks.

    Per image i, d_i = mean over the S seeds of (first right) - (second right) takes one of the 2S + 1 values
    -1, -1 + 1/S, ..., 1. The average of N images drawn with replacement depends only on how often each value is drawn,
    and these counts are multinomial(N, share of each value). Drawing the counts is the same bootstrap, not an
    approximation, and its cost does not grow with N.

    Args:
        first: Which images the first network classifies correctly.
        second: The same images in the same order, for the second network.
        level: Nominal coverage probability.
        draws: Number of resamples.
        seed: Seed of the resampling; the same input always gives the same interval.

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


def gap_interval_of_both(first: Correct, second: Correct, *, level: float = 0.95) -> Interval | None:
    """An interval of `gap` over images and trainings together; None for a single seed.

    With d[s, i] = (first right) - (second right), it is Student's interval of the seeds' gaps, widened by the part of
    each image's gap that all seeds share: h^2 = t^2 var_seeds / S + z^2 max(0, var_images - var_rest / S) / N.
    var_images is the variance of the images' means over seeds. Its part var_rest / S varies within one seed, and the
    seeds' gaps contain it already.

    A nested bootstrap, which draws seeds and then images, covered 86 % to 100 % of simulated pairs of three seeds. It
    draws too few seeds to show their spread, and counts the images' part twice if the seeds do not differ. This
    interval covered 94 % to 97 %, even with two seeds.

    Args:
        first: [seeds, images], which images the first network classifies correctly.
        second: The same for the second network.
        level: Nominal coverage probability.

    Source: Zou and Donner, Statistics in Medicine 27 (2008) for the squares; Searle, Casella and McCulloch, Variance
    Components (1992), chapter 4 for the parts.
    """
    _check_paired(first, second)
    if first.ndim < 2 or len(first) < 2 or first.shape[1] < 2:
        return None
    seeds, images = first.shape
    difference = first.astype(np.float64) - second
    mean, of_seeds, of_images = difference.mean(), difference.mean(axis=1), difference.mean(axis=0)
    rest = ((difference - of_seeds[:, None] - of_images + mean) ** 2).sum() / ((seeds - 1) * (images - 1))
    shared = max(0.0, float(of_images.var(ddof=1)) - rest / seeds) / images
    t, z = stats.t.ppf((1 + level) / 2, seeds - 1), stats.norm.ppf((1 + level) / 2)
    half = math.hypot(t * math.sqrt(of_seeds.var(ddof=1) / seeds), z * math.sqrt(shared))
    return Interval(float(mean - half), float(mean + half), "images and seeds")


def by_number_of_images(
    first: Correct, second: Correct, *, halvings: int = 4, least: int = 50, seed: int = 0
) -> list[tuple[int, float, Interval]]:
    """(images, gap, interval) on nested random subsets of N / 2^halvings, ..., N / 2, N images.

    Args:
        first: Which images the first network classifies correctly.
        second: The same images, for the second network.
        halvings: Number of times the set is halved.
        least: Leave out subsets with fewer images; the whole set always stays.
        seed: Seed of the order in which images are taken.
    """
    _check_paired(first, second)
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    images = first.shape[1]
    order = np.random.default_rng(seed).permutation(images)
    found = []
    for count in sorted({images // 2**k for k in range(halvings + 1)}):
        if count >= min(least, images):
            a, b = first[:, order[:count]], second[:, order[:count]]
            found.append((count, gap(a, b), gap_interval(a, b)))
    return found


def disagreements(first: Correct, second: Correct) -> tuple[int, int]:
    """The number of images on which (only the first, only the second) network is right."""
    _check_paired(first, second)
    return int((first & ~second).sum()), int((second & ~first).sum())


def mcnemar_p(first: Correct, second: Correct) -> float:
    """The exact two-sided p-value of McNemar's test that both networks err equally often; 1 if they never disagree.

    Under that hypothesis b, the number of images on which only the first is right, is binomial(b + c, 1/2), where c
    counts those on which only the second is right. Images on which both agree carry no information.

    Source: McNemar, Psychometrika 12 (1947); the exact form is the sign test.
    """
    only_first, only_second = disagreements(first, second)
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def wilson_interval(right: int, images: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of one accuracy; unlike the normal interval it is valid near 0 and 1.

    Source: Wilson, JASA 22 (1927).
    """
    interval = stats.binomtest(right, images).proportion_ci(level, method="wilson")
    return Interval(float(interval.low), float(interval.high), "images")


def spread(values: Sequence[float]) -> float | None:
    """The standard deviation over seeds (denominator n - 1); None for a single seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def seed_interval(values: Sequence[float], *, level: float = 0.95) -> Interval | None:
    """Student's t interval of the mean over seeds: other trainings, the same images; None for a single seed.

    With three seeds its half-width is 2.5 standard deviations, so few seeds say little.
    """
    deviation = spread(values)
    if deviation is None:
        return None
    mean, n = float(np.mean(values)), len(values)
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * deviation / math.sqrt(n)
    return Interval(mean - half, mean + half, "seeds")


def _check_paired(first: Correct, second: Correct) -> None:
    if first.shape != second.shape:
        raise ValueError(f"expected the same images for both networks, found shapes {first.shape} and {second.shape}")
    if first.size == 0:
        raise ValueError("expected at least one image, found none")
