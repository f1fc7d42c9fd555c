# As nanobind's stubgen writes it from the bindings: python -m nanobind.stubgen -m xnorlit.packed._kernels
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

def paths() -> list[str]: ...
def spin(path: str, what: str, rounds: int) -> int: ...

class Ending:
    @overload
    @staticmethod
    def bits(
        pool: Sequence[int],
        per_position: bool,
        planes: int,
        levels: int,
        thresholds: NDArray[np.int32],
        flips: NDArray[np.uint8],
        changes: NDArray[np.uint8],
    ) -> Ending: ...
    @overload
    @staticmethod
    def bits(
        pool: Sequence[int],
        per_position: bool,
        planes: int,
        levels: int,
        thresholds: NDArray[np.float32],
        flips: NDArray[np.uint8],
        changes: NDArray[np.uint8],
    ) -> Ending: ...
    @staticmethod
    def reals(
        pool: Sequence[int],
        per_position: bool,
        scales: Sequence[NDArray[np.float32]],
        shifts: Sequence[NDArray[np.float32]],
        slopes: Sequence[NDArray[np.float32]],
    ) -> Ending: ...
    @staticmethod
    def sums(pool: Sequence[int]) -> Ending: ...

class Engine:
    def __init__(self, path: str = "") -> None: ...
    @property
    def path(self) -> str: ...
    @property
    def resident_bytes(self) -> int: ...
    @property
    def arena_bytes(self) -> int: ...
    @property
    def output_elements(self) -> int: ...
    @property
    def output_shape(self) -> tuple[int, ...]: ...
    def add_sign(self, shape: Sequence[int]) -> None: ...
    def add_binary(
        self,
        shape: Sequence[int],
        window: Sequence[int],
        groups: int,
        outputs: int,
        weights: NDArray[np.uint8],
        bits: int,
        signed_inputs: bool,
        scaled: bool,
        factors: Sequence[int],
        divisor: int,
        ending: Ending,
    ) -> None: ...
    def add_real(
        self,
        shape: Sequence[int],
        window: Sequence[int],
        groups: int,
        outputs: int,
        weights: NDArray[np.float32],
        operand: str,
        bits: int,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        ending: Ending,
    ) -> None: ...
    def add_real_planes(
        self,
        shape: Sequence[int],
        window: Sequence[int],
        groups: int,
        outputs: int,
        weights: NDArray[np.uint8],
        factors: Sequence[int],
        divisor: int,
        operand: str,
        bits: int,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        ending: Ending,
    ) -> None: ...
    def add_byte_conv(
        self,
        shape: Sequence[int],
        window: Sequence[int],
        outputs: int,
        weights: NDArray[np.int8],
        fill: NDArray[np.uint8],
        ending: Ending,
    ) -> None: ...
    def add_byte_linear(
        self, shape: Sequence[int], outputs: int, step: float, weights: NDArray[np.int8], ending: Ending
    ) -> None: ...
    @overload
    def run(self, images: NDArray[np.uint8], out: NDArray[np.generic], threads: int) -> None: ...
    @overload
    def run(self, images: NDArray[np.float32], out: NDArray[np.generic], threads: int) -> None: ...
    @overload
    def run(self, images: NDArray[np.uint32], out: NDArray[np.generic], threads: int) -> None: ...
