"""`python -m tests.training.exact fit ...`: the command line in fp64, with the norms' biases moved away from 0.

A binary layer gives whole multiples of a scale. The mean of a channel over a batch often equals one of them, and the
norm behind it then gives `0 + beta`, in any precision with a rounding error instead of the 0. As long as beta is 0, as
it starts, the next layer's sign is the sign of that error: two summation orders come to two networks, both right. With
another beta no sum is a tie, and what two summation orders leave can be told from a fault.
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
