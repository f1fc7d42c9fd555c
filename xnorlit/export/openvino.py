"""A packed network as OpenVINO's intermediate representation: `BinaryConvolution`, fused with the signs before it.

OpenVINO's CPU plugin runs that operation with XOR and popcount. It reads bits from a two-level
`FakeQuantize`, whose thresholds are the packed network's. Its kernels need a fixed batch size.
"""

import errno
import os
import re
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from xnorlit.errors import UserError
from xnorlit.export.lower import lower, metadata
from xnorlit.export.openvino_nodes import Nodes
from xnorlit.export.steps import Tensors
from xnorlit.packed.graph import Graph

MAJOR = 2026
PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
"""For `compile_model`: the default on some processors is bfloat16, which would change signs after conv1."""

ADVICE = 'run it with core.compile_model(FILE, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}); bfloat16 would change signs'

OUTPUT = "logits"


def build(graph: Graph, tensors: Tensors, *, batch: int = 1, normalized_input: bool = False) -> Any:
    """The `openvino.Model` of a packed network.

    Args:
        graph: A graph that fits the tensors.
        tensors: Tensors by name.
        batch: Batch size; `model.reshape` changes it.
        normalized_input: Whether it reads normalised fp32 `[N, 3, S, S]` instead of uint8 `[N, S, S, 3]`.

    Raises:
        UserError: OpenVINO cannot express a layer, or is not installed.
    """
    try:
        openvino: Any = import_module("openvino")
        opset13 = import_module("openvino.opset13")
    except ImportError:
        raise UserError("OpenVINO is not installed. Install it: pip install 'xnorlit[openvino]'") from None
    ops = Nodes(openvino, opset13, graph, batch, normalized_input=normalized_input)
    logits = ops.named(lower(graph, tensors, ops), OUTPUT)
    model = openvino.Model([logits], [ops.parameter], graph.network)
    model.outputs[0].get_tensor().set_names({OUTPUT})
    more = {"version": version("xnorlit"), "compile_with": "INFERENCE_PRECISION_HINT=f32"}
    for key, value in (metadata(graph) | more).items():
        model.set_rt_info(value, ["xnorlit", key])
    return model


def save(model: Any, folder: Path, name: str) -> list[Path]:
    """Write `NAME.xml` and `NAME.bin` into a folder; return both paths, the `.xml` last.

    Args:
        model: The model.
        folder: An existing folder.
        name: Name of both files.

    Raises:
        OSError: The disk is full.
    """
    import openvino

    file = folder / f"{name}.xml"
    # The default compresses to 16 bits, but thresholds must stay exact.
    try:
        openvino.save_model(model, file, compress_to_fp16=False)
    except RuntimeError:
        _refuse_unfinished(file)
        raise
    _refuse_unfinished(file)
    return [file.with_suffix(".bin"), file]


def _refuse_unfinished(file: Path) -> None:
    """Raises if a file is incomplete, because OpenVINO does not report a full disk."""
    text = file.read_text() if file.exists() else ""
    ends = [int(at) + int(size) for at, size in re.findall(r'offset="(\d+)" size="(\d+)"', text)]
    weights = file.with_suffix(".bin")
    if "</net>" not in text or not weights.exists() or weights.stat().st_size < max(ends, default=0):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file.parent.parent))


@cache
def core() -> Any:
    """OpenVINO's `Core`, one for the whole process.

    Each `Core` gives the thread a signal stack and frees it at the end. If the lives of two overlap, the thread keeps a
    freed stack, and the next signal, such as that a process that reads images has ended, causes a segmentation fault.
    """
    return import_module("openvino").Core()


class Network:
    """An exported network on OpenVINO's CPU plugin; call it like the packed engine, with images, to get logits.

    Args:
        file: The `.xml` file.
        batch: Batch size; a smaller last batch is padded.
        threads: Number of threads.
    """

    def __init__(self, file: Path, batch: int, threads: int) -> None:
        model = core().read_model(file)
        model.reshape([batch, *list(model.input(0).get_shape())[1:]])
        settings = {**PRECISION, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        self._batch = batch
        self._request = core().compile_model(model, "CPU", settings).create_infer_request()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits, `[N, classes]`.

        Args:
            images: uint8 `[N, S, S, 3]` or fp32 `[N, 3, S, S]`, depending on the export.
        """
        found = []
        for first in range(0, len(images), self._batch):
            some = images[first : first + self._batch]
            given = np.concatenate([some, np.zeros((self._batch - len(some), *some.shape[1:]), some.dtype)])
            found.append(self._request.infer([given])[0][: len(some)].copy())
        return np.concatenate(found)
