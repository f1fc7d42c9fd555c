"""`python -m tests.training.exact fit ...`: the command line in fp64, with the norms' biases moved away from 0.

A binary layer gives whole multiples of a scale. The mean of a channel over a batch often equals one of them. The norm
behind the layer then gives `0 + beta`, with a rounding error in place of the 0. While beta has its initial value 0, the
next layer's sign is the sign of that error, so two summation orders give two different networks, both correct. With
another beta no sum is a tie, and a difference between two summation orders is a fault.
"""

import sys

import torch
from torch.nn.modules.batchnorm import _BatchNorm

import xnorlit.training.options
from xnorlit.commands.main import main
from xnorlit.training.module import Classifier

if __name__ == "__main__":
    xnorlit.training.options.CHECKED["precision"] = lambda *_: None
    single = torch.Tensor.float
    torch.Tensor.float = lambda x: x if x.dtype == torch.float64 else single(x)  # as of the logits, before the loss
    real = Classifier.build_for

    def without_ties(self, data):
        real(self, data)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for norm in (module for module in self.net.modules() if isinstance(module, _BatchNorm)):
                norm.bias += 0.01 * torch.randn(norm.bias.shape, generator=generator)

    Classifier.build_for = without_ties
    sys.exit(main())
