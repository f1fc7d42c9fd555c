"""Gaps, intervals and p-values agree with hand-worked cases, an independent library and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from xnorlit.comparison import statistics


def outcomes(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Correct images of two networks, given the number of images in each of the four cases."""
    counts = [both, only_first, only_second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_the_gap_is_first_minus_second():
    first, second = outcomes(50, 20, 5, 25)
    assert statistics.gap(first, second) == pytest.approx(0.15)
    assert statistics.gap(second, first) == pytest.approx(-0.15)
    assert statistics.disagreements(first, second) == (20, 5)


def test_mcnemar_by_hand():
    # 1 of 10 disagreements on one side: 2 (C(10,0) + C(10,1)) / 2^10 = 22 / 1024
    assert statistics.mcnemar_p(*outcomes(40, 9, 1, 50)) == pytest.approx(22 / 1024)
    assert statistics.mcnemar_p(*outcomes(40, 5, 5, 50)) == 1
    assert statistics.mcnemar_p(*outcomes(3, 0, 0, 2)) == 1


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_that_of_statsmodels(only_first, only_second):
    reference = mcnemar([[7, only_first], [only_second, 9]], exact=True).pvalue
    expected = 1.0 if only_first == only_second else reference  # 0/0 and a p above 1 there
    assert statistics.mcnemar_p(*outcomes(7, only_first, only_second, 9)) == pytest.approx(expected)


def test_the_interval_is_that_of_drawing_the_images_themselves():
    first, second = outcomes(500, 150, 60, 290)
    interval = statistics.gap_interval(first, second)
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 1000, (4000, 1000))
    gaps = first[drawn].mean(axis=1) - second[drawn].mean(axis=1)
    low, high = np.quantile(gaps, [0.025, 0.975])
    # 4,000 draws leave a quantile uncertain by about 3 % of the interval's width.
    assert interval.low == pytest.approx(low, abs=0.003)
    assert interval.high == pytest.approx(high, abs=0.003)
    assert interval.covers == "images"


def test_the_interval_has_the_width_of_the_normal_approximation():
    first, second = outcomes(5000, 1500, 600, 2900)
    interval = statistics.gap_interval(first, second)
    # var(d) = p10 + p01 - (p10 - p01)^2
    deviation = math.sqrt((0.15 + 0.06 - 0.09**2) / 10_000)
    assert interval.low == pytest.approx(0.09 - 1.96 * deviation, abs=3e-4)
    assert interval.high == pytest.approx(0.09 + 1.96 * deviation, abs=3e-4)


def test_the_interval_of_several_seeds_is_of_their_mean_over_images():
    rng = np.random.default_rng(0)
    first, second = rng.random((3, 2000)) < 0.8, rng.random((3, 2000)) < 0.7
    interval = statistics.gap_interval(first, second)
    per_image = first.mean(axis=0) - second.mean(axis=0)
    deviation = per_image.std() / math.sqrt(2000)
    assert interval.low == pytest.approx(per_image.mean() - 1.96 * deviation, abs=1e-3)
    assert interval.high == pytest.approx(per_image.mean() + 1.96 * deviation, abs=1e-3)


def test_one_seed_in_two_shapes_has_one_interval():
    first, second = outcomes(500, 150, 60, 290)
    assert statistics.gap_interval(first, second) == statistics.gap_interval(first[None], second[None])


def test_the_same_input_gives_the_same_interval():
    first, second = outcomes(500, 150, 60, 290)
    assert statistics.gap_interval(first, second) == statistics.gap_interval(first, second)


def test_swapping_the_networks_mirrors_the_gap_and_keeps_p():
    first, second = outcomes(500, 150, 60, 290)
    there, back = statistics.gap_interval(first, second), statistics.gap_interval(second, first)
    assert there.low == pytest.approx(-back.high, abs=0.003)
    assert statistics.mcnemar_p(first, second) == statistics.mcnemar_p(second, first)


def test_networks_that_never_disagree_have_an_interval_of_no_width():
    interval = statistics.gap_interval(*outcomes(5, 0, 0, 5))
    assert (interval.low, interval.high) == (0, 0)


@pytest.mark.parametrize(("right", "images"), [(0, 10), (10, 10), (137, 200)])
def test_wilson_is_that_of_statsmodels(right, images):
    interval = statistics.wilson_interval(right, images)
    assert (interval.low, interval.high) == pytest.approx(proportion_confint(right, images, method="wilson"))


def test_seeds_by_hand():
    assert statistics.spread([7.0, 8.0, 9.0]) == pytest.approx(1)
    assert statistics.spread([7.0, 9.0]) == pytest.approx(math.sqrt(2))
    assert statistics.spread([7.0]) is None
    interval = statistics.seed_interval([7.0, 8.0, 9.0])
    # t(0.975, 2 degrees) = 4.3027, times 1 / sqrt(3)
    assert interval is not None
    assert (interval.low, interval.high, interval.covers) == (
        pytest.approx(8 - 2.4842, abs=1e-4),
        pytest.approx(8 + 2.4842, abs=1e-4),
        "seeds",
    )
    assert statistics.seed_interval([7.0]) is None


