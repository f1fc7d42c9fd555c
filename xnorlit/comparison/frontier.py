"""The Pareto frontier: networks for which no other network is both cheaper and better."""

from collections.abc import Sequence


def frontier(cost: Sequence[float], value: Sequence[float]) -> list[int]:
    """The indices of the points on the Pareto frontier, by increasing cost.

    A point is dominated if another costs no more, has no less value, and is strictly better in one of the two. Equal
    points all stay. Points with NaN are left out.

    Args:
        cost: Cost of each point, such as bytes or seconds.
        value: Value of each point, such as accuracy.
    """
    points = [(c, v, i) for i, (c, v) in enumerate(zip(cost, value, strict=True)) if c == c and v == v]
    kept = [i for c, v, i in points if not any(d <= c and w >= v and (d, w) != (c, v) for d, w, _ in points)]
    return sorted(kept, key=lambda i: (cost[i], i))
