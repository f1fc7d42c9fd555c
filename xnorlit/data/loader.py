"""The iterable that training sees: batches in a pure order, with a position that can be saved."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xnorlit.data import order
from xnorlit.data.augment import View
from xnorlit.data.reader import Reader


class Batch(NamedTuple):
    """Some samples of a split."""

    images: Tensor
    """uint8 [N, 3, H, W] in channels_last strides; mean and std are applied on the device, in the module."""
    labels: Tensor
    """int64 [N]."""
    indices: Tensor
    """int64 [N], positions in the split's listing: the same in every epoch, for any workers and backend."""


class Samples(NamedTuple):
    """A split as a loader needs it."""

    reader: Reader
    labels: NDArray[np.int64]
    """int64 [N], by position in the split's listing."""
    members: NDArray[np.int64]
    """int64 [N], the reader's position of each sample: not 0..N-1 where a part of the reader's samples is held out."""


class BatchLoader:
    """Iterates over a split, one epoch per pass, and knows (epoch, position) so that a run resumes on the next sample.

    A pass that is abandoned counts as an epoch, except that the first pass after `load_state_dict` goes on where the
    saved one stood. The state is moved before a batch is handed out: whoever stops at `len()` batches without
    exhausting the iterator, as Lightning does, leaves it right.

    Args:
        samples: What to read.
        view: How to show it.
        batch_size: Per process.
        shuffle: A training loader: order by (seed, epoch), equal shares for all ranks. Otherwise listing order, each
            sample in exactly one rank's share.
        rank: This process.
        world: Number of processes.
        pending: Number of batches that were handed out and are still being worked on: a run that is stopped within a
            step resumes with that step's batch.
    """

    def __init__(
        self,
        samples: Samples,
        view: View,
        batch_size: int,
        *,
        shuffle: bool,
        rank: int = 0,
        world: int = 1,
        pending: Callable[[], int] = lambda: 0,
    ) -> None:
        self.samples, self.view, self.batch_size, self.shuffle = samples, view, batch_size, shuffle
        self.rank, self.world = rank, world
        self.pending = pending
        self.epoch, self.position = 0, 0
        self._resuming = False
        self._length = len(self._batches(0))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        # A generator: an extra iter(), which Lightning makes, starts nothing until its first batch is asked for.
        if self.position and not self._resuming:
            self.epoch, self.position = self.epoch + 1, 0
        self._resuming = False
        epoch, first = self.epoch, self.position
        batches = self._batches(epoch)[first:]
        members, labels = self.samples.members, self.samples.labels
        with closing(self.samples.reader.pictures([members[batch] for batch in batches], self.view, epoch)) as pictures:
            for number, (batch, images) in enumerate(zip(batches, pictures, strict=True), start=1):
                last = number == len(batches)
                if last:
                    # Frees the backend's threads now: the code after the last yield may never run.
                    pictures.close()
                self.epoch, self.position = (epoch + 1, 0) if last else (epoch, first + number)
                yield Batch(images, torch.from_numpy(labels[batch]), torch.from_numpy(batch))
                if last:
                    return

    def state_dict(self) -> dict[str, Any]:
        """Where the first batch that has not been worked through comes from."""
        done = self.epoch * self._length + self.position - self.pending()
        return {"epoch": done // self._length, "position": done % self._length}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Lets the next pass go on from a saved state."""
        self.epoch, self.position = state["epoch"], state["position"]
        self._resuming = True

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        count = len(self.samples.labels)
        everything = order.permutation(count, self.view.seed, epoch) if self.shuffle else np.arange(count)
        mine = order.share(everything, self.rank, self.world, even=self.shuffle)
        return order.batches(mine, self.batch_size, drop_single=self.shuffle)
