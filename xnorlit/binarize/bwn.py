"""Binary-Weight-Networks: one bit per weight, one real scale per filter, real inputs."""

from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.sign import clip_gradient, sign

WeightGradient = Literal["corrected", "paper", "ste"]


def alpha(weight: Tensor) -> Tensor:
    """`alpha_o = mean over filter o of |W|`, the scale that minimises `||W - alpha sign(W)||^2`; shape `(O,)`.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
    """
    return torch.linalg.vector_norm(weight, ord=1, dim=tuple(range(1, weight.ndim))) / weight[0].numel()


def _per_filter(scale: Tensor, weight: Tensor) -> Tensor:
    return scale.view(-1, *(1,) * (weight.ndim - 1))


class _ScaledSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, gradient: WeightGradient) -> Tensor:
        scale = _per_filter(alpha(weight), weight)
        binary = sign(weight).mul_(scale)
        ctx.save_for_backward(weight, scale, binary)
        ctx.gradient = gradient
        return binary

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        weight, scale, binary = ctx.saved_tensors
        inner = clip_gradient(outer, weight).mul_(scale)
        if ctx.gradient == "paper":
            inner.add_(outer, alpha=1 / weight[0].numel())
        elif ctx.gradient == "corrected":
            # sign(W) is binary / alpha, so the sum over the filter and the sign before it each bring one division.
            total = (outer * binary).sum(dim=tuple(range(1, weight.ndim)), keepdim=True)
            share = torch.where(scale > 0, total / scale / scale, 0) / weight[0].numel()
            inner.addcmul_(binary, share)
        return inner, None


def scaled_sign(weight: Tensor, gradient: WeightGradient = "corrected") -> Tensor:
    """`alpha_o * sign(W)` with one of three gradients; `g` is the gradient of the loss by this function's output.

    - `corrected`: `dW_i = sign(W_i)/n * sum_j g_j sign(W_j) + alpha * g_i * 1[|W_i| <= 1]`, the derivative of
      `mean|W| * clip(W, -1, 1)` in the sign's place; the sum runs over the `n` weights of the filter.
    - `paper`: `dW_i = g_i * (1/n + alpha * 1[|W_i| <= 1])`, equations 11 and 12. Its first term is not the derivative
      of alpha (it leaves out the other weights of the filter).
    - `ste`: `dW_i = alpha * g_i * 1[|W_i| <= 1]`, with alpha as a constant.

    The public releases multiply `paper` or `corrected` by factors (`1 - 1/I`, `n`, `1e9`) that make Adam's epsilon and
    the weight decay vanish; here those are settings of the latent weights' parameter group instead.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        gradient: Which of the three.

    Source: Rastegari et al. 2016, arXiv 1603.05279, section 3.1; the correction as in the notes to the PyTorch port
    of XNOR-Net by jiecaoyu.
    """
    return _ScaledSign.apply(weight, gradient)


class BWN(Binarizer):
    """`weight(W) = alpha_o * sign(W)`, `alpha_o = mean|W|` per filter; inputs stay real (rectified, see `Float`).

    After every optimizer step the latent weights are centred and clamped, once and in one place: the releases do it
    inside the forward pass, validation included, and thereby evaluate other weights than they trained.

    Source: Rastegari et al. 2016, arXiv 1603.05279, section 3.1.

    Args:
        gradient: Gradient of the latent weights, see `scaled_sign`: `corrected` (the true derivative), `paper`
            (equations 11-12) or `ste` (alpha as a constant).
        center: Subtract from the latent weights, after each step, their mean over the input channels, one mean per
            output channel and position.
        clip: Clamp the latent weights to [-1, 1] after each step; beyond 1 the gradient no longer reaches them.
    """

    weight_bits = 1

    def __init__(self, gradient: WeightGradient = "corrected", center: bool = True, clip: bool = True) -> None:
        super().__init__()
        self.gradient: WeightGradient = gradient
        self.center = center
        self.clip = clip

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return scaled_sign(weight, self.gradient)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        return Codes(sign(weight), alpha(weight))

    @override
    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        if self.center:
            weight.sub_(weight.mean(dim=1, keepdim=True))
        if self.clip:
            weight.clamp_(-1, 1)
