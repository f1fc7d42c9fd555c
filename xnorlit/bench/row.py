"""One measurement at one batch size and thread count: all sides and the ratios between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xnorlit.bench.figures import Figure, ratio
from xnorlit.bench.turns import Samples, Turns

EAGER_FP32 = "fp32"
COMPILED = "torch.compile"
FP32 = (EAGER_FP32, "fp32 channels_last", COMPILED)
BEST_FP32 = "torch's best fp32"
ONNX_INT8 = "onnxruntime int8"
TORCH_INT8 = "torch int8"
OV_FP32, OV_INT8, OV_BINARY = "OpenVINO fp32", "OpenVINO int8", "OpenVINO binary"
OV_BYTE_ENDS = "OpenVINO binary int8 ends"  # whole networks; with fp32 ends it is the binary one
OV_INSIDE = "OpenVINO binary inside"  # layers, inside their network
OV_AVX2 = {"float": "OpenVINO binary avx2", "int8": "OpenVINO binary int8 ends avx2"}  # limited to AVX2; whole networks
OPENVINO = (OV_FP32, OV_INT8, OV_BINARY)
OPPONENTS = (*FP32, ONNX_INT8, TORCH_INT8, *OPENVINO)
OF_LAYERS, OF_NETWORKS = (*OPPONENTS, OV_INSIDE), (*OPPONENTS, OV_BYTE_ENDS, *OV_AVX2.values())


def packed(isa: str, *, ends: str = "", alone: bool = False, inside: bool = False) -> str:
    """Name of the engine's side.

    Args:
        isa: Its kernels.
        ends: Kind of the ends of a whole network.
        alone: Whether it runs on one thread in a row with several threads.
        inside: For a layer, whether it is measured inside its network.
    """
    parts = ("packed", isa, ends and f"{ends} ends", alone and "one thread", inside and "inside")
    return " ".join(filter(None, parts))


@dataclass(frozen=True)
class Row:
    """Seconds of every side in the same rounds.

    Attributes:
        part: Name of the layer, or `network`.
        batch: Batch size.
        threads: Number of threads of every side.
        turns: Seconds by side, one per round.
        macs: Multiply-adds of the batch; 0 for the network.
        absent: Why a side was not measured.
        compile_seconds: Seconds of torch.compile before its first call; 0 if not measured.
    """

    part: str
    batch: int
    threads: int
    turns: Turns
    macs: int = 0
    absent: Mapping[str, str] = field(default_factory=dict)
    compile_seconds: float = 0.0

    @property
    def samples(self) -> Samples:
        """Seconds of a call when the side runs repeatedly."""
        return self.turns.steady

    @property
    def best_fp32(self) -> str:
        """The fastest of torch's fp32 sides here: eager in a memory format, or compiled if that was measured."""
        return min((side for side in FP32 if side in self.samples), key=lambda side: self.figure(side).median)

    def figure(self, side: str) -> Figure:
        """Seconds of a side."""
        return Figure.of(self.samples[side])

    def over(self, opponent: str, ours: str) -> Figure | None:
        """How many times longer the opponent takes; None if one of the two was not measured."""
        opponent = self.best_fp32 if opponent == BEST_FP32 else opponent
        if opponent not in self.samples or ours not in self.samples:
            return None
        return ratio(self.samples[opponent], self.samples[ours])

    def first_over(self, opponent: str, ours: str) -> Figure:
        """The same for the first call of each turn, which finds neither weights nor inputs in the caches."""
        opponent = self.best_fp32 if opponent == BEST_FP32 else opponent
        return ratio(self.turns.first[opponent], self.turns.first[ours])

    def to_json(self) -> dict[str, Any]:
        """Every side, and every opponent's time over every side of ours."""
        ours = [side for side in self.samples if side.startswith("packed")]
        ratios = [
            {"over": opponent, "ours": side, **found.to_json()}
            for side in ours
            for opponent in (BEST_FP32, *OF_NETWORKS, OV_INSIDE)
            if (found := self.over(opponent, side))
        ]
        return {
            "part": self.part,
            "batch": self.batch,
            "threads": self.threads,
            "macs": self.macs,
            "best_fp32": self.best_fp32,
            "seconds": {side: self.figure(side).to_json() for side in self.samples},
            "first_call_seconds": {side: Figure.of(times).to_json() for side, times in self.turns.first.items()},
            "first_call_ratios": {side: self.first_over(BEST_FP32, side).to_json() for side in ours},
            "ratios": ratios,
            "threads_over_one": self._threads_over_one(ours),
            "compile_seconds": self.compile_seconds,
            "not_measured": dict(self.absent),
        }

    def _threads_over_one(self, ours: list[str]) -> dict[str, Any]:
        found = {side: self.over(f"{side} one thread", side) for side in ours}
        return {side: figure.to_json() for side, figure in found.items() if figure}
