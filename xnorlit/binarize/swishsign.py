"""BNN+'s SwishSign: the sign with the gradient of a swish, which is negative far from zero."""

import torch
from torch import Tensor
from typing_extensions import override

from xnorlit.binarize.bwn import WeightGradient
from xnorlit.binarize.latent import by_samples
from xnorlit.binarize.straight_through import sign, straight_through
from xnorlit.binarize.xnor import XNOR
from xnorlit.errors import UserError


def swish_gradient(gradient: Tensor, x: Tensor, beta: float) -> Tensor:
    """`gradient * b (2 - bx tanh(bx/2)) / (1 + cosh(bx))`, b = beta."""

    def formula(x: Tensor, gradient: Tensor) -> Tensor:
        # With the logistic function s(bx) it is 4b (1 - bx (s - 1/2)) s (1 - s). This avoids cosh, which overflows.
        curve = torch.mul(x, beta).sigmoid_()
        inner = torch.addcmul(x.new_tensor(4 * beta), x, curve - 0.5, value=-4 * beta * beta).mul_(gradient)
        return torch.ops.aten.sigmoid_backward.grad_input(inner, curve, grad_input=inner)

    return by_samples(formula, x, gradient)


def swish_sign(x: Tensor, beta: float = 5.0) -> Tensor:
    """`sign(x)` with the gradient `g * b (2 - bx tanh(bx/2)) / (1 + cosh(bx))`, b = beta.

    Args:
        x: Any shape.
        beta: A larger value makes the gradient narrower and higher.
    """
    return straight_through(x, sign, lambda gradient, x: swish_gradient(gradient, x, beta))


class SwishSign(XNOR):
    """`XNOR` with another gradient of the inputs: `g * b (2 - bx tanh(bx/2)) / (1 + cosh(bx))`, b = beta.

    This is the derivative of `2 s(bx) (1 + bx (1 - s(bx))) - 1` with the logistic function s. It is b at 0, and
    negative beyond `|x| = 2.4 / b`.

    Source: Darabi et al. 2018, arXiv 1812.11800, section 3.2; larq, larq/quantizers.py.

    Args:
        beta: A larger value makes the gradient narrower and higher; 5 in larq.
        gradient: Gradient of the latent weights, see `XNOR`.
        center: Subtract from the latent weights, after each step, their mean over the input channels.
        clip: Clamp the latent weights to [-1, 1] after each step.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.SwishSign().for_layer(weight).input_codes(torch.tensor([[-0.6, 0.0, 0.4, 2.0]]))
        Codes(values=tensor([[-1.,  1.,  1.,  1.]]), scale=tensor(1.))
    """

    def __init__(
        self, beta: float = 5.0, gradient: WeightGradient = "corrected", center: bool = True, clip: bool = True
    ) -> None:
        super().__init__(gradient, center, clip)
        if not 0 < beta < float("inf"):
            raise UserError(f"SwishSign's beta is {beta}. Expected a number above 0, such as 5.")
        self.beta = beta

    @override
    def input(self, x: Tensor) -> Tensor:
        return swish_sign(x, self.beta)
