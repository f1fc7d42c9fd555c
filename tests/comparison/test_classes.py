"""Per-class gaps with hand-computed values, and Holm's correction against its definition."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from xnorlit.comparison.classes import class_gaps, holm

NAMES = ("cat", "dog", "owl", "none of these")


def test_by_hand():
    # cat: 8 only the first, 0 only the second of 10; dog: 1 and 3 of 10; owl: never apart.
    label = np.repeat([0, 1, 2], 10)
    first, second = np.ones(30, bool), np.ones(30, bool)
    second[:8] = False
    second[10] = False
    first[11:14] = False
    cat, dog, owl, none = class_gaps(first, second, label, NAMES)
    assert (cat.points, cat.only_reference, cat.only_arm) == (80, 8, 0)
    assert (dog.points, dog.only_reference, dog.only_arm) == (-20, 1, 3)
    # sign tests: 2 / 2^8; 2 (1 + 4) / 2^4; no disagreement.
    assert [cat.p, dog.p, owl.p] == pytest.approx([2 / 256, 10 / 16, 1])
    # Holm: smallest times 3, next times 2, largest times 1, never above 1.
    assert [cat.holm_p, dog.holm_p, owl.holm_p] == pytest.approx([6 / 256, 1, 1])
    assert (none.images, none.points, none.p, none.holm_p) == (0, None, None, None)


@pytest.mark.parametrize("count", [0, 1, 2, 10, 1000])
def test_holm_is_that_of_statsmodels(count):
    generator = np.random.default_rng(count)
    p = np.concatenate([generator.random(count) ** 4, [1.0, 0.0, 0.25, 0.25][: min(count, 4)]])
    expected = multipletests(p, method="holm")[1] if count else p
    np.testing.assert_allclose(holm(p), expected, rtol=1e-14)


def test_an_image_counts_once_however_many_seeds_there_are():
    label = np.zeros(4, np.int64)
    first = np.array([[1, 1, 0, 1], [1, 0, 0, 1]], bool)
    second = np.array([[0, 0, 1, 1], [0, 0, 1, 0]], bool)
    (only,) = class_gaps(first, second, label, ("cat",))
    assert (only.only_reference, only.only_arm) == (3, 1)
    assert only.points == pytest.approx(100 * (5 - 3) / 8)
    assert only.p == pytest.approx(10 / 16)
