"""Batch norms that give the same for a constant channel in training and in evaluation."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.errors import UserError


class _SteadyBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose output for a constant channel is `beta` in evaluation, as it is in training.

    A dead ReLU in front leaves a channel at 0. In training its batch mean is 0 and the output exactly `beta`. Its
    running mean only decays, to 2e-36 and the like, so evaluation would give a hair below `beta`; a sign behind a
    `beta` of 0 then flips, and one such channel has cost 19 points of accuracy. Where the running variance says that
    nothing varies, gamma is taken as 0.

    Evaluation is `x * s`, then `+ h`, each rounded to fp32 (or to a wider input's dtype), with
    `s = gamma / sqrt(var + eps)` and `h = beta - mean * s` computed in fp64 and rounded once. torch's own norm rounds
    as the processor's kernels do, which a packed network could not repeat bit for bit.

    Where `synced` is set, training takes mean and variance over the samples of all processes, of which each may have
    another number; torch's own SyncBatchNorm knows nothing of constant channels, and no CPU.
    """

    # Against eps, which is the variance that the norm itself takes for noise.
    constant_below = 1e-12
    synced = False
    copies = 1  # How many processes hold the same samples, which then count once.

    @override
    def forward(self, input: Tensor) -> Tensor:
        if self.training and self.synced and dist.is_initialized():
            return self._over_all_processes(input)
        if self.training or self.running_var is None:
            return super().forward(input)
        return self._evaluated(input)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """What evaluation multiplies by and then adds, each `(C,)`, in fp64."""
        assert self.running_mean is not None
        assert self.running_var is not None
        # Apple's GPUs have no fp64.
        mean, var = (values.cpu() if values.is_mps else values for values in (self.running_mean, self.running_var))
        scale = (var > self.constant_below * self.eps).double()
        if self.weight is not None:
            scale = scale * self.weight.to(var.device).double()
        scale = scale / (var.double() + self.eps).sqrt()
        shift = -mean.double() * scale
        return scale, shift if self.bias is None else shift + self.bias.to(var.device).double()

    def _evaluated(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        if x.shape[1] != self.num_features:
            raise UserError(
                f"{type(self).__name__} received an input of shape {tuple(x.shape)}. Expected {self.num_features} "
                "channels."
            )
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        shape = (-1, *(1,) * (x.ndim - 2))
        scale, shift = (values.to(wide).to(x.device).view(shape) for values in self.scale_and_shift())
        # One operation each: a compiler may not make a multiply-add of rounding of its own out of these two.
        return torch.mul(x.to(wide), scale).add_(shift).to(x.dtype)

    def _over_all_processes(self, x: Tensor) -> Tensor:
        """`beta + gamma (x - mean) / sqrt(var + eps)`, in fp32 or wider as torch's own is."""
        dims, shape = [0, *range(2, x.ndim)], (1, -1, *(1,) * (x.ndim - 2))
        wide = x if x.dtype == torch.float64 else x.float()
        count = _summed(wide.new_tensor(x.numel() // x.shape[1]))
        mean = _SumOverProcesses.apply(wide.sum(dims)) / count
        centred = wide - mean.view(shape)
        variance = _SumOverProcesses.apply(centred.square().sum(dims)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - self.copies))
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Moves the running statistics towards those of a batch, as torch's norms do."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            running.lerp_(value.to(running.dtype), share)


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; so is its gradient, since each process's loss depends on every one's part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Tensor:  # type: ignore[override]
        return _summed(outer)


def _summed(x: Tensor) -> Tensor:
    x = x.clone()
    dist.all_reduce(x)
    return x


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
