"""Run a packed network: pixels in, logits out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xnorlit.errors import UserError
from xnorlit.packed import _kernels, tensorfile
from xnorlit.packed.document import parse, written
from xnorlit.packed.graph import Graph
from xnorlit.packed.isa import chosen_isa
from xnorlit.packed.threads import checked_threads
from xnorlit.packed.trained import located


def load(path: Path | str) -> "PackedNetwork":
    """Load a packed network; needs only numpy and the kernels.

    Args:
        path: The file, or the name of a trained network from `xnorlit.list_trained()`.

    Raises:
        UserError: There is no trained network of that name, the file cannot be read, or it is not a complete packed
            network; the message names the field.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> import torch
        >>> import xnorlit as xl
        >>> file = tempfile.mkdtemp() + "/net.safetensors"
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 8), torch.nn.Flatten())
        >>> xl.pack(net, file, image_size=8, classes=["cat", "dog"], mean=[125, 123, 114], std=[63, 62, 67])
        <Packed Sequential: ... MiB; no layer of few-bit weights>
        >>> packed = xl.load(file)  # from here on no torch is needed
        >>> images = np.zeros((5, 8, 8, 3), np.uint8)
        >>> packed(images).shape
        (5, 2)
        >>> names = [packed.classes[number] for number in packed.predict(images)]
    """
    path = located(path)
    content, isa = tensorfile.content(path), chosen_isa()
    try:
        engine = _kernels.Network(content, isa)
    except ValueError as error:
        raise tensorfile.damaged(path, str(error)) from None
    network = PackedNetwork.__new__(PackedNetwork)
    # The file represents the tensors, which would otherwise be in memory twice.
    network._begin(parse(tensorfile.parts(content)[0]), engine, (_load_again, (path.resolve(), _stamp(path))))
    return network


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _load_again(path: Path, stamp: tuple[int, int]) -> "PackedNetwork":
    """Loads, from its pickled path, the file that another process has loaded.

    Raises:
        UserError: The file is missing or has changed since.
    """
    network = load(path)
    if _stamp(path) != stamp:
        raise UserError(
            f"{path} has changed since another process loaded the network that it sent. Load it there again, and "
            "keep the file until every process has loaded it."
        )
    return network


def _read_again(path: Path, stamp: tuple[int, int]) -> dict[str, np.ndarray]:
    """The tensors of a file that this process has loaded.

    Raises:
        UserError: The file is missing or has changed since.
    """
    content = tensorfile.content(path)
    if _stamp(path) != stamp:
        raise UserError(f"{path} has changed since the network was loaded from it. Load it again.")
    return tensorfile.parts(content)[1]


class PackedNetwork:
    """Logits of uint8 images, `[N, H, W, 3] -> [N, classes]`. Thread-safe.

    It can be pickled for other processes of the same machine; a loaded one is pickled as the path of its file.

    The integers of every binary layer equal those of training's evaluation. The ends compute in fp32, or in 8 bits if
    the file was packed that way.

    Args:
        graph: Preprocessing, class names, layers or nodes, source.
        tensors: Tensors by name, as in the file.
        fuse: Whether the nodes of a graph share passes over a map; results are the same bit for bit.

    Attributes:
        graph: The graph.

    Raises:
        FieldError: A field of the graph does not fit the others or the tensors; the message begins with its place.
    """

    def __init__(self, graph: Graph, tensors: Mapping[str, np.ndarray], *, fuse: bool = True) -> None:
        engine = _kernels.Network(written(graph), dict(tensors), chosen_isa(), fuse=fuse)
        self._begin(graph, engine, (PackedNetwork, (graph, dict(tensors))))

    def _begin(
        self, graph: Graph, engine: _kernels.Network, again: tuple[Callable[..., "PackedNetwork"], tuple[Any, ...]]
    ) -> None:
        """Takes over a loaded engine; `again` makes the same network in another process."""
        self.graph, self._engine, self._again = graph, engine, again

    def __reduce__(self) -> tuple[Callable[..., "PackedNetwork"], tuple[Any, ...]]:
        return self._again

    def __repr__(self) -> str:
        side, classes = self.graph.image_size, len(self.classes)
        return f"<{type(self).__name__} {self.graph.network}: {classes} classes, {side} x {side} pixels>"

    @property
    def isa(self) -> str:
        """Name of the instruction set whose kernels compute: `avx512`, `avx2`, `neon` or `portable`."""
        return self._engine.isa

    @property
    def resident_bytes(self) -> int:
        """Bytes of weights, thresholds and tables in memory."""
        return self._engine.resident_bytes

    @property
    def step_bytes(self) -> dict[str, int]:
        """The same bytes by the parts of a call, which have the names of a profile's."""
        return dict(zip(self._engine.steps, self._engine.step_bytes, strict=True))

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """Tensors by name, as in the file; those of a loaded network are read from it again.

        Raises:
            UserError: The file is missing or has changed since.
        """
        make, given = self._again
        return given[1] if make is PackedNetwork else _read_again(*given)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.graph.classes

    def predict(self, images: np.ndarray, *, threads: int | None = None) -> np.ndarray:
        """The index of each image's likeliest class in `classes`, int64 `[N]`.

        Args:
            images: As for a call.
            threads: As for a call.
        """
        return self(images, threads=threads).argmax(axis=1)

    def __call__(self, images: np.ndarray, *, threads: int | None = None) -> np.ndarray:
        """Logits of a batch, float32 `[N, classes]`.

        Args:
            images: uint8 `[N, H, W, 3]` of the graph's image size, in any memory layout; N may be 0.
            threads: Number of threads, including the caller's; default: all processors of this process.

        Raises:
            TypeError: The images are not a uint8 array, or threads is not a whole number.
            ValueError: The images have the wrong shape, or threads is out of range.
        """
        images, logits, threads = self._checked(images, threads)
        self._engine.run(images, logits, threads)
        return logits

    def profile(self, images: np.ndarray, *, threads: int | None = None) -> dict[str, float]:
        """Seconds of each part of one call: each layer of a chain, each pass over a map of a graph.

        What a call itself does between the parts is in none of them. A call that is not profiled asks for no time.

        Args:
            images: As for a call.
            threads: As for a call.

        Raises:
            TypeError: As for a call.
            ValueError: As for a call.
        """
        images, logits, threads = self._checked(images, threads)
        return dict(zip(self._engine.steps, self._engine.profile(images, logits, threads), strict=True))

    def _checked(self, images: np.ndarray, threads: int | None) -> tuple[np.ndarray, np.ndarray, int]:
        """The images as the engine reads them, room for their logits, and the number of threads."""
        size = self.graph.image_size
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            found = f"an array of {images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
            raise TypeError(f"images: expected a numpy array of uint8, found {found}")
        if images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise ValueError(f"images: expected the shape [N, {size}, {size}, 3], found {list(images.shape)}")
        threads = checked_threads(threads)
        return np.ascontiguousarray(images), np.empty((len(images), len(self.graph.classes)), np.float32), threads
