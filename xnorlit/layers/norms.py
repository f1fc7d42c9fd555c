"""Batch norms that give the same for a constant channel in training and in evaluation."""

import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override


class _SteadyBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose output for a constant channel is `beta` in evaluation, as it is in training.

    A dead ReLU in front leaves a channel at 0. In training its batch mean is 0 and the output exactly `beta`. Its
    running mean only decays, to 2e-36 and the like, so evaluation would give a hair below `beta`; a sign behind a
    `beta` of 0 then flips, and one such channel has cost 19 points of accuracy. Where the running variance says that
    nothing varies, gamma is taken as 0.
    """

    # Against eps, which is the variance that the norm itself takes for noise.
    constant_below = 1e-12

    @override
    def forward(self, input: Tensor) -> Tensor:
        if self.training or self.running_var is None:
            return super().forward(input)
        varies = self.running_var > self.constant_below * self.eps
        gamma = varies.to(input.dtype) if self.weight is None else self.weight * varies
        return F.batch_norm(input, self.running_mean, self.running_var, gamma, self.bias, False, 0.0, self.eps)


class BatchNorm1d(_SteadyBatchNorm, nn.BatchNorm1d):
    """Batch norm over `(N, C)`, steady for constant channels.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> xl.BatchNorm1d(8)(torch.randn(4, 8)).shape
        torch.Size([4, 8])
    """


class BatchNorm2d(_SteadyBatchNorm, nn.BatchNorm2d):
    """Batch norm over `(N, C, H, W)`, steady for constant channels.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> xl.BatchNorm2d(8)(torch.randn(4, 8, 5, 5)).shape
        torch.Size([4, 8, 5, 5])
    """
