"""Which sample comes when: pure functions of (seed, epoch, rank)."""

import numpy as np
from numpy.typing import NDArray

from xnorlit.data import counter

_PURPOSE = 1  # keeps the order's numbers apart from the augmentation's


def permutation(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of `count` samples in an epoch: the argsort of one hash per sample.

    Args:
        count: Number of samples.
        seed: The run's seed.
        epoch: Counted from 0.
    """
    hashed = counter.bits(counter.key(seed, epoch, _PURPOSE), np.arange(count))
    return np.argsort(hashed, kind="stable")


def share(order: NDArray[np.int64], rank: int, world: int, *, even: bool) -> NDArray[np.int64]:
    """The part of an order that one of `world` processes reads: every `world`-th sample from `rank` on.

    Args:
        order: The same on every rank.
        rank: This process, 0..world-1.
        world: Number of processes.
        even: Training: all shares have one length, so that gradients can be averaged; the last `len(order) % world`
            samples of this epoch's order wait for another epoch. Otherwise every sample is in exactly one share.
    """
    end = len(order) // world * world if even else len(order)
    return order[rank:end:world]


def batches(order: NDArray[np.int64], batch_size: int, *, drop_single: bool) -> list[NDArray[np.int64]]:
    """An order cut into batches; the last may be smaller.

    Args:
        order: Samples of this rank.
        batch_size: Samples in a batch.
        drop_single: Training: leave out a last batch of one sample, of which batch norm cannot take a variance.
    """
    cut = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if drop_single and batch_size > 1 and len(cut) > 1 and len(cut[-1]) == 1:
        cut.pop()
    return cut
