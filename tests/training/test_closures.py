"""Our optimizers take a closure, as torch's do."""

import pytest
import torch

from xnorlit.training.bop import Bop
from xnorlit.training.latent_adam import LatentAdam


@pytest.mark.parametrize(
    ("kind", "given"), [(Bop, lambda weight: [{"params": [weight]}]), (LatentAdam, lambda weight: [weight])]
)
def test_a_closure_computes_the_loss_of_the_step(kind, given):
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = kind(given(weight))

    def closure():
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4
    assert weight.item() < 2
    assert optimizer.step() is None
