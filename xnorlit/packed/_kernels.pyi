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

class Tail:
    def __init__(self, shape: Sequence[int]) -> None: ...
    def affine(self, scale: NDArray[np.float32], shift: NDArray[np.float32]) -> None: ...
    def shift(self, shift: NDArray[np.float32]) -> None: ...
    def slopes(self, above: NDArray[np.float32], below: NDArray[np.float32]) -> None: ...
    def clip(self, low: float, high: float) -> None: ...
    def add(self, value: int) -> None: ...
    def store(self, value: int) -> None: ...
    def sign(self, thresholds: NDArray[np.float32], flips: NDArray[np.uint8], value: int) -> None: ...
    def window(
        self,
        scale: NDArray[np.float32],
        window_scale: NDArray[np.float32],
        constant: NDArray[np.float32],
        row_ways: Sequence[int],
        column_ways: Sequence[int],
    ) -> None: ...

class GraphEngine:
    def __init__(self, path: str = "") -> None: ...
    @property
    def path(self) -> str: ...
    @property
    def resident_bytes(self) -> int: ...
    @property
    def arena_bytes(self) -> int: ...
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
    def add_value(
        self, form: str, shape: Sequence[int], planes: int, padding: Sequence[int], ones: bool, slot: int
    ) -> int: ...
    @overload
    def wire(self, reads: int, writes: int) -> None: ...
    @overload
    def wire(self, reads: int, tail: Tail) -> None: ...
    def add_bordered(
        self,
        shape: Sequence[int],
        window: Sequence[int],
        groups: int,
        outputs: int,
        weights: NDArray[np.uint8],
        factors: Sequence[int],
        divisor: int,
        ending: Ending,
    ) -> None: ...
    def add_double(
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
    def add_tail(self, reads: int, tail: Tail) -> None: ...
    def add_max_pool(self, reads: int, writes: int, pool: Sequence[int]) -> None: ...
    def add_average_pool(self, reads: int, writes: int, pool: Sequence[int]) -> None: ...
    def add_global_average(self, reads: int, writes: int) -> None: ...
    def add_subsample(self, reads: int, writes: int, stride: int, before: int) -> None: ...
    def add_concat(self, reads: Sequence[int], writes: int) -> None: ...
    def add_copy(self, reads: int, writes: int) -> None: ...
    def add_flat(self, reads: int) -> int: ...
    def run(self, images: NDArray[np.uint8], output: int, out: NDArray[np.float32], threads: int) -> None: ...
