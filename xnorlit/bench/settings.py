"""What to measure, and against what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xnorlit.bench.opponents import onnx_int8, openvino, torch_int8
from xnorlit.bench.row import COMPILED, ONNX_INT8, OPENVINO, OV_BINARY, OV_BYTE_ENDS, OV_INSIDE, TORCH_INT8
from xnorlit.packed import _kernels


@dataclass(frozen=True)
class Settings:
    """The choices of one bench.

    Attributes:
        batches: Batch sizes.
        threads: Numbers of threads.
        rounds: Number of turns of each side.
        isas: Kernels to measure, fastest first.
        absent: Omitted sides, with the reason.
    """

    batches: Sequence[int]
    threads: Sequence[int]
    rounds: int
    isas: Sequence[str]
    absent: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(batches: Sequence[int], threads: Sequence[int], rounds: int, *, quick: bool) -> "Settings":
        """The settings for this machine; sides that it lacks are omitted with the reason."""
        absent = {}
        if quick:
            absent[COMPILED] = "omitted by --quick, because compiling is slow"
        for side, why in ((ONNX_INT8, onnx_int8.missing()), (TORCH_INT8, torch_int8.missing())):
            if why:
                absent[side] = why
        if why := openvino.missing():
            absent |= dict.fromkeys((*OPENVINO, OV_BYTE_ENDS, OV_INSIDE), why)
        elif why := openvino.binary_missing():
            absent |= dict.fromkeys((OV_BINARY, OV_BYTE_ENDS, OV_INSIDE), why)
        return Settings(sorted(set(batches)), sorted(set(threads)), rounds, measured_isas(), absent)


def measured_isas() -> list[str]:
    """The kernels that this processor supports; the portable ones if there are no others."""
    runnable = _kernels.isas()
    return [isa for isa in runnable if isa != "portable"] or runnable
