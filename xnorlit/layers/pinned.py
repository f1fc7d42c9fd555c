"""Real layers for networks with binary ones; their evaluation sums in fp64 and rounds once.

The library decides in which order fp32 products are summed, and now and then the last bit decides a sign after a
shortcut. In fp64 the order no longer matters: a packed network gives the same reals and thus the same signs. Training
is torch's own. Chains do not need these layers, because sums of their first layer rarely lie within rounding of a
threshold.
"""

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.autocast import without_autocast
from xnorlit.layers.layout import in_format


def summed(x: Tensor) -> bool:
    """Whether sums of `x` can be computed in fp64, which Apple's GPUs lack."""
    return x.device.type != "mps"


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` whose evaluation sums in fp64, rounds once and then adds the bias.

    Use it for the stem and the shortcuts of a network with binary layers. Its arguments and state dict are those of
    `nn.Conv2d`. `binarize_` uses it for convolutions that stay real in a network with shortcuts.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> xl.Conv2d(3, 16, 3, padding=1, bias=False).eval()(torch.randn(2, 3, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        if self.training or not summed(input):
            return super().forward(input)
        with without_autocast(input.device):
            y = self._conv_forward(input.double(), self.weight.double(), None)
            return _with_bias(y, self.bias, self.weight.dtype, sides=2)


class Linear(nn.Linear):
    """`nn.Linear` whose evaluation sums in fp64, rounds once and then adds the bias.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> xl.Linear(64, 10).eval()(torch.randn(5, 64)).shape
        torch.Size([5, 10])
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        if self.training or not summed(input):
            return super().forward(input)
        with without_autocast(input.device):
            y = nn.functional.linear(input.double(), self.weight.double())
            return _with_bias(y, self.bias, self.weight.dtype, sides=0)


class AdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """`nn.AdaptiveAvgPool2d` whose evaluation averages a whole map in fp64 and rounds once.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> xl.AdaptiveAvgPool2d(1).eval()(torch.randn(2, 16, 7, 7)).shape
        torch.Size([2, 16, 1, 1])
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        whole = self.output_size in (1, (1, 1), [1, 1])
        if self.training or not whole or not summed(input):
            return super().forward(in_format(input))
        return input.double().mean(dim=(-2, -1), keepdim=True).to(input.dtype)


def _with_bias(y: Tensor, bias: Tensor | None, dtype: torch.dtype, *, sides: int) -> Tensor:
    """Rounds fp64 sums to fp32, or to a wider dtype of the weights, and adds the bias.

    Args:
        y: The sums, `(..., O)`, or `(..., O, H, W)` with two sides. Like torch's layers, ours take single images too.
        bias: `(O,)`.
        dtype: Dtype of the weights, and of the result.
        sides: Number of dimensions behind O.
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    y = y.to(wide)
    if bias is not None:
        y = y + bias.to(wide).view(-1, *(1,) * sides)
    return y.to(dtype)
