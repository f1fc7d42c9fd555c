"""The identity: the float twin's binarizer."""

from xnorlit.binarize.base import Binarizer


class Float(Binarizer):
    """`weight(W) = W`, `input(x) = relu(x)` where the block has no non-linearity of its own, else `x`.

    The gradient is autograd's. The float twin of a binary network is the same network with this member of the family.
    An XNOR-Net block is batch norm, sign, convolution: the sign is its only non-linearity. With the identity in the
    sign's place the network would be one linear map, hence the ReLU.

    Nothing here can be packed into bits.
    """
