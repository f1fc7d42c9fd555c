"""Stateless random numbers: a number is a hash of a key, a sample's index and the draw's position.

No generator advances, so the numbers do not depend on the number of workers, their order, or where a run was resumed.

Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (the finaliser is the
variant 13 of Stafford, as in SplitMix64).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def key(*parts: int) -> int:
    """The 64-bit key of a sequence of integers, such as (seed, epoch, purpose).

    Each part is hashed before the next one is added, so (7, 1) and (8, 0) have unrelated keys.
    """
    state = 0
    for part in parts:
        state = int(_mix(np.array([(state + _GOLDEN + part) & _MASK], dtype=np.uint64))[0])
    return state


def bits(key: int, index: ArrayLike, draw: ArrayLike = 0) -> NDArray[np.uint64]:
    """64 hashed bits for each (key, index, draw); indices and draws broadcast.

    Args:
        key: From `key`.
        index: Numbers of samples, not negative.
        draw: Number of the draw for a sample, not negative.
    """
    golden = np.uint64(_GOLDEN)
    one = np.uint64(1)
    state = _mix(np.uint64(key) + (np.atleast_1d(np.asarray(index)).astype(np.uint64) + one) * golden)
    return _mix(state + (np.atleast_1d(np.asarray(draw)).astype(np.uint64) + one) * golden)


def uniform(
    key: int, index: ArrayLike, draw: ArrayLike = 0, low: float = 0.0, high: float = 1.0
) -> NDArray[np.float64]:
    """Uniform numbers in [low, high), one for each (key, index, draw)."""
    unit = (bits(key, index, draw) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return low + (high - low) * unit


def normal(key: int, index: ArrayLike, draw: ArrayLike = 0) -> NDArray[np.float64]:
    """Standard normal numbers, one for each (key, index, draw): Box-Muller on the hash's two halves."""
    return _box_muller(bits(key, index, draw))[0]


def normal_pairs(key: int, index: ArrayLike, draw: ArrayLike = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two independent standard normal numbers for each (key, index, draw), with half the hashes."""
    return _box_muller(bits(key, index, draw), np.float32)


def _box_muller(hashed: NDArray[np.uint64], dtype: type = np.float64) -> tuple[NDArray, NDArray]:
    # 24 bits fit a float32 exactly; the half keeps the logarithm away from 0.
    first = ((hashed >> np.uint64(40)).astype(dtype) + dtype(0.5)) * dtype(2.0**-24)
    second = ((hashed & np.uint64(0xFFFFFF)).astype(dtype)) * dtype(2.0**-24 * 2 * np.pi)
    radius = np.sqrt(dtype(-2) * np.log(first))
    return radius * np.cos(second), radius * np.sin(second)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
