"""The colours and marks of arms, the same in a pair's page and in the notebooks' pictures."""

from collections.abc import Sequence

COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#656d76")
"""Blue, orange, green, purple, pink, grey: on white as the page's style sheet has them, first the reference's.

Blue and orange stay apart under every colour blindness; beyond two arms the marks tell them, too.
"""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""A mark for each colour, as matplotlib calls them."""


def places(arms: Sequence[str], reference: str) -> dict[str, int]:
    """The place of each arm's colour: 0 for the reference, the others in their order, which goes round.

    Args:
        arms: Names of the arms.
        reference: The one that every gap is to.
    """
    others = [arm for arm in arms if arm != reference]
    return {reference: 0, **{arm: 1 + i % (len(COLOURS) - 1) for i, arm in enumerate(others)}}


def looks(arms: Sequence[str], reference: str) -> dict[str, dict[str, str]]:
    """How matplotlib draws each arm: `{"color": "#rrggbb", "marker": "o"}`.

    Args:
        arms: Names of the arms.
        reference: The one that every gap is to.
    """
    return {arm: {"color": COLOURS[i], "marker": MARKERS[i]} for arm, i in places(arms, reference).items()}
