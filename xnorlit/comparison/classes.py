"""The classes in which two networks differ, with p-values corrected for the number of classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from xnorlit.comparison.statistics import Correct


@dataclass(frozen=True)
class ClassGap:
    """First minus second network in one class, in points. `holm_p` is `p` with Holm's correction over all classes.

    `only_reference` counts the images that the first network classifies correctly in more seeds than the second;
    `only_arm` counts the opposite. `points`, `p` and `holm_p` are None for a class without images.
    """

    name: str
    images: int
    points: float | None
    only_reference: int
    only_arm: int
    p: float | None
    holm_p: float | None


def class_gaps(
    first: Correct, second: Correct, label: NDArray[np.int64], names: tuple[str, ...]
) -> tuple[ClassGap, ...]:
    """The gap in each class, in the order of the names.

    The sign test counts the images for which one network is right in more seeds than the other. If both err equally
    often, each such image favours either network with probability 1/2. With one seed this is McNemar's exact test.

    Args:
        first: [seeds, images] or [images], which images the first network classifies correctly.
        second: The same for the second network.
        label: [images], the true classes.
        names: Names of the classes.
    """
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    difference = first.sum(axis=0, dtype=np.int64) - second.sum(axis=0, dtype=np.int64)
    count = len(names)
    images = np.bincount(label, minlength=count)
    total = np.bincount(label, difference, minlength=count)
    plus = np.bincount(label[difference > 0], minlength=count)
    minus = np.bincount(label[difference < 0], minlength=count)
    asked = np.flatnonzero(images)
    p = np.array([_sign_test(int(plus[k]), int(minus[k])) for k in asked])
    adjusted = holm(p)
    p_values = {int(k): (float(p[i]), float(adjusted[i])) for i, k in enumerate(asked)}
    return tuple(
        ClassGap(
            name=names[k],
            images=int(images[k]),
            points=100 * float(total[k]) / (len(first) * int(images[k])) if images[k] else None,
            only_reference=int(plus[k]),
            only_arm=int(minus[k]),
            p=p_values.get(k, (None, None))[0],
            holm_p=p_values.get(k, (None, None))[1],
        )
        for k in range(count)
    )


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """`max_{j <= i} min(1, (m - j) p_(j))`: m p-values corrected for the number of tests; p_(0) is the smallest.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).

    Args:
        p: P-values in any order, `(m,)`.
    """
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order]).clip(max=1)
    return adjusted


def _sign_test(plus: int, minus: int) -> float:
    return float(stats.binomtest(plus, plus + minus).pvalue) if plus + minus else 1.0
