"""The float twin as ONNX: by torch's exporter in fp32, by onnxruntime's quantiser in 8 bits.

Static quantisation as the tool recommends it for x86: one scale and zero point per activation, calibrated on images;
one scale per output channel of the weights. Weights have 7 bits, because processors without VNNI add pairs of products
in 16 bits, which would saturate.
"""

import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

OPSET = 18  # what torch's exporter writes without a conversion
INPUT = "pixels"


class ExportError(Exception):
    """Why a twin cannot be exported."""


@dataclass(frozen=True)
class Exported:
    """A twin for one batch size.

    Attributes:
        fp32: The ONNX file, with the norms folded into the layers before them.
        int8: The same in 8 bits: its operators between QuantizeLinear and DequantizeLinear.
    """

    fp32: bytes
    int8: bytes


def missing() -> str:
    """Why nothing can be exported here; empty if it can."""
    return lacking("onnx", "onnxruntime", "onnxscript")


def lacking(*packages: str) -> str:
    """Which of these packages are not installed, and what to type; empty if all are."""
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    return f"{' and '.join(absent)} not installed: pip install 'xnorlit[bench]'" if absent else ""


def exported(twin: nn.Module, images: np.ndarray) -> Exported:
    """Export a twin.

    Args:
        twin: A network from uint8 `(N, 3, S, S)` to logits, in evaluation mode.
        images: uint8 `[N, 3, S, S]`: the batch size, and what calibrates the ranges of the activations.

    Raises:
        ExportError: A tool is missing or fails.
    """
    if why := missing():
        raise ExportError(why)
    try:
        with _quiet():
            fp32 = _fp32(twin, images)
            return Exported(fp32, _int8(fp32, images))
    except Exception as error:  # of torch, onnxscript or onnxruntime
        lines = str(error).strip().splitlines() or ["no message"]
        raise ExportError(f"the twin cannot be exported: {type(error).__name__}: {lines[0][:120]}") from None


def _fp32(twin: nn.Module, images: np.ndarray) -> bytes:
    given = (torch.from_numpy(images),)
    with torch.no_grad():
        program = torch.onnx.export(
            twin, given, input_names=[INPUT], opset_version=OPSET, dynamo=True, verbose=False, optimize=True
        )
    assert program is not None
    return program.model_proto.SerializeToString()


def _int8(model: bytes, images: np.ndarray) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{INPUT: images}]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    with tempfile.TemporaryDirectory() as folder:
        given, file = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        given.write_bytes(model)
        quantize_static(
            given,
            file,
            Images(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
        return file.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of both tools, on tensors that have one scale because they have one axis, and the like."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
