"""The steps of a runtime, `x > above`, are those of the packed thresholds, `x >= threshold`, for every number."""

import numpy as np
import pytest

from xnorlit.export.steps import HALVES, LARGEST, SMALLEST, ZERO, Steps, _strictly, steps_of

INF = np.float32(np.inf)


def neighbours(values):
    values = np.asarray(values, np.float32)
    return np.concatenate([values, np.nextafter(values, INF), np.nextafter(values, -INF)])


def test_a_real_is_above_exactly_where_it_reaches_the_threshold():
    thresholds = np.array([-3.5, -1e-20, -1.0, 0.5, 1e-20, 7.0, LARGEST], np.float32)
    above = _strictly(thresholds)
    assert above.dtype == np.float32
    for threshold, limit in zip(thresholds, above, strict=True):
        x = neighbours([threshold, -threshold, 0.25])
        x = x[np.isfinite(x) & (np.abs(x) >= SMALLEST)]
        np.testing.assert_array_equal(x > limit, x >= threshold, err_msg=str(threshold))


@pytest.mark.parametrize(
    ("threshold", "above"),
    [(0.0, -SMALLEST), (-1e-45, -SMALLEST), (1e-45, 0), (SMALLEST, 0), (INF, LARGEST), (-INF, -LARGEST)],
)
def test_numbers_that_a_runtime_may_flush_to_zero_count_as_zero(threshold, above):
    """And nothing reaches infinity."""
    assert _strictly(np.array([threshold], np.float32))[0] == np.float32(above)


@pytest.mark.parametrize(
    ("threshold", "above"),
    [(0, -0.5), (5, 4.5), (-5, -5.5), (HALVES - 1, HALVES - 1.5), (HALVES, HALVES - 1), (-HALVES, -HALVES - 1),
     (2**24, 2**24 - 1), (1 - HALVES, 0.5 - HALVES)],
)  # fmt: skip
def test_an_integer_is_above_exactly_where_it_reaches_the_threshold(threshold, above):
    found = _strictly(np.array([threshold], np.int32))
    assert found.dtype == np.float32
    assert found[0] == above
    for x in (threshold - 1, threshold):
        assert (np.float32(x) > found[0]) == (x >= threshold)


def test_what_is_reached_and_held_lies_next_to_what_is_above():
    above = np.array([[-SMALLEST, 0.0, 2.5, LARGEST, -LARGEST]], np.float32)
    reals = Steps(above, np.zeros(5), np.ones((1, 5)))
    np.testing.assert_array_equal(reals.held, above)
    expected = [0, np.nextafter(np.float32(0), INF), np.nextafter(np.float32(2.5), INF), LARGEST]
    assert reals.reached.dtype == np.float32
    assert reals.reached[0, :4].tolist() == expected
    assert reals.reached[0, 4] == np.nextafter(-LARGEST, INF)
    whole = Steps(np.array([[-0.5, 4.5, -5.5, 7.0]], np.float32), np.zeros(4), np.ones((1, 4)), whole=True)
    assert whole.reached.tolist() == [[0, 5, -5, 8]]
    assert whole.held.tolist() == [[-1, 4, -6, 7]]


@pytest.mark.parametrize(
    ("change", "signs", "single"),
    [
        ([[2, -2]], True, True),
        ([[2, 0]], True, False),
        ([[2, 2]], False, False),  # codes from 0 to 2
        ([[1, 1]], False, False),
        ([[2, 2], [-2, -2]], True, False),
    ],
)
def test_single_signs_have_one_threshold_between_minus_one_and_one(change, signs, single):
    change = np.array(change, np.float32)
    found = Steps(np.zeros(change.shape, np.float32), np.zeros(2), change, signs=signs)
    assert found.single is single
    twice = found.each(lambda part: np.repeat(part, 2, axis=-1))
    assert (twice.single, twice.signs, twice.above.shape) == (single, signs, (len(change), 4))


def test_the_sign_of_zero_is_positive():
    x = np.array([-SMALLEST, np.nextafter(np.float32(-SMALLEST), np.float32(0)), 0, 1], np.float32)
    assert ZERO.single
    assert (ZERO.start + ZERO.change[0] * (x > ZERO.above[0])).tolist() == [-1, 1, 1, 1]
    assert not ZERO.whole


def octets(codes, bits):
    """Codes `(L, C)` as planes of octets."""
    codes = np.array(codes)
    return np.packbits(np.stack([codes >> p & 1 for p in range(bits)], 1), axis=-1, bitorder="little")


def test_signs_start_where_the_flip_says_and_turn_at_their_threshold():
    own = {"flip": octets([[0, 1, 0]], 1)[0], "threshold": np.array([[1, 2, 3]], np.int32)}
    found = steps_of(own, 1, 3, signs=True)
    assert found.start.tolist() == [-1, 1, -1]
    assert found.change.tolist() == [[2, -2, 2]]
    assert found.above.tolist() == [[0.5, 1.5, 2.5]]
    assert found.whole
    assert found.signs


def test_codes_change_by_what_each_level_turns():
    """The first channel rises 0, 1, 2, 3; the second falls 3, 0 and stays; the third never leaves 2."""
    own = {
        "flip": octets([[0, 3, 2]], 2)[0],
        "change": octets([[1, 3, 0], [3, 0, 0], [1, 0, 0]], 2),
        "threshold": np.arange(9, dtype=np.float32).reshape(3, 3),
    }
    found = steps_of(own, 3, 3, signs=False)
    assert found.start.tolist() == [0, 3, 2]
    assert found.change.tolist() == [[1, -3, 0], [1, 0, 0], [1, 0, 0]]
    assert found.above.shape == (3, 3)
    assert not found.whole
