"""Standardise inputs to mean 0 and deviation 1, image by image. RBNN and SiMaN take the signs of these."""

import torch
from torch import Tensor

EPS = 1e-5
"""Added to the variance."""

CANNOT_PACK = (
    "it subtracts each image's mean over the whole map before the sign, which a packed network does not compute; use "
    "IRNet or ReCU"
)


def standardised(x: Tensor) -> Tensor:
    """`(x - mean_n) / sqrt(var_n + 1e-5)`, with mean and variance over all values of a sample, in fp32 or wider.

    Args:
        x: `(N, ...)`.
    """
    wide = x if x.dtype == torch.float64 else x.float()
    dims = tuple(range(1, x.ndim))
    centred = wide - wide.mean(dim=dims, keepdim=True)
    variance = centred.square().sum(dim=dims, keepdim=True) / max(1, x.shape[1:].numel() - 1)
    return (centred * (variance + EPS).rsqrt()).to(x.dtype)
