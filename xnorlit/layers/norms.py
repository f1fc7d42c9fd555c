"""Batch norms whose output for a constant channel is the same in training and in evaluation."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from xnorlit.errors import UserError


def scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """`s = gamma / sqrt(var + eps)` and `h = beta - mean * s` of a norm's evaluation `x * s + h`, `(C,)` each, in fp64.

    Args:
        norm: With running statistics. If it is torch's own, gamma counts for constant channels too.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # Apple's GPUs have no fp64.
    mean, var = (values.cpu() if values.is_mps else values for values in (norm.running_mean, norm.running_var))
    scale = torch.ones_like(var, dtype=torch.float64)
    if isinstance(norm, _SteadyBatchNorm):
        scale = norm.varies.to(var.device).double()
    if norm.weight is not None:
        scale = scale * norm.weight.to(var.device).double()
    scale = scale / (var.double() + norm.eps).sqrt()
    shift = -mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.to(var.device).double()


class _SteadyBatchNorm(_BatchNorm):
    """Batch norm whose output for a constant channel is `beta` in evaluation, as in training.

    A dead ReLU before the norm leaves a channel at 0. In training its batch mean is 0 and the output is exactly `beta`.
    Its running mean only decays, to values such as 2e-36, so evaluation would give slightly less than `beta`. With a
    `beta` of 0 the sign after it would flip; one such channel has cost 19 points of accuracy. Where the running
    variance shows that nothing varies, gamma is therefore taken as 0.

    Evaluation is `x * s`, then `+ h`, each rounded to fp32 (or to a wider input's dtype), with
    `s = gamma / sqrt(var + eps)` and `h = beta - mean * s` computed in fp64 and rounded once. torch's own norm rounds
    as the processor's kernels do, which a packed network cannot reproduce bit for bit.

    If `synced` is set, training takes mean and variance over the samples of all processes, whose numbers may differ.
    torch's own SyncBatchNorm does not treat constant channels and does not run on a CPU.
    """

    # Compared with eps, which is the variance that the norm itself treats as noise.
    constant_below = 1e-12
    synced = False
    copies = 1  # Number of processes with the same samples, which then count once.

    @override
    def forward(self, input: Tensor) -> Tensor:
        if self.training and self.synced and dist.is_initialized():
            return self._over_all_processes(input)
        if self.training or self.running_var is None:
            return super().forward(input)
        return self._evaluated(input)

    @property
    def varies(self) -> Tensor:
        """Which channels varied in training, bool `(C,)`; gamma counts as 0 for the others."""
        assert self.running_var is not None
        return self.running_var > self.constant_below * self.eps

    def _evaluated(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        if x.shape[1] != self.num_features:
            raise UserError(
                f"{type(self).__name__} received an input of shape {tuple(x.shape)}. Expected {self.num_features} "
                "channels."
            )
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        shape = (-1, *(1,) * (x.ndim - 2))
        scale, shift = (values.to(wide).to(x.device).view(shape) for values in scale_and_shift(self))
        # Separate operations, so that a compiler cannot fuse them into a multiply-add that rounds differently.
        return torch.mul(x.to(wide), scale).add_(shift).to(x.dtype)

    def _over_all_processes(self, x: Tensor) -> Tensor:
        """`beta + gamma (x - mean) / sqrt(var + eps)`, in fp32 or wider, like torch's own."""
        dims, shape = [0, *range(2, x.ndim)], (1, -1, *(1,) * (x.ndim - 2))
        wide = x if x.dtype == torch.float64 else x.float()
        count = _summed(wide.new_tensor(x.numel() // x.shape[1]))
        mean = _SumOverProcesses.apply(wide.sum(dims)) / count
        centred = wide - mean.view(shape)
        variance = _SumOverProcesses.apply(centred.square().sum(dims)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - self.copies))
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape)
        if self.bias is not None:  # A norm without gamma may have beta, and the other way round.
            y = y + self.bias.view(shape)
        return y.to(x.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Updates the running statistics from those of a batch, as torch's norms do."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            running.lerp_(value.to(running.dtype), share)


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes. Its gradient is summed too, since each process's loss depends on all parts."""

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
    """Batch norm over `(N, C)`, steady for constant channels; see `BatchNorm2d`.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> xl.BatchNorm1d(8)(torch.randn(4, 8)).shape
        torch.Size([4, 8])
    """


class RowNorm(BatchNorm1d):
    """Batch norm over the last dimension of `(N, ..., C)`: before a linear layer, which reads rows of any map."""

    @override
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.reshape(-1, input.shape[-1])).view(input.shape)


class BatchNorm2d(_SteadyBatchNorm, nn.BatchNorm2d):
    """Batch norm over `(N, C, H, W)`, steady for constant channels.

    In training it is torch's. In evaluation a channel that never varied gives exactly `beta`, as in training, so the
    sign after it does not flip; and every step is rounded as the packed network rounds it.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> xl.BatchNorm2d(8)(torch.randn(4, 8, 5, 5)).shape
        torch.Size([4, 8, 5, 5])
    """
