"""The classes that arms confuse, and the images on which they disagree most."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorlit.runs import Predictions

MOST_CLASSES = 20
"""With more classes a matrix is unreadable, so only the largest confusions are listed."""


def confusion(predictions: Sequence[Predictions]) -> NDArray[np.int64]:
    """Images by true and by predicted class, summed over the seeds, [classes, classes]."""
    classes = len(predictions[0].classes)
    flat = sum(np.bincount(seed.label * classes + seed.top5[:, 0], minlength=classes * classes) for seed in predictions)
    return np.asarray(flat).reshape(classes, classes)


def largest_changes(arm: NDArray[np.int64], reference: NDArray[np.int64], most: int = 10) -> list[dict[str, Any]]:
    """The confusions whose counts differ between the two, largest difference first."""
    change = arm - reference
    np.fill_diagonal(change, 0)
    order = np.argsort(-np.abs(change), axis=None, kind="stable")[:most]
    pairs = [(int(at) // len(arm), int(at) % len(arm)) for at in order]
    return [
        {"true": i, "taken_for": j, "arm": int(arm[i, j]), "reference": int(reference[i, j])}
        for i, j in pairs
        if change[i, j]
    ]


def disputed(winners: Sequence[Predictions], losers: Sequence[Predictions], most: int = 12) -> list[dict[str, Any]]:
    """The images that the winners classify correctly in more seeds than the losers, by that number, then by confidence.

    Confidence is the difference of the two largest logits, averaged over both sides and all seeds.

    Args:
        winners: One arm's predictions, by seed.
        losers: The other arm's predictions, by seed.
        most: The largest number of images.
    """
    lead = sum(p.correct(1).astype(int) for p in winners) - sum(p.correct(1).astype(int) for p in losers)
    sure = np.mean([_margin(p) for p in (*winners, *losers)], axis=0)
    order = np.lexsort((-sure, -np.asarray(lead)))[:most]
    first = winners[0]
    return [
        {
            "index": int(first.index[at]),
            "true": int(first.label[at]),
            "lead": int(np.asarray(lead)[at]),
            "winners": [int(p.top5[at, 0]) for p in winners],
            "losers": [int(p.top5[at, 0]) for p in losers],
        }
        for at in order
        if np.asarray(lead)[at] > 0
    ]


def _margin(predictions: Predictions) -> NDArray[np.float64]:
    logits = predictions.top5_logit.astype(np.float64)
    return logits[:, 0] - logits[:, 1] if logits.shape[1] > 1 else np.zeros(len(logits))
