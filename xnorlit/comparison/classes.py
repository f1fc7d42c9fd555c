"""In which classes two networks differ, with p-values that allow for asking about many classes at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from xnorlit.comparison.statistics import Correct


@dataclass(frozen=True)
class ClassGap:
    """First minus second in one class, in points; `holm_p` is `p` after Holm's correction for all classes.

    only_reference and only_arm count the images for which the first, or the second, is right in more of the seeds.
    points, p and holm_p are None for a class of no image.
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

    The test is the sign test over images: of those for which one network is right in more seeds than the other, each is
    as likely the one if the two err equally often. For a single seed this is McNemar's exact test.

    Args:
        first: [seeds, images] or [images], which images the first network gets right.
        second: The same for the second network.
        label: [images], the true classes.
        names: Of the classes.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
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
    holm = np.asarray(multipletests(p, method="holm")[1])
    p_values = {int(k): (float(p[i]), float(holm[i])) for i, k in enumerate(asked)}
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


def _sign_test(plus: int, minus: int) -> float:
    return float(stats.binomtest(plus, plus + minus).pvalue) if plus + minus else 1.0
