"""Which windows are left to OpenVINO's binary kernels, and which are computed in another way."""

import numpy as np
import pytest

from xnorlit.export.openvino_nodes import _counts
from xnorlit.export.operations import Window


@pytest.mark.parametrize(
    ("channels", "kernel", "padding", "stride", "counts"),
    [
        (16, 3, 1, 1, True),
        (12, 3, 1, 1, False),  # sums over a number of channels that is no multiple of 8
        (16, 3, 2, 1, True),
        (16, 3, 3, 1, False),  # more padding than columns at once
        (16, 21, 1, 1, True),  # two columns
        (16, 24, 2, 1, False),  # one column, and more padding
        (16, 7, 2, 2, True),
        (16, 9, 2, 2, False),  # too large a window, unless there is no padding or no stride
        (16, 9, 0, 2, True),
        (16, 9, 2, 1, True),
    ],
)
def test_the_binary_kernels_get_the_windows_that_they_count_correctly(channels, kernel, padding, stride, counts):
    positive = np.ones((8, channels, kernel, kernel), bool)
    window = Window((stride, stride), (padding, padding))
    assert _counts((1, channels, 20, 20), positive, window) is counts


@pytest.mark.parametrize(
    ("width", "kernel", "padding", "stride", "counts"),
    [
        (20, (1, 21), (0, 1), (1, 1), True),  # two columns
        (4, (1, 3), (9, 2), (9, 1), True),  # only columns count
        (2, (1, 5), (0, 2), (1, 2), False),  # two columns without the stride, one with it
        (3, (1, 4), (0, 2), (1, 2), True),
        (20, (9, 7), (2, 2), (2, 2), True),
        (20, (7, 9), (2, 0), (2, 2), False),
        (20, (7, 9), (0, 0), (1, 2), True),
        (20, (7, 9), (2, 0), (1, 1), True),
        (20, (7, 9), (2, 0), (2, 1), False),
    ],
)
def test_rows_and_columns_have_limits_of_their_own(width, kernel, padding, stride, counts):
    positive = np.ones((8, 16, *kernel), bool)
    assert _counts((1, 16, 30, width), positive, Window(stride, padding)) is counts
