"""The Pareto frontier, by hand."""

import math

from xnorlit.comparison.frontier import frontier


def test_what_costs_more_and_is_worth_no_more_is_dominated():
    cost = [1, 2, 3, 4, 0.5]
    value = [10, 30, 20, 40, 10]
    assert frontier(cost, value) == [4, 1, 3], "the first costs more than the last and is worth the same"


def test_equals_stay_and_what_is_not_known_goes():
    assert frontier([1, 1, 2, math.nan], [5, 5, 5, 99]) == [0, 1]
    assert frontier([], []) == []
