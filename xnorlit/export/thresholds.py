"""Thresholds that replace everything between a sum and its few-bit code.

The modules in between (scale, bias, ReLU, PReLU, batch norm, a learned shift, the quantiser) form a step function of
the sum. Its steps are not derived from the parameters. They are found by evaluating these modules in fp32, because even
an exact formula would miss how evaluation rounds at the boundary.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from xnorlit.errors import UserError
from xnorlit.packed._kernels import MOST_LEVELS

# Maps rows of sums, (M, F) for F features or (M, 1) for one sum in all of them, to codes (M, F), int64.
Codes = Callable[[Tensor], Tensor]

AT_ONCE = 2**18  # values per chunk, so that what is computed from them stays in the cache
ALL = 2**28  # up to so many values every integer is evaluated, in seconds
GRID = 1025  # points at which bisected codes are checked for monotonicity
FAR = 1e30  # beyond any sum of reals, but small enough not to overflow in a batch norm
NEAREST = 1e-30


class Steps(NamedTuple):
    """The code of a sum: `start` XOR `change[l]` for each level l whose threshold the sum reaches."""

    threshold: np.ndarray  # (L, F), int32 or float32
    start: np.ndarray  # (F,), uint8
    change: np.ndarray  # (L, F), uint8


def integer_steps(codes: Codes, features: int, most: int, name: str) -> Steps:
    """The steps of integer sums, found by evaluating every possible integer if there are few.

    Args:
        codes: Maps sums to codes.
        features: Number of features, F.
        most: Sums lie in `[-most, most]`.
        name: Name of the layer, for errors.

    Raises:
        UserError: There are too many steps, or too many integers and the codes are not monotonic.
    """
    if (2 * most + 1) * features > ALL:
        low, high = torch.full((features,), -most), torch.full((features,), most)
        grid = torch.linspace(-most, most, GRID, dtype=torch.float64).round().to(torch.int64)[:, None]
        found = _bisected(codes, low, high, lambda place: place, grid, name)
        return Steps(np.where(found[2], found[0], most + 1).astype(np.int32), *found[1:])
    before = start = codes(torch.tensor([[-most]]))[0]
    rows, columns, changes = [], [], []
    step = max(1, AT_ONCE // features)
    for first in range(-most + 1, most + 1, step):
        sums = torch.arange(first, min(first + step, most + 1))
        found = codes(sums[:, None])
        turned = found ^ torch.cat([before[None], found[:-1]])
        row, column = turned.nonzero(as_tuple=True)
        rows.append(sums[row])
        columns.append(column)
        changes.append(turned[row, column])
        before = found[-1]
    return _gathered(torch.cat(rows), torch.cat(columns), torch.cat(changes), start, most + 1, name)


def real_steps(codes: Codes, features: int, name: str) -> Steps:
    """The steps of fp32 sums, by bisection over all fp32 numbers between -1e30 and 1e30.

    Args:
        codes: Maps sums to codes.
        features: Number of features, F.
        name: Name of the layer, for errors.

    Raises:
        UserError: The codes are not monotonic.
    """
    low, high = (_order(torch.full((features,), end)) for end in (-FAR, FAR))
    positive = torch.logspace(np.log10(NEAREST), np.log10(FAR), GRID // 2)
    grid = torch.cat([-positive.flip(0), torch.zeros(1), positive])[:, None]
    found = _bisected(codes, low, high, _number, grid, name)
    return Steps(np.where(found[2], _number(torch.from_numpy(found[0])).numpy(), np.float32(np.inf)), *found[1:])


def _gathered(places: Tensor, features: Tensor, changes: Tensor, start: Tensor, never: int, name: str) -> Steps:
    """Steps from changes that were found in ascending order; each feature has a column."""
    order = torch.argsort(features, stable=True)
    places, features, changes = places[order], features[order], changes[order]
    counts = torch.bincount(features, minlength=len(start))
    levels = max(1, int(counts.max()))
    if levels > MOST_LEVELS:
        raise UserError(
            f"{name} cannot be packed: the code after output {int(counts.argmax())} changes {levels} times as its sum "
            "grows. Check the checkpoint for parameters that are not finite."
        )
    rank = torch.arange(len(features)) - (counts.cumsum(0) - counts)[features]
    threshold = torch.full((levels, len(start)), never, dtype=torch.int32)
    change = torch.zeros(levels, len(start), dtype=torch.uint8)
    threshold[rank, features] = places.to(torch.int32)
    change[rank, features] = changes.to(torch.uint8)
    return Steps(threshold.numpy(), start.to(torch.uint8).numpy(), change.numpy())


def _bisected(
    codes: Codes, low: Tensor, high: Tensor, sums: Callable[[Tensor], Tensor], grid: Tensor, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The place of each level's threshold, the starting code and the changes; the place is 0 if there is none."""
    seen = codes(grid)
    seen = torch.cat([codes(sums(low)[None]), seen, codes(sums(high)[None])])
    growth = seen.diff(dim=0)
    if ((growth > 0).any(dim=0) & (growth < 0).any(dim=0)).any():
        raise UserError(
            f"{name} cannot be packed: what follows it makes its codes rise and fall as a sum grows, which only sums "
            "of few integers can be packed with. Look for a PReLU with a negative slope."
        )
    start, end = seen[0], seen[-1]
    direction = torch.where(end < start, -1, 1)
    levels = max(1, int((end - start).abs().max()))
    ahead = torch.arange(1, levels + 1)[:, None]
    low, high = low.expand(levels, -1), high.expand(levels, -1)
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        reached = (codes(sums(middle)) - start) * direction >= ahead
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    change = (start + direction * (ahead - 1)) ^ (start + direction * ahead)
    change = torch.where((end - start).abs() >= ahead, change, 0)
    return high.numpy(), start.to(torch.uint8).numpy(), change.to(torch.uint8).numpy()


def _order(values: Tensor) -> Tensor:
    """fp32 numbers as integers of the same order; neighbours differ by one."""
    bits = values.to(torch.float32).view(torch.int32).to(torch.int64)
    return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _number(order: Tensor) -> Tensor:
    bits = torch.where(order < 0, -order - 2**31, order)  # the sign bit and the magnitude
    return bits.to(torch.int32).view(torch.float32)
