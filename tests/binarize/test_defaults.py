"""Defaults are results: another default changes what a recipe trains, and every published number."""

import inspect

import pytest
import torch

from xnorlit.binarize import binarizers
from xnorlit.binarize.low_precision import LowPrecision

ALL = binarizers()
DEFAULTS = {
    "AdaBin": {"centre": "added", "maxout": True, "t_min": 0.001, "t_max": 10.0},
    "BNN": {"weights": "deterministic", "inputs": "deterministic", "clip": 1.0},
    "BWN": {"gradient": "corrected", "center": True, "clip": True, "scale": "alpha"},
    "BiReal": {"weight_gradient": "plain", "shortcut": True},
    "BinaryConnect": {"weights": "deterministic", "inference": "binary", "bound": "glorot"},
    "BinaryDuo": {"stage": "coupled", "clip": 0.0},
    "DoReFa": {"weight_bits": 1, "input_bits": 2, "gradient_bits": 6, "weight_gradient": "tanh"},
    "Heaviside": {"gradient": "corrected", "center": True, "clip": True, "scale": "alpha"},
    "IRNet": {"t_min": 0.001, "t_max": 10.0},
    "LSQ": {"weight_bits": 2, "input_bits": 2, "scope": "layer", "count": "sample"},
    "LowPrecision": {
        **{"format": "dynamic", "propagation_bits": 10, "update_bits": 12, "integer_bits": "data", "every": 100},
        **{"overflow": 0.0001},
    },
    "PACT": {"weight_bits": 2, "input_bits": 2, "init": 2.0, "weight_gradient": "tanh"},
    "ReActNet": {"weight_gradient": "plain", "shortcut": True, "rprelu": True, "keep_slopes_positive": True},
    "ReCU": {"tau_min": 0.85, "tau_max": 0.99},
    "SwishSign": {"beta": 5.0, "gradient": "corrected", "center": True, "clip": True},
    "TTQ": {"share": 0.05, "init": 1.0},
    "TWN": {"scope": "filter", "gradient": "identity", "factor": 0.7, "inputs": "real"},
    "WeightsOnly": {"method": None},
    "XNOR": {"gradient": "corrected", "center": True, "clip": True, "input_scale": "none", "scale": "alpha"},
    "XNORPlusPlus": {"scale": "channel", "center": True, "clip": True},
}
BITS = {  # of weights, inputs and gradients
    "AdaBin": (1, 1, 32), "BNN": (1, 1, 32), "BWN": (1, 32, 32), "BiReal": (1, 1, 32), "BinaryConnect": (1, 32, 32),
    "BinaryDuo": (1, 2, 32), "DoReFa": (1, 2, 6), "Float": (32, 32, 32), "HWGQ": (1, 2, 32), "Heaviside": (1, 1, 32),
    "IRNet": (1, 1, 32), "LSQ": (2, 2, 32), "LatentFree": (1, 1, 32), "LowPrecision": (10, 10, 10),
    "PACT": (2, 2, 32), "ReActNet": (1, 1, 32), "ReCU": (1, 1, 32), "SwishSign": (1, 1, 32), "TTQ": (2, 32, 32),
    "TWN": (2, 32, 32), "XNOR": (1, 1, 32), "XNORPlusPlus": (1, 1, 32),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_what_was_published(name):
    parameters = inspect.signature(ALL[name]).parameters
    found = {key: parameters[key].default for key in DEFAULTS[name]}
    assert found == DEFAULTS[name]


@pytest.mark.parametrize("name", BITS)
def test_bits_are_those_of_the_method(name):
    made = ALL[name]()
    assert (made.weight_bits, made.input_bits, made.gradient_bits) == BITS[name]


def test_half_floats_have_sixteen_bits():
    half = LowPrecision(format="half")
    assert (half.weight_bits, half.input_bits, half.gradient_bits) == (16, 16, 16)


@pytest.mark.parametrize("name", BITS)
def test_step_hooks_run_without_gradients(name):
    """An optimizer's hook is outside of `torch.no_grad`, and a parameter may not be written to with gradients."""
    torch.manual_seed(0)
    weight, bias = (torch.nn.Parameter(torch.randn(shape) / 3) for shape in ((4, 3, 3, 3), (4,)))
    made = ALL[name]().for_layer(weight, extent=(5, 5))
    made.fit(weight)
    made.after_step(weight)
    made.after_bias_step(bias)
    assert weight.requires_grad
    assert weight.is_leaf
