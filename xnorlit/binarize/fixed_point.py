"""Fixed-point numbers: rounding, saturation, and the range that values need."""

import torch
from torch import Tensor


def codes(x: Tensor, integer_bits: Tensor, bits: int) -> Tensor:
    """`clip(round(x 2^(B - I)), -(2^B - 1), 2^B - 1)`, a new tensor; ties round to even.

    Args:
        x: Any shape.
        integer_bits: I, the position of the point: the range reaches up to `2^I`. One number, of either sign.
        bits: B, without the sign.
    """
    most = 2**bits - 1
    return torch.mul(x, torch.exp2(bits - integer_bits).to(x.dtype)).round_().clamp_(-most, most)


def fixed_point(x: Tensor, integer_bits: Tensor, bits: int) -> Tensor:
    """`codes / 2^(B - I)`: the nearest number of this form; values beyond the range saturate."""
    return codes(x, integer_bits, bits).mul_(torch.exp2(integer_bits - bits).to(x.dtype))


def overflow(x: Tensor, integer_bits: Tensor, bits: int) -> Tensor:
    """Two shares: of the `|x|` that reach the largest number of this range, and of the range one bit lower."""
    magnitudes = x.abs()
    largest = (2**bits - 1) * torch.exp2(integer_bits - bits).to(x.dtype)
    return torch.stack([(magnitudes >= bound).float().mean() for bound in (largest, largest / 2)])


def move(rates: Tensor, most: float) -> Tensor:
    """The change of each range: +1 if its overflow rate exceeds `most`, 0 if the lower range's would, else -1.

    Args:
        rates: Overflow rates in this range and in the one below, `(2, G)`.
        most: Largest tolerated rate.
    """
    above, above_lower = rates > most
    return above.float() - (~above & ~above_lower).float()


def range_of(x: Tensor) -> Tensor:
    """The lowest I for which no value of x exceeds `2^I`; 0 if all values are 0."""
    largest = x.abs().amax() if x.numel() else x.new_zeros(())
    return torch.where(largest > 0, largest.clamp_min(torch.finfo(x.dtype).tiny).log2().floor() + 1, 0)
