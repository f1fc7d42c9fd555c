"""Backend without FFCV: Pillow reads image files in torch's DataLoader workers, or once into memory."""

import errno
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from xnorlit.data import pixels
from xnorlit.data.augment import Sizes, View
from xnorlit.data.reader import as_tensor
from xnorlit.data.tree import ImageFiles
from xnorlit.errors import UserError

_LOOKED_AT = 32  # files whose headers decide whether to try reading everything into memory


class FolderReader:
    """Read image files, which are decoded in each epoch.

    Worker processes live for the whole run. They have no state, because a request contains its epoch and its samples.

    Args:
        files: The split.
        workers: Number of decoding processes; 0 decodes in this process.
    """

    def __init__(self, files: ImageFiles, workers: int) -> None:
        self.files, self.workers = files, workers
        self._loaders: dict[View, tuple[DataLoader, list]] = {}

    def pictures(self, batches: Sequence[NDArray[np.int64]], view: View, epoch: int) -> Generator[Tensor, None, None]:
        """See `Reader.pictures`."""
        loader, requests = self._loader(view)
        requests[:] = [[(epoch, int(position)) for position in batch] for batch in batches]
        for answer in self._begun(loader):
            if isinstance(answer, UserError):
                raise answer
            yield as_tensor(answer)

    def _begun(self, loader: DataLoader) -> Iterator[NDArray[np.uint8] | UserError]:
        """The loader's iterator; creating it starts the worker processes."""
        try:
            return iter(loader)
        except OSError as error:
            if not self.workers or error.errno not in (errno.ENOSPC, errno.ENOENT, errno.EACCES, errno.EROFS):
                raise
            raise UserError(
                f"the {self.workers} processes that read images cannot start: {error.strerror} in /dev/shm, where they "
                "keep some kilobytes of locks. Enlarge it (docker run --shm-size=64m), or read images in this process: "
                "--data.workers 0."
            ) from error

    def _loader(self, view: View) -> tuple[DataLoader, list]:
        if view not in self._loaders:
            requests: list = []
            loader = DataLoader(
                _Pictures(self.files, view),
                batch_sampler=requests,
                num_workers=self.workers,
                collate_fn=_as_is,
                persistent_workers=self.workers > 0,
                # By default it would draw a seed from torch's global generator.
                generator=torch.Generator(),
            )
            self._loaders[view] = loader, requests
        return self._loaders[view]


class _Pictures(Dataset):
    def __init__(self, files: ImageFiles, view: View) -> None:
        self.files, self.view = files, view

    def __getitems__(self, requests: list[tuple[int, int]]) -> NDArray[np.uint8] | UserError:
        view = self.view
        out = np.empty((len(requests), view.size, view.size, 3), np.uint8)
        try:
            for picture, (epoch, position) in zip(out, requests, strict=True):
                image = self.files.open(position)
                sizes = Sizes(np.array([image.height]), np.array([image.width]))
                row = view.place(np.array([position]), epoch, sizes)[0]
                picture[:] = pixels.render(image, row, view.size, view.crop.reflect)
        except UserError as error:
            return error  # if raised, torch would wrap its message into a traceback
        return out


def _as_is(answer: NDArray[np.uint8] | UserError) -> NDArray[np.uint8] | UserError:
    return answer


def read_all(files: ImageFiles, limit: int, threads: int) -> NDArray[np.uint8] | None:
    """All images of a split as uint8 [N, H, W, 3], or None if sizes differ or they take more than `limit` bytes.

    Args:
        files: The split.
        limit: Limit in bytes.
        threads: Number of decoding threads.
    """
    count = len(files.listing)
    first = files.shape(0)
    looked_at = np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(int)
    if count * first[0] * first[1] * 3 > limit or any(files.shape(index) != first for index in looked_at):
        return None
    images = np.empty((count, *first, 3), np.uint8)

    def read(index: int) -> bool:
        image = files.open(index)
        if (image.height, image.width) != first:
            return False
        images[index] = np.asarray(image)
        return True

    with ThreadPoolExecutor(threads) as pool, closing(iter(pool.map(read, range(count)))) as done:
        whole = all(done)
    return images if whole else None
