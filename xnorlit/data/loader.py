"""The training loader: batches in a deterministic order, with a position that can be saved."""

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
from xnorlit.errors import UserError


class Batch(NamedTuple):
    """Some samples of a split."""

    images: Tensor
    """uint8 [N, 3, H, W] in channels_last strides; mean and std are applied on the device, in the module."""
    labels: Tensor
    """int64 [N]."""
    indices: Tensor
    """int64 [N], positions in the split's listing: the same in every epoch, for any workers and backend."""
    weight: float = 1.0
    """Factor of the mean training loss; 1 unless a step's samples divide unevenly, see `order.Division`."""
    copies: int = 1
    """Number of processes that read the same samples: all in a last step that is too small to divide, otherwise 1."""


class Samples(NamedTuple):
    """The parts of a split that a loader needs."""

    reader: Reader
    labels: NDArray[np.int64]
    """int64 [N], by position in the split's listing."""
    members: NDArray[np.int64]
    """int64 [N], each sample's position in the reader: not 0..N-1 if some of the reader's samples are held out."""


class BatchLoader:
    """Iterates over a split, one epoch per pass. Its state (epoch, sample) lets a run resume with the next sample.

    An abandoned pass counts as an epoch. The first pass after `load_state_dict` continues at the saved position. The
    state advances before a batch is yielded, so it is correct even if the caller stops after `len()` batches without
    exhausting the iterator, as Lightning does.

    Args:
        samples: The split.
        view: Its crop, flip and size.
        batch_size: Samples per batch in this process.
        shuffle: Whether this is a training loader: the order follows (seed, epoch), and each step's samples are divided
            over all processes. Otherwise the listing's order applies, and exactly one process reads each sample.
        rank: Number of this process.
        world: Number of processes.
        global_batch: Samples per optimizer step over all processes; default: `batch_size * world`.
        pending: Number of yielded batches that are not finished yet. A run that stops within a step resumes with the
            first batch of that step.
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
        global_batch: int | None = None,
        pending: Callable[[], int] = lambda: 0,
    ) -> None:
        self.samples, self.view, self.batch_size, self.shuffle = samples, view, batch_size, shuffle
        self.rank, self.world = rank, world
        self.division = order.Division(global_batch or batch_size * world, batch_size, world)
        self.pending = pending
        self.epoch, self.position = 0, 0
        self._resuming = False
        count = len(samples.labels)
        self._length = self.division.batches(count) if shuffle else -(-len(range(rank, count, world)) // batch_size)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        # A generator, so that Lightning's extra iter() starts nothing before the first batch is requested.
        if self.position and not self._resuming:
            self.epoch, self.position = self.epoch + 1, 0
        self._resuming = False
        epoch, first = self.epoch, self.position
        portions = self._portions(epoch, first)
        members, labels = self.samples.members, self.samples.labels
        requests = [members[portion.samples] for portion in portions]
        with closing(self.samples.reader.pictures(requests, self.view, epoch)) as pictures:
            for number, (portion, images) in enumerate(zip(portions, pictures, strict=True), start=1):
                last = number == len(portions)
                if last:
                    # Free the backend's threads now, because the code after the last yield may never run.
                    pictures.close()
                self.epoch, self.position = (epoch + 1, 0) if last else (epoch, first + number)
                indices = torch.from_numpy(portion.samples)
                yield Batch(images, torch.from_numpy(labels[portion.samples]), indices, *portion[1:])
                if last:
                    return

    def state_dict(self) -> dict[str, Any]:
        """The start of the first unfinished step: `{epoch, sample, global_batch}`.

        It counts samples over all processes, so any number of processes can resume from it.
        """
        done = self.epoch * self._length + self.position - self.pending()
        step = done % self._length // self.division.accumulate
        size = self.division.global_batch
        return {"epoch": done // self._length, "sample": step * size, "global_batch": size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the next pass from a saved state.

        Args:
            state: Result of `state_dict`; or `{epoch, position}` in batches of one process, of an older version.

        Raises:
            UserError: The state was saved with another global batch.
        """
        division = self.division
        if state.get("global_batch", division.global_batch) != division.global_batch:
            raise UserError(
                f"the run was started with {state['global_batch']} samples per step over all processes, now there "
                f"are {division.global_batch} ({self.world} processes). Resume it with --data.global_batch "
                f"{state['global_batch']}; the devices, the nodes and data.batch_size may change."
            )
        steps = state["sample"] // division.global_batch if "sample" in state else None
        self.epoch = state["epoch"]
        self.position = state["position"] if steps is None else steps * division.accumulate
        self._resuming = True

    def _portions(self, epoch: int, first: int) -> list[order.Portion]:
        """The batches of this process in an epoch, from `first` on."""
        count = len(self.samples.labels)
        if not self.shuffle:
            batches = order.share(np.arange(count), self.rank, self.world, self.batch_size)
            return [order.Portion(batch, 1.0) for batch in batches[first:]]
        step, part = divmod(first, self.division.accumulate)
        everything = order.permutation(count, self.view.seed, epoch)
        return list(self.division.portions(everything, self.rank, step))[part:]
