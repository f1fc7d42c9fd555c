"""The plain operations that every runtime has, which a format implements.

Maps are `(N, C, H, W)`, as in those runtimes. Sums of few-bit operands are integers below 2^24, which fp32 adds exactly
in any order.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from xnorlit.errors import UserError
from xnorlit.export.steps import Steps
from xnorlit.packed.layer import Map

V = TypeVar("V")
EXACT = 2**24  # fp32 holds every integer up to this one


@dataclass(frozen=True)
class Window:
    """The window of a convolution; each pair is (vertical, horizontal).

    Attributes:
        border: Value of the padding: 0 or 1 for signs, otherwise 0.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    border: int = 0


class Operations(ABC, Generic[V]):
    """The operations that a format implements; `V` is a value of the graph that it builds.

    Numbers per channel are an array `(C,)`; numbers per channel and position are `(C, H, W)`.
    """

    @abstractmethod
    def pixels(self, *, normalized: bool) -> V:
        """The image: fp32 `(N, 3, S, S)`, 0 to 255 unless normalised.

        Raises:
            UserError: Raw pixels are needed, but the input is normalised already.
        """

    @abstractmethod
    def steps(self, x: V, steps: Steps) -> V:
        """The step function of each value."""

    def sign_sums(self, x: V, steps: Steps, positive: np.ndarray, window: Window) -> V:
        """Sums of products of signs.

        Args:
            x: Reals.
            steps: Turns them into -1 and +1.
            positive: Which weights are +1 instead of -1: `(O, C / groups, kh, kw)`.
            window: Window of the convolution.
        """
        signs, window = self.bordered(self.steps(x, steps), window)
        return self.convolution(signs, 2 * positive.astype(np.float32) - 1, window)

    def bordered(self, x: V, window: Window) -> tuple[V, Window]:
        """A map with its padding of ones, if it has one, and the window without it."""
        if not window.border or not any(window.padding):
            return x, window
        ones = np.ones(1, np.float32)
        padded = self.padded(self.add(x, -ones), window.padding)
        return self.add(padded, ones), Window(window.stride, groups=window.groups)

    def integer_sums(self, x: V, steps: Steps, weight: np.ndarray, window: Window) -> V | None:
        """Sums of signs by small integers `(O, C / groups, kh, kw)`; `None` where a format takes planes of signs."""
        return None

    @abstractmethod
    def convolution(self, x: V, weight: np.ndarray, window: Window) -> V:
        """A convolution with weights `(O, C / groups, kh, kw)`, integers below 256 or any reals."""

    @abstractmethod
    def linear(self, x: V, weight: np.ndarray) -> V:
        """`(N, I)` by weights `(O, I)`, as for `convolution`."""

    @abstractmethod
    def byte_convolution(self, x: V, weight: np.ndarray, fill: np.ndarray, window: Window) -> V:
        """An exact convolution of pixels with int8 weights; each channel is padded with its `fill`."""

    @abstractmethod
    def byte_linear(self, x: V, step: float, weight: np.ndarray) -> V:
        """`round(x / step)` in 0..255, `(N, I)`, times int8 weights `(O, I)`; exact after the rounding."""

    def levels(self, x: V, step: float) -> V:
        """`round(x / step)` in 0..255."""
        raise UserError("a convolution of reals in 8 bits cannot be exported in this format; keep the ends in float.")

    @abstractmethod
    def multiply(self, x: V, factor: np.ndarray) -> V:
        """`x * factor`, a factor per channel, or per channel and position."""

    @abstractmethod
    def add(self, x: V, summand: np.ndarray) -> V:
        """Likewise."""

    @abstractmethod
    def kink(self, x: V, slope: np.ndarray) -> V:
        """`max(x, 0) + slope * min(x, 0)`, with a slope per channel, or per channel and position."""

    @abstractmethod
    def clip(self, x: V, low: float, high: float) -> V:
        """`min(max(x, low), high)`."""

    @abstractmethod
    def product(self, x: V, y: V) -> V:
        """`x * y` of two maps; one may have a single channel."""

    @abstractmethod
    def sum(self, x: V, y: V) -> V:
        """`x + y` of two maps of one shape."""

    @abstractmethod
    def mean_magnitude(self, x: V) -> V:
        """Mean of `|x|` over the channels, `(N, 1, H, W)`."""

    @abstractmethod
    def average_pool(self, x: V, kernel: tuple[int, int], window: Window) -> V:
        """The sum of each window divided by the kernel's size; the padding is 0."""

    @abstractmethod
    def max_pool(self, x: V, size: int, stride: int, padding: int) -> V:
        """The maximum of each square window, without the padding."""

    @abstractmethod
    def mean(self, x: V) -> V:
        """The mean of each channel, `(N, C, 1, 1)`."""

    @abstractmethod
    def subsample(self, x: V, stride: int, before: int, after: int) -> V:
        """Every stride-th pixel, with zero channels added before and after."""

    @abstractmethod
    def concat(self, parts: list[V]) -> V:
        """The channels of several maps in a row."""

    @abstractmethod
    def padded(self, x: V, padding: tuple[int, int]) -> V:
        """The map with a border of zeros, given as rows and columns."""

    @abstractmethod
    def positions_first(self, x: V) -> V:
        """`(N, C, H, W)` as `(N, H, W, C)`."""

    @abstractmethod
    def features(self, x: V, count: int) -> V:
        """`(N, C, H, W)` as `(N, count)`, channel by channel."""

    @abstractmethod
    def as_map(self, x: V, at: Map) -> V:
        """`(N, count)` or a map as `(N, C, H, W)`."""

    @abstractmethod
    def named(self, x: V, name: str) -> V:
        """The same value under a name that the file keeps."""


def refuse(condition: bool, name: str, why: str) -> None:
    """Raises an error if a format cannot express a layer.

    Raises:
        UserError: The condition holds.
    """
    if condition:
        raise UserError(f"{name} cannot be exported: {why}.")
