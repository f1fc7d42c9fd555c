"""Binary-Weight-Networks: one bit per weight, one real scale per filter, real inputs."""

from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes
from xnorlit.binarize.channels import over_filters
from xnorlit.binarize.latent import BLOCK, by_filters, compute_dtype
from xnorlit.binarize.standard import filter_dims
from xnorlit.binarize.straight_through import clip_gradient, sign

WeightGradient = Literal["corrected", "paper", "ste"]
WeightScale = Literal["alpha", "none"]


def alpha(weight: Tensor) -> Tensor:
    """`alpha_o = mean of |W| over filter o`, the scale that minimises `||W - alpha sign(W)||^2`; shape `(O,)`.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
    """
    # On a CPU this is four times as fast as a norm of order 1, as long as the magnitudes stay in cache.
    some = weight.split(max(1, BLOCK // weight[0].numel()))
    return torch.cat([filters.abs().mean(dim=filter_dims(weight)) for filters in some])


def filter_scale(weight: Tensor, scale: WeightScale) -> Tensor:
    """Each filter's `alpha`, or 1 without a scale; shape `(O,)`.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        scale: `alpha` or `none`.
    """
    return alpha(weight) if scale == "alpha" else weight.new_ones(len(weight))


def _binary(weight: Tensor, scale: Tensor) -> Tensor:
    # (1 or 0, minus a half) times 2 alpha. This is exact, needs one new tensor, and handles -0.0, unlike copysign.
    return torch.ge(weight, 0, out=torch.empty_like(weight)).sub_(0.5).mul_(2 * scale)


def _ste(weight: Tensor, scale: Tensor, outer: Tensor) -> Tensor:
    return clip_gradient(outer, weight).mul_(scale)


def _paper(weight: Tensor, scale: Tensor, outer: Tensor) -> Tensor:
    return _ste(weight, scale, outer).add_(outer, alpha=1 / weight[0].numel())


def _corrected(weight: Tensor, scale: Tensor, outer: Tensor) -> Tensor:
    # All but the signs in one tensor: sign(W) * (share + alpha * (g sign(W)) * 1[|W| <= 1]).
    signs = sign(weight)
    inner = outer * signs
    share = inner.mean(dim=filter_dims(weight), keepdim=True)
    return clip_gradient(inner, weight, out=inner).mul_(scale).add_(share).mul_(signs)


_GRADIENTS = {"corrected": _corrected, "paper": _paper, "ste": _ste}


class _ScaledSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, gradient: WeightGradient, scale_of: WeightScale) -> Tensor:
        scale = over_filters(filter_scale(weight, scale_of), weight)
        ctx.save_for_backward(weight, scale)
        ctx.gradient = _GRADIENTS[gradient if scale_of == "alpha" else "ste"]
        return by_filters(_binary, compute_dtype(weight), weight, scale)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        weight, scale = ctx.saved_tensors

        def gradient(weight: Tensor, scale: Tensor, outer: Tensor) -> Tensor:
            return ctx.gradient(weight, scale, outer.to(weight.dtype))

        return by_filters(gradient, weight.dtype, weight, scale, outer), None, None


def scaled_sign(weight: Tensor, gradient: WeightGradient = "corrected", scale: WeightScale = "alpha") -> Tensor:
    """`alpha_o * sign(W)` with one of three gradients; `g` is the gradient of the loss by this function's output.

    - `corrected`: `dW_i = sign(W_i)/n * sum_j g_j sign(W_j) + alpha * g_i * 1[|W_i| <= 1]`, with the derivative of
      alpha, and that of `clip(W, -1, 1)` for the sign's. The sum runs over the `n` weights of the filter.
    - `paper`: `dW_i = g_i * (1/n + alpha * 1[|W_i| <= 1])`, equations 11 and 12. Its first term is not the derivative
      of alpha, because it leaves out the other weights of the filter.
    - `ste`: `dW_i = alpha * g_i * 1[|W_i| <= 1]`, with alpha as a constant.

    Without a scale the result is `sign(W)`, and all three gradients are `dW_i = g_i * 1[|W_i| <= 1]`, because they
    differ only in alpha's part.

    The public releases multiply `paper` or `corrected` by factors (`1 - 1/I`, `n`, `1e9`), which make Adam's epsilon
    and the weight decay negligible. Here these are settings of the latent weights' parameter group.

    Under autocast the result has autocast's dtype, and alpha is rounded to it. The gradient has the weights' dtype.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        gradient: `corrected`, `paper` or `ste`.
        scale: `alpha`, or `none` for no scale.

    Source: Rastegari et al. 2016, arXiv 1603.05279, section 3.1; the correction as in the notes to the PyTorch port
    of XNOR-Net by jiecaoyu.
    """
    return _ScaledSign.apply(weight, gradient, scale)


def centre_and_clip(weight: Tensor, centre: bool, clip: bool) -> None:
    """In place: subtract the mean over the input channels if `centre`, then clamp to [-1, 1] if `clip`."""
    if centre:
        weight.sub_(weight.mean(dim=1, keepdim=True))
    if clip:
        weight.clamp_(-1, 1)


class BWN(Binarizer):
    """`weight(W) = alpha_o * sign(W)`, `alpha_o = mean|W|` per filter; inputs stay real (rectified, see `Float`).

    The latent weights are centred and clamped after every optimizer step. The releases do so inside the forward pass,
    also in validation, and therefore evaluate other weights than they trained.

    Source: Rastegari et al. 2016, arXiv 1603.05279, section 3.1.

    Args:
        gradient: Gradient of the latent weights, see `scaled_sign`: `corrected` (the true derivative), `paper`
            (equations 11-12) or `ste` (alpha as a constant).
        center: After each step, subtract from the latent weights their mean over the input channels, for each output
            channel and position.
        clip: Clamp the latent weights to [-1, 1] after each step. Beyond 1 they would receive no gradient.
        scale: `alpha`, or `none` for the plain sign, for which the three gradients are equal.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.BWN().for_layer(weight).weight_codes(weight)
        Codes(values=tensor([[ 1., -1.,  1., -1.]]), scale=tensor([0.5000]))
    """

    weight_bits = 1

    def __init__(
        self,
        gradient: WeightGradient = "corrected",
        center: bool = True,
        clip: bool = True,
        scale: WeightScale = "alpha",
    ) -> None:
        super().__init__()
        self.gradient: WeightGradient = gradient
        self.center = center
        self.clip = clip
        self.scale: WeightScale = scale

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return scaled_sign(weight, self.gradient, self.scale)

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        return Codes(sign(weight), filter_scale(weight, self.scale))

    @override
    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        centre_and_clip(weight, self.center, self.clip)
