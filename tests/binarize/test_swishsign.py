"""SwishSign's gradient is the derivative of the sign-swish function, in every dtype."""

import pytest
import torch

from xnorlit.binarize.swishsign import SwishSign, swish_sign
from xnorlit.errors import UserError


def written(x, beta):
    logistic = torch.sigmoid(beta * x)
    soft = 2 * logistic * (1 + beta * x * (1 - logistic)) - 1
    return torch.where(x >= 0, 1.0, -1.0).to(x).detach() + soft - soft.detach()


def test_by_hand():
    x = torch.tensor([[0.0, 0.4], [-0.4, 1.0]], dtype=torch.float64, requires_grad=True)
    g = torch.tensor([[1.0, 2.0], [3.0, 1.0]], dtype=torch.float64)
    signs = swish_sign(x, 5)
    assert signs.tolist() == [[1, 1], [-1, 1]]
    (gradient,) = torch.autograd.grad(signs, x, g)
    # bx = 2: 5 (2 - 2 tanh 1) / (1 + cosh 2) = 0.500611...; bx = 5: 5 (2 - 5 tanh 2.5) / (1 + cosh 5) = -0.194...
    at_2 = 5 * (2 - 2 * 0.7615941559557649) / (1 + 3.7621956910836314)
    at_5 = 5 * (2 - 5 * 0.9866142981514303) / (1 + 74.20994852478785)
    torch.testing.assert_close(gradient, torch.tensor([[5, 2 * at_2], [3 * at_2, at_5]], dtype=torch.float64))


@pytest.mark.parametrize("beta", [1.0, 5.0, 10.0])
def test_the_gradient_is_autograds_through_the_written_formula(beta):
    x = torch.randn(500, dtype=torch.float64, requires_grad=True)
    g = torch.randn(500, dtype=torch.float64)
    (ours,) = torch.autograd.grad(swish_sign(x, beta), x, g)
    (reference,) = torch.autograd.grad(written(x, beta), x, g)
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_nothing_overflows_far_from_zero(dtype):
    x = torch.tensor([-1000.0, -20.0, 20.0, 1000.0], dtype=dtype, requires_grad=True)
    swish_sign(x).backward(torch.ones_like(x))
    assert x.grad.tolist() == [0, 0, 0, 0]


def test_a_beta_of_zero_is_refused():
    for beta in (0, -1.0, float("inf"), float("nan")):
        with pytest.raises(UserError, match="SwishSign's beta is"):
            SwishSign(beta=beta)
