"""Step functions of reals: the thresholds of a packed network as the comparisons `x > t` that every runtime has.

A packed threshold is reached (`x >= t`); a runtime compares strictly. Both agree for every fp32 number, also at
equality and where a runtime flushes denormal numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Tensors = Mapping[str, np.ndarray]
LARGEST = np.finfo(np.float32).max
SMALLEST = np.finfo(np.float32).tiny  # runtimes may flush smaller numbers to 0
HALVES = 2**22  # fp32 holds every half-integer up to this one


@dataclass(frozen=True)
class Steps:
    """A step function per channel: `start + sum of change[l] over the levels l with x > above[l]`.

    Attributes:
        above: `(L, C)`, fp32.
        start: `(C,)`.
        change: `(L, C)`.
        whole: Whether every x is an integer.
        signs: Whether the values are -1 and +1, not codes from 0.
    """

    above: np.ndarray
    start: np.ndarray
    change: np.ndarray
    whole: bool = False
    signs: bool = False

    @property
    def single(self) -> bool:
        """Whether they are signs with one threshold, which each channel passes in either direction."""
        return self.signs and len(self.above) == 1 and bool((np.abs(self.change) == 2).all())

    @property
    def reached(self) -> np.ndarray:
        """What x reaches exactly where it lies above: `x >= reached` for `x > above`, `(L, C)`."""
        if self.whole:
            return np.floor(self.above) + 1
        below = np.minimum(self.above, np.nextafter(LARGEST, np.float32(0)))  # LARGEST is never reached
        return np.where(self.above == -SMALLEST, 0, np.nextafter(below, LARGEST)).astype(np.float32)

    @property
    def held(self) -> np.ndarray:
        """The largest x that does not lie above, `(L, C)`."""
        return np.floor(self.above) if self.whole else self.above

    def each(self, change: Callable[[np.ndarray], np.ndarray]) -> "Steps":
        """The same steps of other channels, which a function of `above`, `start` and `change` selects or repeats."""
        parts = (change(part) for part in (self.above, self.start, self.change))
        return Steps(*parts, whole=self.whole, signs=self.signs)


ZERO = Steps(np.array([[-SMALLEST]], np.float32), np.array([-1], np.float32), np.array([[2]], np.float32), signs=True)
"""`+1` where `x >= 0`."""


def steps_of(own: Tensors, levels: int, features: int, *, signs: bool) -> Steps:
    """The step function of a layer's sums, or of the reals that a sign reads.

    Args:
        own: The tensors of the layer or the sign.
        levels: Number of thresholds.
        features: Number of channels, or of channels and positions.
        signs: Whether the codes are signs.
    """
    start = _codes(own["flip"].reshape(1, -1, own["flip"].shape[-1]), features)[0]
    change = _codes(own["change"], features) if "change" in own else np.ones((1, features), np.int64)
    codes = np.bitwise_xor.accumulate(np.concatenate([start[None], change]), axis=0)
    values = 2 * codes - 1 if signs else codes
    threshold = own["threshold"].reshape(levels, features)
    change = np.diff(values, axis=0).astype(np.float32)
    whole = threshold.dtype.kind == "i"
    return Steps(_strictly(threshold), values[0].astype(np.float32), change, whole=whole, signs=signs)


def _codes(octets: np.ndarray, features: int) -> np.ndarray:
    """Codes `(L, features)` from planes of octets `(L, bits, octets)`."""
    bits = np.unpackbits(octets, axis=-1, count=features, bitorder="little").astype(np.int64)
    return (bits << np.arange(bits.shape[1])[:, None]).sum(axis=1)


def _strictly(threshold: np.ndarray) -> np.ndarray:
    """The fp32 number that a sum exceeds exactly when it reaches the threshold."""
    if threshold.dtype.kind == "i":
        wide = threshold.astype(np.float64)
        return np.where(np.abs(wide) < HALVES, wide - 0.5, wide - 1).astype(np.float32)
    below = np.nextafter(threshold, np.float32(-np.inf))
    denormal = np.abs(below) < SMALLEST
    return np.clip(np.where(denormal, np.where(threshold > 0, 0, -SMALLEST), below), -LARGEST, LARGEST)
