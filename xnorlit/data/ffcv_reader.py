"""Backend FFCV: pages of pixels read through the OS cache, decoded by compiled code in FFCV's Loader.

A Loader usually takes a list of sample numbers as its order. Ours takes rows of `augment.PLACEMENT`, which tell the
decoder where to crop, how far to shift and whether to mirror. So no worker draws random numbers, one compiled decoder
serves training and validation, and it is compiled once for all epochs and files.

Importing this module imports FFCV.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import cache
from queue import Empty
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xnorlit.data import resample
from xnorlit.data.augment import Sizes, View
from xnorlit.data.beton import JPEG, Beton
from xnorlit.data.reader import as_tensor
from xnorlit.data.sidecar import stamp
from xnorlit.edge.processes import cores
from xnorlit.errors import UserError


@contextmanager
def _quickly() -> Iterator[None]:
    """Import FFCV without its side effect on torch, and without seconds of compilation.

    The import sets torch's thread count to 1. It also stores two numbers in a typed dictionary, whose code numba
    compiles in each process; only Python reads the numbers, so a plain dictionary serves.
    """
    threads = torch.get_num_threads()
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, threads)
        with suppress(ImportError):  # FFCV installs numba: if both are missing, the error below names FFCV
            from numba import typed

            stack.callback(setattr, typed, "Dict", typed.Dict)
            typed.Dict = dict
        yield


with _quickly():
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.libffcv import imdecode
    from ffcv.loader import Loader
    from ffcv.loader.epoch_iterator import EpochIterator
    from ffcv.pipeline.allocation_query import AllocationQuery
    from ffcv.pipeline.compiler import Compiler
    from ffcv.pipeline.state import State

import numba  # noqa: E402, after FFCV, for the same reason


def _set_numba_threads(cls: type[Compiler], threads: int) -> None:
    cls.num_threads = threads
    numba.set_num_threads(threads)


# FFCV's own version also sets torch's thread count, in the caller and later in its worker thread, where restoring it
# would be a race. Ours does not change torch.
Compiler.set_num_threads = classmethod(_set_numba_threads)

_POLL_SECONDS = 0.2


class FfcvReader:
    """The pixels of a .beton file.

    Args:
        beton: A checked file.
        batch_size: Samples that are decoded together, independent of the batch size.
        size: Height and width of the pictures.
        reflect: Whether a shifted window shows the mirror image outside the image, instead of zeros.
        workers: Threads that decode; at most the number of cores.
    """

    def __init__(self, beton: Beton, batch_size: int, size: int, reflect: bool, workers: int) -> None:
        self.beton = beton
        self._stamp = stamp(beton.path)
        self._sizes = Sizes(beton.heights, beton.widths)
        self._loader = Loader(
            str(beton.path),
            batch_size,
            num_workers=max(1, min(workers, cores(), numba.config.NUMBA_NUM_THREADS)),
            os_cache=True,
            seed=0,  # unused, because the order is ours; without it FFCV draws one from numpy's global generator
            pipelines={"image": [_Decoder(size, reflect)], "label": None},
            drop_last=False,
        )

    def pictures(self, batches: Sequence[NDArray[np.int64]], view: View, epoch: int) -> Generator[Tensor, None, None]:
        """See `Reader.pictures`. The end of the iterator, or closing it, frees the thread and its buffers."""
        if not batches:
            return
        self._refuse_changed()
        positions = np.concatenate(batches)
        rows = view.place(positions, epoch, Sizes(*(side[positions] for side in self._sizes)))
        reading = _Pass(self._loader, rows)
        try:
            pictures = np.empty((0, view.size, view.size, 3), np.uint8)
            for batch in batches:
                # A copy: FFCV overwrites its buffers some batches later, and its batches all have one size.
                asked, filled = np.empty((len(batch), *pictures.shape[1:]), np.uint8), 0
                while filled < len(batch):
                    if not len(pictures):
                        pictures, status = reading.next()
                        if status.any():
                            raise self._damaged(int(positions[np.flatnonzero(status)[0]]))
                        positions = positions[len(pictures) :]
                    taken = pictures[: len(batch) - filled]
                    asked[filled : filled + len(taken)] = taken
                    filled, pictures = filled + len(taken), pictures[len(taken) :]
                yield as_tensor(asked)
        finally:
            reading.finish()
        self._refuse_changed()

    def _refuse_changed(self) -> None:
        """Refuse a file that changed since it was opened: its tables are in memory, but its pixels are not."""
        now = stamp(self.beton.path)
        if now != self._stamp:
            what = "was removed" if now is None else "has changed"
            raise UserError(
                f"{self.beton.path} {what} while it was being read, so pictures and labels may no longer match. "
                "Restore it, then continue from the last checkpoint: the same command with --run.resume auto."
            )

    def _damaged(self, index: int) -> UserError:
        return UserError(
            f"The image of sample {index} in {self.beton.path} cannot be decoded: the file was damaged after it was "
            "written. Write it again with `xnorlit prepare SRC DST`."
        )


class _Pass(EpochIterator):
    """FFCV's thread for one pass, which re-raises its exceptions and can be stopped at any time."""

    def __init__(self, loader: Loader, rows: NDArray[np.void]) -> None:
        self.error: BaseException | None = None
        super().__init__(loader, rows)

    def run(self) -> None:
        """Decode until the rows are used up."""
        try:
            super().run()
        except BaseException as error:
            # FFCV's own thread would die silently, and the consumer would wait for ever.
            self.error = error

    def next(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Pictures and decoding status of the next batch, in buffers that are reused."""
        while True:
            try:
                item = self.output_queue.get(timeout=_POLL_SECONDS)
            except Empty:
                if self.is_alive() or not self.output_queue.empty():
                    continue
                raise RuntimeError("FFCV's worker thread stopped before the last batch") from self.error
            _, ((pictures, status),) = item
            return pictures, status

    def finish(self) -> None:
        """Stops the thread after its current batch and waits for it.

        The thread ends by putting a sentinel into a queue that may be full, so the queue is emptied meanwhile.
        """
        self.iter_ixes = iter(())
        self.close()
        while self.is_alive():
            try:
                self.output_queue.get(timeout=0.01)
            except Empty:
                continue
        self.join()


class _Decoder(SimpleRGBImageDecoder):
    """Decodes, crops, resizes, shifts and mirrors images according to their placements."""

    def __init__(self, size: int, reflect: bool) -> None:
        super().__init__()
        self.size, self.reflect = size, reflect

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, tuple[AllocationQuery, ...]]:
        """One picture and one status per sample; scratch memory is taken per image, not per sample of every batch."""
        shape, dtype = (self.size, self.size, 3), np.dtype("u1")
        queries = AllocationQuery(shape, dtype), AllocationQuery((), np.dtype("i4"))
        return replace(previous_state, jit_mode=True, shape=shape, dtype=dtype), queries

    def generate_code(self) -> Callable[..., Any]:
        """A thin wrapper of the kernel, because FFCV compiles this code again for every Loader."""
        kernel, reflect = _kernel(parallel=Compiler.num_threads > 1), self.reflect

        def decode(rows, memory, metadata, storage_state):
            kernel(rows, memory[0], memory[1], metadata, storage_state, reflect)
            return memory

        return decode


@cache
def _kernel(parallel: bool) -> Callable[..., None]:
    options = {"nogil": True, "error_model": "numpy"}
    functions = imdecode, _move, resample.resize, resample.triangle
    decode_jpeg, move, resize, triangle = (numba.njit(**options)(function) for function in functions)
    jpeg = np.uint8(JPEG)

    def kernel(rows, pictures, status, metadata, storage_state, reflect):
        file, pointers, sizes = storage_state
        size = pictures.shape[1]
        for i in numba.prange(len(rows)):
            row = rows[i]
            image = metadata[row["index"]]
            height, width = np.int64(image["height"]), np.int64(image["width"])
            pointer = image["data_ptr"]
            stored = file[pointer : pointer + sizes[np.searchsorted(pointers, pointer)]]
            status[i] = 0
            if image["mode"] == jpeg:
                decoded = np.empty(height * width * 3, np.uint8)
                status[i] = decode_jpeg(stored, decoded, height, width, height, width, 0, 0, 1, 1, False, False)
                source = decoded.reshape(height, width, 3)
            else:
                source = stored.reshape(height, width, 3)

            top, left = np.int64(row["top"]), np.int64(row["left"])
            box_height, box_width = np.int64(row["height"]), np.int64(row["width"])
            if box_height == size and box_width == size:
                move(source, top, left, row, pictures[i], reflect)
                continue
            down, across = triangle(box_height, size), triangle(box_width, size)
            if row["down"] == 0 and row["right"] == 0:
                resize(source, top, left, down, across, row["flip"] == 1, pictures[i])
            else:
                resized = np.empty((size, size, 3), np.uint8)
                resize(source, top, left, down, across, False, resized)
                move(resized, 0, 0, row, pictures[i], reflect)

    return numba.njit(parallel=parallel, **options)(kernel)


def _move(source, top, left, row, picture, reflect):
    # As in pixels.shift, for one picture.
    size = picture.shape[0]
    for y in range(size):
        from_y = y + row["down"]
        if reflect:
            from_y = abs(from_y)
            from_y = from_y if from_y < size else 2 * (size - 1) - from_y
        for x in range(size):
            from_x = (size - 1 - x if row["flip"] else x) + row["right"]
            if reflect:
                from_x = abs(from_x)
                from_x = from_x if from_x < size else 2 * (size - 1) - from_x
            inside = 0 <= from_y < size and 0 <= from_x < size
            for channel in range(3):
                picture[y, x, channel] = source[top + from_y, left + from_x, channel] if inside else 0