def test_other_images_or_none_are_refused():
    with pytest.raises(ValueError, match="expected the same images for both networks"):
        statistics.gap(np.ones(3, bool), np.ones(4, bool))
    with pytest.raises(ValueError, match="expected at least one image"):
        statistics.gap_interval(np.ones(0, bool), np.ones(0, bool))


@pytest.mark.slow
@pytest.mark.parametrize(("images", "shares"), [(1000, [0.62, 0.16, 0.06, 0.16]), (2000, [0.65, 0.05, 0.04, 0.26])])
def test_the_interval_covers_the_true_gap_in_93_to_97_of_100_pairs(images, shares):
    rng = np.random.default_rng(images)
    true_gap = shares[1] - shares[2]
    covered = 0
    for pair in range(2000):
        interval = statistics.gap_interval(*outcomes(*rng.multinomial(images, shares)), seed=pair)
        covered += interval.low <= true_gap <= interval.high
    assert 0.93 <= covered / 2000 <= 0.97


def test_the_interval_of_both_by_hand():
    # d: seed 0 right on images 0 and 1, seed 1 on images 0, 1, 2, of four; the second network on none.
    first = np.array([[1, 1, 0, 0], [1, 1, 1, 0]], bool)
    both = statistics.gap_interval_of_both(first, np.zeros((2, 4), bool))
    # Gaps 1/2 and 3/4: mean 5/8, variance 1/32. Images 1, 1, 1/2, 0: variance (9 + 9 + 1 + 25) / 64 / 3 = 11/48.
    # The rest of d is 1/8 on images 0, 1, 3 and -3/8 on image 2, the other sign in seed 1: 2 (3 + 9) / 64 / 3 = 1/8.
    half = math.hypot(12.7062 * math.sqrt(1 / 64), 1.95996 * math.sqrt((11 / 48 - 1 / 16) / 4))
    assert both is not None
    assert (both.low, both.high) == (pytest.approx(5 / 8 - half, abs=1e-4), pytest.approx(5 / 8 + half, abs=1e-4))
    assert both.covers == "images and seeds"


def test_seeds_without_spread_leave_the_images_part():
    first, second = outcomes(500, 150, 60, 290)
    thrice = statistics.gap_interval_of_both(np.stack([first] * 3), np.stack([second] * 3))
    images = statistics.gap_interval(np.stack([first] * 3), np.stack([second] * 3))
    assert thrice is not None
    assert (thrice.low, thrice.high) == (pytest.approx(images.low, abs=1e-3), pytest.approx(images.high, abs=1e-3))
    assert statistics.gap_interval_of_both(first, second) is None


def test_fewer_images_mean_wider_intervals():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 8000)) < 0.8, rng.random((2, 8000)) < 0.7
    parts = statistics.by_number_of_images(first, second)
    assert [images for images, *_ in parts] == [500, 1000, 2000, 4000, 8000]
    assert parts[-1][1:] == (statistics.gap(first, second), statistics.gap_interval(first, second))
    widths = [interval.high - interval.low for *_, interval in parts]
    assert [wide / narrow for wide, narrow in itertools.pairwise(widths)] == pytest.approx([2**0.5] * 4, 0.15)


def test_a_set_too_small_to_halve_is_taken_whole():
    parts = statistics.by_number_of_images(*outcomes(10, 5, 2, 3))
    assert [images for images, *_ in parts] == [20]


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "seed_effect"), [(2, 0.05), (3, 0.02), (3, 0.1), (5, 0.05)])
def test_the_interval_of_both_covers_the_gap_of_all_images_and_trainings(seeds, seed_effect):
    """Correct where ability + seed + image + rest > 0; the true gap is that of the population of all three."""
    rng = np.random.default_rng(seeds)
    total = math.sqrt(0.8**2 + 0.6**2 + seed_effect**2)
    true_gap = (math.erf(0.9 / total / 2**0.5) - math.erf(0.45 / total / 2**0.5)) / 2
    covered = 0
    for _ in range(2000):
        image = 0.8 * rng.normal(size=1000)
        right = [
            ability + seed_effect * rng.normal(size=(seeds, 1)) + image + 0.6 * rng.normal(size=(seeds, 1000)) > 0
            for ability in (0.9, 0.45)
        ]
        interval = statistics.gap_interval_of_both(*right)
        assert interval is not None
        covered += interval.low <= true_gap <= interval.high
    assert 0.93 <= covered / 2000 <= 0.97


def test_one_image_has_no_interval_of_both():
    right = np.array([[True], [False]])
    assert statistics.gap_interval_of_both(right, ~right) is None
