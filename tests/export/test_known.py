"""What takes the place of a module or function without a packed form."""

from functools import partial

import pytest
import torch
from torch import nn

from xnorlit.export.known import KNOWN, is_one_of, no_form, own_methods, remedy_for
from xnorlit.layers import BatchNorm2d
from xnorlit.layers.norms import RowNorm


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("Softmax", "leave it out: a packed network gives logits"),
        ("AvgPool3d", "use a square average pool"),
        ("InstanceNorm2d", "use nn.BatchNorm2d"),
        ("batch_norm", "use nn.BatchNorm2d, or nn.BatchNorm1d after a flattening"),
        ("BatchNorm3d", "use nn.BatchNorm2d, or nn.BatchNorm1d after a flattening"),
        ("conv_transpose2d", "use nn.Conv2d, nn.Linear, or the binary ones"),
        ("ReflectionPad2d", "pad channels with zeros"),
        ("chunk", "slice by a stride alone"),
        ("stack", "combine whole maps of one shape"),
        ("div", "leave scales to the layers"),
        ("clamp_max", "use nn.ReLU or nn.Hardtanh"),
        ("prelu", "use nn.PReLU"),
        ("Softplus", "use nn.ReLU, nn.PReLU or nn.Hardtanh"),
        ("dropout3d", "drop only in training"),
        ("permute", "flatten the whole map"),
        ("interpolate", "leave it out, or use a layer, a norm, an activation or a max pool that has one"),
    ],
)
def test_a_remedy_fits_the_kind(kind, remedy):
    assert remedy_for(kind).startswith(remedy)
    assert no_form(kind, "it here") == f"it here has no packed form; {remedy_for(kind)}"


def test_a_subclass_counts_unless_it_computes_something_else():
    class Named(nn.ReLU):
        """Only a name."""

    class Other(nn.ReLU):
        def forward(self, x):
            return x

    assert is_one_of(nn.ReLU(), KNOWN)
    assert is_one_of(Named(), KNOWN)
    assert not is_one_of(Other(), KNOWN)
    assert not is_one_of(nn.Sigmoid(), KNOWN)
    assert not is_one_of(nn.ReLU(), ())


def test_initialisation_properties_settings_and_parametrisations_are_no_computation():
    class Own(nn.Conv2d):
        transposed = False

        def __init__(self, channels):
            super().__init__(channels, channels, 1)
            self.then = lambda x: x

        def reset_parameters(self):
            nn.init.ones_(self.weight)

        def extra_repr(self):
            return "own"

        @property
        def width(self):
            return self.in_channels

    assert is_one_of(Own(3), KNOWN)
    assert is_one_of(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), KNOWN)
    assert is_one_of(BatchNorm2d(3), KNOWN)
    assert is_one_of(RowNorm(3), KNOWN)


def test_a_mixin_and_a_replaced_method_are_computation():
    class Mixin:
        def _conv_forward(self, x, weight, bias):
            return x

    class Mixed(Mixin, nn.Conv2d):
        """Only a base."""

    assert own_methods(Mixed(3, 3, 1), nn.Conv2d) == ["_conv_forward"]
    layer = nn.Linear(3, 3)
    layer.forward = partial(torch.mul, other=2)
    assert own_methods(layer, nn.Linear) == ["forward"]
    assert not is_one_of(layer, KNOWN)
