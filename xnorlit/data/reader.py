"""The interface of every backend: pictures of given samples, batch by batch."""

from collections.abc import Generator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xnorlit.data.augment import View


class Reader(Protocol):
    """The pixels of one split, with one interface for every backend."""

    def pictures(self, batches: Sequence[NDArray[np.int64]], view: View, epoch: int) -> Generator[Tensor, None, None]:
        """Yields one uint8 [N, 3, size, size] tensor (channels_last strides, its own storage) for each batch.

        The iterator frees its threads and buffers when it is closed early, and re-raises its workers' exceptions.

        Args:
            batches: Positions of samples, one array per batch.
            view: Crops and flips.
            epoch: Number of the epoch, from 0.
        """
        ...


def as_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """[N, H, W, 3] pixels as an [N, 3, H, W] tensor on the same storage, that is, in channels_last format."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)
