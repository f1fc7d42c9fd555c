"""The identity: the float twin's binarizer."""

from xnorlit.binarize.base import Binarizer


class Float(Binarizer):
    """`weight(W) = W`; `input(x) = relu(x)` if the block has no other non-linearity, else `x`.

    The gradient is autograd's. The float twin of a binary network is the same network with this binarizer. An XNOR-Net
    block is batch norm, sign, convolution. The sign is its only non-linearity, so a float block without the ReLU would
    be linear.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.Float().for_layer(weight).weight_codes(weight)
        Codes(values=tensor([[ 0.5000, -0.2500,  0.7500, -0.5000]]), scale=tensor(1.))
    """
