"""Which networks are worth their cost: those that no other beats in both."""

from collections.abc import Sequence


def frontier(cost: Sequence[float], value: Sequence[float]) -> list[int]:
    """The places of the points that no other dominates, by rising cost: the Pareto frontier.

    A point is dominated by one that costs no more and is worth no less, and is better in one of the two. Of equal
    points all stay. NaN is on no frontier.

    Args:
        cost: What each point costs: bytes, seconds.
        value: What each is worth: accuracy.
    """
    points = [(c, v, i) for i, (c, v) in enumerate(zip(cost, value, strict=True)) if c == c and v == v]
    kept = [i for c, v, i in points if not any(d <= c and w >= v and (d, w) != (c, v) for d, w, _ in points)]
    return sorted(kept, key=lambda i: (cost[i], i))
