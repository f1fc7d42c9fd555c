"""A float twin of torch's own modules computes what the twin does, so its time is the twin's."""

import pytest
import torch

import xnorlit as xl
from tests.models.tables import SMALL
from xnorlit.models.plain import plain


@pytest.mark.parametrize("name", SMALL)
def test_it_computes_the_same_logits(name):
    torch.manual_seed(0)
    twin = xl.create(name, binarizer="Float", classes=10).eval()
    for module in twin.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        expected, found = twin(images), plain(twin)(images)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert not torch.allclose(expected[0], expected[1], rtol=1e-3)


@pytest.mark.parametrize("name", SMALL)
def test_its_layers_are_torchs(name):
    twin = plain(xl.create(name, binarizer="Float", classes=10))
    assert not [module for module in twin.modules() if type(module).__module__.startswith("xnorlit.layers")]
