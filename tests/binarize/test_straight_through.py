"""sign(0) = +1, and the straight-through gradient reaches |x| <= 1, ends included."""

import pytest
import torch

from xnorlit.binarize.straight_through import clipped_sign, sign

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_and_minus_zero_are_plus_one(dtype):
    x = torch.tensor([0.0, -0.0, 1e-6, -1e-6, 3.0, -3.0, float("inf"), float("-inf")], dtype=dtype)
    assert sign(x).tolist() == [1, 1, 1, -1, 1, -1, 1, -1]
    assert sign(x).dtype == dtype


def test_a_subnormal_keeps_its_sign():
    assert sign(torch.tensor([1e-40, -1e-40])).tolist() == [1, -1]


def test_memory_format_is_kept():
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert sign(x).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(sign(x), torch.where(x >= 0, 1.0, -1.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_passes_up_to_one_and_no_further(dtype):
    beyond = 1 + torch.finfo(dtype).eps
    x = torch.tensor([-beyond, -1.0, -0.3, 0.0, 0.3, 1.0, beyond], dtype=dtype, requires_grad=True)
    g = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], dtype=dtype)
    clipped_sign(x).backward(g)
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


def test_the_gradient_is_that_of_clip():
    x = (3 * torch.randn(1000, dtype=torch.float64)).requires_grad_()
    g = torch.randn(1000, dtype=torch.float64)
    (ours,) = torch.autograd.grad(clipped_sign(x), x, g)
    (reference,) = torch.autograd.grad(x.clamp(-1, 1), x, g)
    assert torch.equal(ours, reference)
