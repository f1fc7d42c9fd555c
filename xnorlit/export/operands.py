"""The two operands of a packed layer: its input and its weights, as floats or planes of signs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xnorlit.binarize import Binarizer
from xnorlit.errors import UserError
from xnorlit.layers import BinaryLayer
from xnorlit.packed.layer import LARGEST_SIDE, Operand, Weights

MOST_BITS = 8
PROBES = torch.linspace(-3, 3, 61)


class Planes(NamedTuple):
    """Weights as planes of signs: `weight = sum of factors[i] * (+1 where planes[i] else -1) / divisor`."""

    planes: Tensor  # booleans, (planes, *weights)
    weights: Weights


def operand_of(layer: BinaryLayer, name: str, *, first: bool) -> Operand:
    """The input operand of a layer.

    Args:
        layer: The layer.
        name: Name of its block, for errors.
        first: Whether it reads the pixels.

    Raises:
        UserError: The engine does not support such an operand.
    """
    binarizer = layer.binarizer
    kind, bits = type(binarizer).__name__, binarizer.input_bits
    if first:
        refuse(bits < 32, name, f"{kind} would make {bits}-bit codes of pixels; keep its inputs real with WeightsOnly")
        refuse(binarizer.rectify, name, "its binarizer rectifies the pixels; use one with signed inputs")
    scaled = scales_by_input(layer, name)
    if first:
        plain = reads_plainly(binarizer, layer.channels, flat=layer.window is None)
        refuse(not plain, name, f"{kind} changes the pixels that it reads; keep them as they are with WeightsOnly")
        refuse(scaled, name, f"{kind} multiplies its sums by a scale of the pixels; keep them plain with WeightsOnly")
        return Operand("pixels")
    if bits == 32:
        refuse(scaled, name, f"{kind} multiplies its sums by a scale of real inputs; use inputs of one bit")
        return Operand("reals")
    if binarizer.signed_input and bits == 1:
        return Operand("signs", scale="K" if scaled else "none")
    refuse(scaled, name, f"{kind} multiplies sums of codes by a scale of their inputs (K); train without it")
    refuse(bits > MOST_BITS, name, f"{kind} has {bits}-bit inputs; use {MOST_BITS} bits or fewer")
    return Operand("codes", bits=bits)


def scales_by_input(layer: BinaryLayer, name: str) -> bool:
    """Whether a layer multiplies its sums by K, the mean magnitude of the inputs in each window.

    Raises:
        UserError: The layer multiplies them by another scale.
    """
    window, outputs = layer.window, len(layer.weight)
    generator = torch.Generator().manual_seed(0)
    if window is None:
        x = torch.randn(2, layer.weight.shape[1], generator=generator)
        y, mean = torch.ones(2, outputs), x.abs().mean(dim=1, keepdim=True)
    else:
        x = torch.randn(2, layer.channels, *window.kernel, generator=generator)
        vertical, horizontal = window.padding
        mean = F.pad(x.abs().mean(dim=1, keepdim=True), (horizontal, horizontal, vertical, vertical))
        mean = F.avg_pool2d(mean, window.kernel, window.stride)
        y = torch.ones(2, outputs, *mean.shape[2:])
    scaled = layer.binarizer.rescale(y, x, window)
    if torch.equal(scaled, y):
        return False
    kind = type(layer.binarizer).__name__
    other = scaled.shape != y.shape or not torch.allclose(scaled, y * mean, rtol=1e-4)
    refuse(other, name, f"{kind} multiplies its sums by a scale per position other than K; train without it")
    return True


def weight_planes(codes: Tensor, name: str) -> Planes:
    """Integer weights as planes of signs.

    Signs take one plane. Odd integers up to `2^k - 1` take k planes with the factors 1, 2, 4 and so on. For -1, 0 and
    +1, the weight is half the sum of two planes. Other signed integers of k bits are half the sum of k planes and of a
    constant plane with factor -1.

    Args:
        codes: Integers, `(O, ...)`.
        name: Name of the layer, for errors.

    Raises:
        UserError: The codes are not integers of at most 8 bits.
    """
    finite = bool(torch.isfinite(codes).all()) and torch.equal(codes, codes.round())
    refuse(not finite, name, "its weight codes are not integers; check the checkpoint, or use another method")
    most = int(codes.abs().max())
    refuse(most >= 2**MOST_BITS, name, f"its weight codes reach {most}; use {MOST_BITS} bits or fewer")
    codes = codes.to(torch.int16)
    if (codes % 2 == 1).all():
        bits = most.bit_length()
        return Planes(_bits((codes + 2**bits - 1) // 2, bits), Weights("planes", tuple(2**j for j in range(bits))))
    if most <= 1:
        return Planes(torch.stack([codes > 0, codes >= 0]), Weights("planes", (1, 1), 2))
    bits = next(k for k in range(2, MOST_BITS + 2) if -(2 ** (k - 1)) <= codes.min() and codes.max() < 2 ** (k - 1))
    planes = torch.cat([_bits(codes + 2 ** (bits - 1), bits), torch.ones(1, *codes.shape, dtype=torch.bool)])
    return Planes(planes, Weights("planes", (*(2**j for j in range(bits)), -1), 2))


def packed_bits(planes: Tensor) -> np.ndarray:
    """Planes `(P, O, H, W, C)` as bytes; the first channel is the lowest bit."""
    return np.packbits(planes.numpy(), axis=-1, bitorder="little")


def reads_plainly(reader: Binarizer, channels: int, *, flat: bool) -> bool:
    """Whether a binarizer uses its real inputs unchanged or rectified, or takes plain signs of them.

    Args:
        reader: The binarizer.
        channels: Channels of its input.
        flat: Whether the input has no spatial positions.
    """
    x = PROBES[:, None].expand(-1, channels)
    codes = reader.input_codes(x if flat else x[:, :, None, None])
    plain = torch.where(x >= 0, 1.0, -1.0) if reader.input_bits == 1 else F.relu(x) if reader.rectify else x
    return torch.equal(codes.values.reshape(x.shape), plain) and float(codes.scale.mean()) == 1


def passes_output(layer: BinaryLayer) -> bool:
    """Whether the binarizer's `output` leaves results of any magnitude as they are."""
    generator = torch.Generator().manual_seed(0)
    shape = (16, len(layer.weight), *(() if layer.window is None else (2, 2)))
    y = torch.randn(shape, generator=generator) * 10 ** torch.empty(shape).uniform_(-3, 6, generator=generator)
    return torch.equal(layer.binarizer.output(y.clone()), y)


def refuse(condition: bool, name: str, why: str) -> None:
    """Raises an error if a layer has no packed form."""
    if condition:
        raise UserError(f"{name} cannot be packed: {why}.")


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its kind if it has none; without the full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def refuse_beyond(name: str, what: str, place: str, **sizes: Sequence[int]) -> None:
    """Raises an error if a size is larger than a packed file holds.

    Args:
        name: Name of the layer or the pool.
        what: How the message calls it.
        place: Where the user's code calls it.
        sizes: Its kernel, stride and padding, in pixels.
    """
    for size, pixels in sizes.items():
        most = max(pixels)
        refuse(
            most > LARGEST_SIDE,
            name,
            f"{what} has a {size} of {most}{place}, where a packed network has at most {LARGEST_SIDE} pixels; use a "
            f"smaller {size}",
        )


def _bits(codes: Tensor, count: int) -> Tensor:
    return torch.stack([codes >> j & 1 == 1 for j in range(count)])
