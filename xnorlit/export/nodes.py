"""The small operations of a packed graph as modules.

Each module computes what the engine computes for its node, in fp32, and rounds each product and each sum separately.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xnorlit.errors import UserError


class Affine(nn.Module):
    """`x * scale`, then `+ shift`, with one of each per channel.

    Args:
        scale: Factors, `(C,)`.
        shift: Summands, `(C,)`; default: zeros.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor | None = None) -> None:
        super().__init__()
        scale = _numbers("Affine", scale)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", torch.zeros_like(scale) if shift is None else _numbers("Affine", shift))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x * _over(self.scale, x) + _over(self.shift, x)


class Shift(nn.Module):
    """`x + shift`, with one summand per channel.

    Args:
        shift: `(C,)`.
    """

    shift: Tensor

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", _numbers("Shift", shift))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x + _over(self.shift, x)


class TwoSlope(nn.Module):
    """`above * x` where `x > 0`, `below * x` elsewhere; a slope is one number or one per channel.

    Args:
        above: Slope for positive values, a number or `(C,)`.
        below: Slope for the others, likewise.
    """

    above: Tensor
    below: Tensor

    def __init__(self, above: Tensor | float, below: Tensor | float) -> None:
        super().__init__()
        for name, slope in (("above", above), ("below", below)):
            self.register_buffer(name, _numbers("TwoSlope", torch.as_tensor(slope)))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x * torch.where(x > 0, _over(self.above, x), _over(self.below, x))


class Clip(nn.Module):
    """`min(max(x, low), high)`.

    Args:
        low: The smallest output.
        high: The largest output.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = float(low), float(high)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x.clamp(self.low, self.high)


class Add(nn.Module):
    """`a + b` of two maps of the same shape."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The same shape."""
        return a + b


class Concat(nn.Module):
    """The channels of several maps, one after the other."""

    def forward(self, *values: Tensor) -> Tensor:
        """`(N, sum of all C, H, W)`."""
        return torch.cat(values, dim=1)


class Subsample(nn.Module):
    """Every `stride`-th pixel, starting with the first, with zero channels added before and after the others.

    Args:
        stride: Distance between kept pixels in both directions.
        before: Number of zero channels before the others.
        after: Number of zero channels after the others.
    """

    def __init__(self, stride: int = 1, before: int = 0, after: int = 0) -> None:
        super().__init__()
        self.stride, self.before, self.after = stride, before, after

    def forward(self, x: Tensor) -> Tensor:
        """`(N, before + C + after, ceil(H / stride), ceil(W / stride))`."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class AveragePool(nn.Module):
    """The sum of each square window, row by row, divided by the number of its pixels.

    Args:
        kernel: Side of the window.
        stride: Distance between windows.
        padding: Zeros on each side, which count as pixels.
    """

    def __init__(self, kernel: int, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H', W')`."""
        return F.avg_pool2d(x, self.kernel, self.stride, self.padding)


class GlobalAverage(nn.Module):
    """The mean of each channel, computed in fp64 and rounded once: `(N, C, H, W)` to `(N, C, 1, 1)` or `(N, C)`.

    Args:
        keepdim: Whether the result is a map.
    """

    def __init__(self, keepdim: bool = True) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, 1, 1)`, or `(N, C)`."""
        return x.double().mean(dim=(2, 3), keepdim=self.keepdim).to(x.dtype)


ELEMENTWISE = (Affine, Shift, TwoSlope, Clip)


def _numbers(kind: str, values: Tensor) -> Tensor:
    values = values.detach().to("cpu", torch.float32)
    if values.ndim > 1:
        raise UserError(f"{kind}: the shape is {tuple(values.shape)}. Expected one number per channel, (C,).")
    return values.clone()


def _over(values: Tensor, x: Tensor) -> Tensor:
    """Numbers per channel, reshaped to broadcast over the channels of `x`."""
    return values.to(x.dtype).view(-1, *(1,) * (x.ndim - 2)) if values.ndim else values.to(x.dtype)
