"""Where what follows a sum may turn from rising to falling: at the bends of activations, traced back to the sum.

Everything between a sum and its code consists of monotonic operations (scales, norms, shifts, quantisers) and of
activations, which are monotonic on either side of their bends. fp32 rounds monotonically. So from one bend to the next
the result only rises or only falls, and evaluating it there finds every turn, however close two turns lie.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xnorlit.binarize.adabin import Maxout
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.export.maps import Halves
from xnorlit.export.nodes import Clip, TwoSlope

GRID = 1025  # sums that are evaluated too, since a binarizer's own post layer may bend at unknown places
FAR = 1e30  # beyond any sum of reals, but small enough not to overflow in a batch norm
NEAREST = 1e-30


class Bend(NamedTuple):
    """A place where an activation changes its slope.

    Attributes:
        reads: Maps sums `(M, F)` to what the activation reads, `(M, F)`.
        at: Where it bends: one number, or one per feature, `(F,)`.
    """

    reads: Callable[[Tensor], Tensor]
    at: Tensor


class Sums(NamedTuple):
    """All sums that a layer may have, numbered in ascending order.

    Attributes:
        low: Number of the least.
        high: Number of the largest.
        value: Maps numbers to sums.
        grid: Some sums in ascending order, `(M, 1)`.
    """

    low: int
    high: int
    value: Callable[[Tensor], Tensor]
    grid: Tensor


def integers(most: int) -> Sums:
    """Integers in `[-most, most]`, each its own number."""
    grid = torch.linspace(-most, most, GRID, dtype=torch.float64).round().to(torch.int64)[:, None]
    return Sums(-most, most, lambda place: place, grid)


def reals() -> Sums:
    """All fp32 numbers between -1e30 and 1e30; neighbours have neighbouring numbers."""
    positive = torch.logspace(math.log10(NEAREST), math.log10(FAR), GRID // 2)
    grid = torch.cat([-positive.flip(0), torch.zeros(1), positive])[:, None]
    most = int(torch.tensor(FAR).view(torch.int32))
    return Sums(-most, most, _number, grid)


def _number(order: Tensor) -> Tensor:
    bits = torch.where(order < 0, -order - 2**31, order)  # the sign bit and the magnitude
    return bits.to(torch.int32).view(torch.float32)


def bends_of(module: nn.Module) -> Iterator[Tensor]:
    """Where an elementwise module bends: one number, or one per channel, each time.

    Args:
        module: A norm and the like has no bends. Those of a binarizer's own post layer are unknown.
    """
    if isinstance(module, Halves):
        yield from (at.repeat(2) if at.ndim else at for at in bends_of(module.module))
    elif isinstance(module, nn.ReLU | nn.PReLU | nn.LeakyReLU | TwoSlope | Maxout):
        yield torch.zeros(())
    elif isinstance(module, RPReLU):
        yield -module.before.detach()
    elif isinstance(module, nn.Hardtanh):
        yield from torch.tensor([module.min_val, module.max_val])
    elif isinstance(module, Clip):
        yield from torch.tensor([module.low, module.high])


def growth(of: Callable[[Tensor], Tensor], sums: Sums, features: int, bends: Sequence[Bend]) -> Tensor:
    """How a function of sums grows, `(M, F)`: a feature never falls if no difference is negative.

    Args:
        of: Maps sums `(M, 1)` or `(M, F)` to values `(M, F)`.
        sums: All sums.
        features: Number of features, F.
        bends: Those of the activations that the function passes through, in their order.
    """
    turns = of(sums.value(turning(sums, features, bends)))
    return torch.cat([turns.diff(dim=0), of(sums.grid).diff(dim=0)])


def turning(sums: Sums, features: int, bends: Sequence[Bend]) -> Tensor:
    """Numbers of sums in ascending order, `(M, F)`, between which a function only rises or only falls.

    Each bend is found by bisection, because what its activation reads is monotonic between the sums found before.
    """
    places = torch.tensor([[sums.low], [sums.high]]).expand(-1, features)
    for reads, at in bends:
        above = reads(sums.value(places)) >= at
        crossed = above[1:] != above[:-1]
        rows = crossed.any(dim=1)
        crossed, side, first, last = crossed[rows], above[:-1][rows], places[:-1][rows], places[1:][rows]
        last = torch.where(crossed, last, first)  # elsewhere there is nothing to find
        while (last - first > 1).any():
            middle = first + (last - first) // 2
            same = (reads(sums.value(middle)) >= at) == side
            first, last = torch.where(same, middle, first), torch.where(same, last, middle)
        places = _distinct(torch.cat([places, first, last]))
    return places


def _distinct(places: Tensor) -> Tensor:
    """Each column in ascending order, without repetitions; shorter columns repeat their last place."""
    places = places.sort(dim=0).values
    last = places[-1]
    again = torch.cat([torch.zeros_like(places[:1], dtype=torch.bool), places[1:] == places[:-1]])
    places = torch.where(again, last, places).sort(dim=0).values
    return places[: int((places < last).sum(dim=0).max()) + 1]
