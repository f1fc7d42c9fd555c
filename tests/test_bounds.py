"""Arguments accept their last valid value and refuse the first invalid one by name."""

import math

import pytest
import torch
from torch import nn

import xnorlit as xl
from xnorlit.binarize import binarizers
from xnorlit.errors import UserError
from xnorlit.training.bop import Bop
from xnorlit.training.latent_adam import LatentAdam
from xnorlit.training.layer_curves import LayerCurves
from xnorlit.training.losses.bipolar import Bipolar
from xnorlit.training.losses.distillation import Distillation
from xnorlit.training.losses.distribution import DistributionLoss
from xnorlit.training.losses.kurtosis import WeightKurtosis
from xnorlit.training.recalibration import Recalibration
from xnorlit.training.schedule import Staircase
from xnorlit.training.stages import TwoStages

ALL = binarizers()
TINY = math.ulp(0.0)
HUGE = math.nextafter(math.inf, 0)


def weights():
    return [nn.Parameter(torch.ones(1))]


# What takes the argument, its name, the values at the bounds that it takes, and those that it refuses.
BOUNDS = [
    (lambda **given: TwoStages(**given), "share", [TINY, 1], [0, math.nextafter(1, 2)]),
    (lambda **given: Staircase(factor=0.5, **given), "every", [1], [0]),
    (lambda **given: Bop(weights(), **given), "gamma", [TINY, 1], [0, math.nextafter(1, 2)]),
    (lambda **given: Bop(weights(), **given), "threshold", [0], [-TINY]),
    (lambda **given: LatentAdam(weights(), **given), "latent_lr", [TINY], [0]),
    (lambda **given: LatentAdam(weights(), **given), "eps", [TINY], [0]),
    (lambda **given: LatentAdam(weights(), **given), "betas", [(0, 0), (0.5, 0)], [(1, 0), (0, 1), (-TINY, 0)]),
    (LayerCurves, "every", [None, 1], [0]),
    (Recalibration, "images", [2], [1]),
    (Bipolar, "weight", [TINY, HUGE], [0, math.inf]),
    (WeightKurtosis, "weight", [TINY, HUGE], [0, math.inf]),
    (WeightKurtosis, "target", [1, HUGE], [math.nextafter(1, 0), math.inf]),
    (DistributionLoss, "weight", [0, HUGE], [-TINY, math.inf]),
    (DistributionLoss, "until", [0, 1], [-TINY, math.nextafter(1, 2)]),
    (lambda **given: Distillation("float", **given), "temperature", [TINY, HUGE], [0, math.inf]),
    (lambda **given: Distillation("float", **given), "weight", [0, 1], [-TINY, math.nextafter(1, 2)]),
    (ALL["DoReFa"], "weight_bits", [1, 8, 32], [0, 9, 31, 33, True, 2.0]),
    (ALL["PACT"], "weight_bits", [1, 8, 32], [0, 9, 31, 33, True, 2.0]),
    (ALL["DoReFa"], "input_bits", [1, 8, 32], [0, 9, 31, 33]),
    (ALL["PACT"], "input_bits", [1, 8], [0, 9, 32]),
    (ALL["LSQ"], "weight_bits", [2, 8, 32], [1, 0, 9]),
    (ALL["BinaryConnect"], "bound", [TINY, HUGE], [0, math.inf]),
    (ALL["BNN"], "clip", [TINY], [0]),
    (ALL["BinaryDuo"], "clip", [0, HUGE], [-TINY, math.inf]),
    (ALL["IRNet"], "t_min", [TINY, 10.0], [0, math.nextafter(10, 11)]),
    (ALL["RBNN"], "t_min", [TINY, 10.0], [0, math.nextafter(10, 11)]),
    (ALL["AdaBin"], "t_min", [TINY, 10.0], [0, math.nextafter(10, 11)]),
    (ALL["LowPrecision"], "every", [1], [0]),
    (ALL["LowPrecision"], "overflow", [0, math.nextafter(1, 0)], [-TINY, 1]),
    (ALL["PACT"], "init", [0.001, HUGE], [math.nextafter(0.001, 0), math.inf]),
    (ALL["ReCU"], "tau_min", [math.nextafter(0.5, 1), 0.99], [0.5, math.nextafter(0.99, 1)]),
    (ALL["ReCU"], "tau_max", [math.nextafter(1, 0)], [1]),
    (ALL["SwishSign"], "beta", [TINY, HUGE], [0, math.inf]),
    (ALL["TTQ"], "share", [0, math.nextafter(1, 0)], [-TINY, 1]),
    (ALL["TTQ"], "init", [HUGE], [0, math.inf]),
    (ALL["TWN"], "factor", [0, HUGE], [-TINY, math.inf]),
    (lambda **given: xl.BinaryLinear(**{"in_features": 4, "out_features": 4, **given}, binarizer="BNN"),
     "in_features", [1], [0, 1.0]),
    (lambda **given: xl.BinaryLinear(4, **given, binarizer="BNN"), "out_features", [1], [0]),
    (lambda **given: xl.BinaryLinear(4, 4, **given, binarizer="BNN"), "positions", [1, 2, 4], [0, 3, 8]),
    (lambda **given: xl.BinaryConv2d(4, 4, **given, binarizer="BNN"), "kernel_size",
     [1, (1, 2)], [0, (1, 0), (1, 1, 1)]),
    (lambda **given: xl.BinaryConv2d(4, 4, 3, **given, binarizer="BNN"), "stride", [1, (2, 1)], [0, (0, 1)]),
    (lambda **given: xl.BinaryConv2d(4, 4, 3, **given, binarizer="BNN"), "padding", [0, (0, 1), "same"], [-1, (0, -1)]),
    (lambda **given: xl.BinaryConv2d(4, 6, 3, **given, binarizer="BNN"), "groups", [1, 2], [0, 3, 4]),
    (lambda **given: xl.BinaryConv2d(4, 4, 3, **given, binarizer="BNN"), "dilation", [1, (1, 1)], [2, (1, 2), (2, 1)]),
]  # fmt: skip


@pytest.mark.parametrize(("make", "name", "taken", "refused"), BOUNDS)
def test_an_argument_is_taken_up_to_its_bounds_and_refused_beyond_them(make, name, taken, refused):
    for value in taken:
        assert make(**{name: value}) is not None
    for value in refused:
        with pytest.raises(UserError, match=name):
            make(**{name: value})
