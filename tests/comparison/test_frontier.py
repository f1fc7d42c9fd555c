"""The Pareto frontier: hand-computed values."""

import math

from xnorlit.comparison.frontier import frontier


def test_points_that_cost_more_without_more_value_are_dominated():
    cost = [1, 2, 3, 4, 0.5]
    value = [10, 30, 20, 40, 10]
    assert frontier(cost, value) == [4, 1, 3], "the first costs more than the last and is worth the same"


def test_equal_points_stay_and_unknown_ones_are_dropped():
    assert frontier([1, 1, 2, math.nan], [5, 5, 5, 99]) == [0, 1]
    assert frontier([], []) == []
