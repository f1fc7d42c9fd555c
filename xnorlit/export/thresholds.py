"""Thresholds that replace everything between a sum and its few-bit code.

The modules in between (scale, bias, ReLU, PReLU, batch norm, a learned shift, the quantiser) form a step function of
the sum. Its steps are not derived from the parameters. They are found by evaluating these modules in fp32, because even
an exact formula would miss how evaluation rounds at the boundary.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from xnorlit.errors import UserError
from xnorlit.export.bends import Bend, Sums, growth, integers, reals
from xnorlit.packed._kernels import MOST_LEVELS

# Maps rows of sums, (M, F) for F features or (M, 1) for one sum in all of them, to codes (M, F), int64.
Codes = Callable[[Tensor], Tensor]

AT_ONCE = 2**18  # values per chunk, so that what is computed from them stays in the cache
ALL = 2**28  # up to so many values every integer is evaluated, in seconds


class Steps(NamedTuple):
    """The code of a sum: `start` XOR `change[l]` for each level l whose threshold the sum reaches."""

    threshold: np.ndarray  # (L, F), int32 or float32
    start: np.ndarray  # (F,), uint8
    change: np.ndarray  # (L, F), uint8


def integer_steps(codes: Codes, features: int, most: int, name: str, bends: Sequence[Bend] = ()) -> Steps:
    """The steps of integer sums, found by evaluating every possible integer if there are few.

    Args:
        codes: Maps sums to codes.
        features: Number of features, F.
        most: Sums lie in `[-most, most]`.
        name: Name of the layer, for errors.
        bends: Those of the activations up to the codes.

    Raises:
        UserError: There are too many steps, or too many integers and the codes are not monotonic.
    """
    if (2 * most + 1) * features > ALL:
        found = _bisected(codes, integers(most), features, name, bends)
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


def real_steps(codes: Codes, features: int, name: str, bends: Sequence[Bend] = ()) -> Steps:
    """The steps of fp32 sums, by bisection over all fp32 numbers between -1e30 and 1e30.

    Args:
        codes: Maps sums to codes.
        features: Number of features, F.
        name: Name of the layer, for errors.
        bends: Those of the activations up to the codes.

    Raises:
        UserError: The codes are not monotonic.
    """
    sums = reals()
    found = _bisected(codes, sums, features, name, bends)
    return Steps(np.where(found[2], sums.value(torch.from_numpy(found[0])).numpy(), np.float32(np.inf)), *found[1:])


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
    codes: Codes, sums: Sums, features: int, name: str, bends: Sequence[Bend]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The place of each level's threshold, the starting code and the changes; the place is 0 if there is none."""
    grows = growth(codes, sums, features, bends)
    if ((grows > 0).any(dim=0) & (grows < 0).any(dim=0)).any():
        raise UserError(
            f"{name} cannot be packed: what follows it makes its codes rise and fall as a sum grows, which only sums "
            "of few integers can be packed with. Look for a PReLU with a negative slope."
        )
    low, high = torch.full((features,), sums.low), torch.full((features,), sums.high)
    start, end = codes(sums.value(torch.stack([low, high])))
    direction = torch.where(end < start, -1, 1)
    levels = max(1, int((end - start).abs().max()))
    ahead = torch.arange(1, levels + 1)[:, None]
    low, high = low.expand(levels, -1), high.expand(levels, -1)
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        reached = (codes(sums.value(middle)) - start) * direction >= ahead
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    change = (start + direction * (ahead - 1)) ^ (start + direction * ahead)
    change = torch.where((end - start).abs() >= ahead, change, 0)
    return high.numpy(), start.to(torch.uint8).numpy(), change.to(torch.uint8).numpy()
