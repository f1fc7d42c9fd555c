"""The order of samples, a pure function of (seed, epoch), and the division of each step's samples over processes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xnorlit.data import counter
from xnorlit.errors import UserError

_PURPOSE = 1  # keeps the order's numbers apart from the augmentation's


def permutation(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of samples in an epoch: the argsort of one hash per sample.

    Args:
        count: Number of samples.
        seed: The run's seed.
        epoch: Counted from 0.
    """
    hashed = counter.bits(counter.key(seed, epoch, _PURPOSE), np.arange(count))
    return np.argsort(hashed, kind="stable")


def steps(count: int, global_batch: int) -> int:
    """Optimizer steps of an epoch: `ceil(count / global_batch)`.

    A last step of one sample is dropped, since batch norm cannot take its variance; a set of one sample keeps it.

    Args:
        count: Number of samples.
        global_batch: Samples of one step, over all processes.
    """
    whole, rest = divmod(count, global_batch)
    return whole + (rest > 1 or (rest == 1 and not whole))


class Portion(NamedTuple):
    """The samples that one process reads at once."""

    samples: NDArray[np.int64]
    weight: float
    """Factor of the mean loss of these samples that makes the gradient the mean over the whole global batch."""
    copies: int = 1
    """Number of processes that read the same samples."""


@dataclass(frozen=True)
class Division:
    """Divides the samples of one optimizer step, first in time, then over the processes.

    The order of an epoch is cut into global batches, so the samples of a step, including a smaller last one, do not
    depend on the number of processes or on their memory. A step's samples are cut into `accumulate` consecutive parts
    whose sizes differ by at most one. In each part, process r of w reads every w-th sample, starting with the r-th.
    Process r weighs its mean loss over n samples by `n w k / L`, for k parts and L samples in the step: the mean over
    processes (DDP) and over k parts (Lightning) is then the mean over L.

    Only an epoch's last step may have a part that is too small to give each process two samples (one if `batch_size`
    is 1). Every process reads such a part whole, because batch norm cannot take a variance of one sample and DDP needs
    all processes in a step.

    Args:
        global_batch: Samples of one step, over all processes.
        batch_size: Samples that one process takes at once; one or two more if the division leaves a remainder.
        world: Number of processes.

    Raises:
        UserError: The global batch is too small for the number of processes.
    """

    global_batch: int
    batch_size: int
    world: int = 1

    def __post_init__(self) -> None:
        if self.global_batch < self._least:
            raise UserError(
                f"data.global_batch is {self.global_batch} for {self.world} processes. Expected at least "
                f"{self._least}, so that each process has a batch; use fewer devices or a larger global batch."
            )

    @property
    def _least(self) -> int:
        return self.world * min(2, self.batch_size)

    @property
    def accumulate(self) -> int:
        """Number of parts of a full step, over which each process sums the gradients."""
        return min(-(-self.global_batch // (self.batch_size * self.world)), self.global_batch // self._least)

    def parts(self, samples: int) -> int:
        """Number of parts of a step.

        Args:
            samples: Samples of the step: `global_batch`, or fewer in an epoch's last step.
        """
        if samples == self.global_batch:
            return self.accumulate
        largest = -(-self.global_batch // self.accumulate)
        return max(1, min(-(-samples // largest), samples // self._least))

    def batches(self, count: int) -> int:
        """Batches that each process reads in an epoch.

        Args:
            count: Samples of the epoch.
        """
        number = steps(count, self.global_batch)
        last = min(count - (number - 1) * self.global_batch, self.global_batch)
        return (number - 1) * self.accumulate + self.parts(last) if number else 0

    def sizes(self, count: int) -> Iterator[int]:
        """Samples of each part of an epoch, over all processes, whose shares may differ by one.

        Args:
            count: Samples of the epoch.
        """
        for number in range(steps(count, self.global_batch)):
            samples = min(count - number * self.global_batch, self.global_batch)
            whole, rest = divmod(samples, parts := self.parts(samples))
            yield from (whole + (part < rest) for part in range(parts))

    def portions(self, order: NDArray[np.int64], rank: int, first: int = 0) -> Iterator[Portion]:
        """The batches that a process reads in an epoch.

        Args:
            order: The epoch's samples, the same on every process.
            rank: The process, 0..world-1.
            first: Number of the first step.
        """
        for number in range(first, steps(len(order), self.global_batch)):
            step = order[number * self.global_batch : (number + 1) * self.global_batch]
            for part in np.array_split(step, self.parts(len(step))):
                if len(part) < self._least:
                    yield Portion(part, len(part) * self.accumulate / len(step), self.world)
                else:
                    mine = part[rank :: self.world]
                    yield Portion(mine, len(mine) * self.world * self.accumulate / len(step))


def share(order: NDArray[np.int64], rank: int, world: int, batch_size: int) -> list[NDArray[np.int64]]:
    """The batches that one process validates; every sample is in exactly one batch of one process.

    Args:
        order: The order, the same on every process.
        rank: This process, 0..world-1, which takes every `world`-th sample, starting with the `rank`-th.
        world: Number of processes.
        batch_size: Samples per batch; the last one may have fewer.
    """
    mine = order[rank::world]
    return [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
