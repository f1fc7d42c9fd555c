"""The threshold and the direction of everything between a sum and the sign of what became of it.

What lies between two signs (scale, bias, ReLU, PReLU, batch norm) grows or falls with the sum throughout, so its sign
is `(sum >= threshold) xor flip`. The thresholds are not derived from the parameters but found by evaluating the very
modules, in fp32: a formula, however exact, would miss how the evaluation forward rounds at the boundary.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from xnorlit.errors import UserError

# Rows of sums, (M, F) for F features, or (M,) for the same sum in each, to their signs as booleans (M, F).
Signs = Callable[[Tensor], Tensor]

AT_ONCE = 2**22  # values of a chunk, for memory's sake
FAR = 1e30  # where no sum of pixels comes, and where fp32 does not yet overflow behind a batch norm


class Thresholds(NamedTuple):
    """`bit = (sum >= threshold) xor flip`, each of one dimension."""

    threshold: np.ndarray
    flip: np.ndarray


def integer_thresholds(signs: Signs, features: int, most: int, name: str) -> Thresholds:
    """Thresholds of integer sums, found by sending every integer that can occur through the modules.

    Args:
        signs: From a column of sums, `(M, 1)`, to the signs of each feature.
        features: Number of features, F.
        most: Products of a sum, so that sums lie in `[-most, most]`.
        name: The layer's, for errors.

    Raises:
        UserError: A feature's sign changes more than once, so that no threshold exists.
    """
    before = first = signs(torch.tensor([[-most]]))[0]
    changes = torch.zeros(features, dtype=torch.int64)
    place = torch.full((features,), most + 1)
    step = max(1, AT_ONCE // features)
    for start in range(-most + 1, most + 1, step):
        sums = torch.arange(start, min(start + step, most + 1))
        found = signs(sums[:, None])
        changed = found != torch.cat([before[None], found[:-1]])
        here = changed.any(dim=0)
        changes += changed.sum(dim=0)
        place = torch.where(here & (place > most), sums[changed.int().argmax(dim=0)], place)
        before = found[-1]
    if (changes > 1).any():
        raise UserError(
            f"{name} cannot be packed: the sign behind output {int(changes.argmax())} changes {int(changes.max())} "
            "times as its sum grows, so it is no threshold. Check the checkpoint for parameters that are not finite."
        )
    # A feature that starts at 1 falls at its place, or never where that lies beyond every sum.
    return Thresholds(place.to(torch.int32).numpy(), first.to(torch.uint8).numpy())


def float_thresholds(signs: Signs, features: int) -> Thresholds:
    """Thresholds of fp32 sums, by bisection over all fp32 numbers between -1e30 and 1e30.

    Args:
        signs: From sums `(M, F)` to their signs.
        features: Number of features, F.
    """
    low, high = (_order(torch.full((features,), end)) for end in (-FAR, FAR))
    start, end = signs(_number(low)[None])[0], signs(_number(high)[None])[0]
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        same = signs(_number(middle)[None])[0] == start
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    never = start == end
    threshold = torch.where(never, torch.inf, _number(high))
    return Thresholds(threshold.numpy(), start.to(torch.uint8).numpy())


def _order(values: Tensor) -> Tensor:
    """fp32 numbers as integers of the same order, neighbours one apart."""
    bits = values.to(torch.float32).view(torch.int32).to(torch.int64)
    return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _number(order: Tensor) -> Tensor:
    bits = torch.where(order < 0, -order - 2**31, order)  # the sign bit and the magnitude
    return bits.to(torch.int32).view(torch.float32)
