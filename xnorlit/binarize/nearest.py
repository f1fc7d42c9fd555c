"""The scale that brings codes nearest to the weights that they represent."""

import torch
from torch import Tensor


def nearest_scale(weight: Tensor, codes: Tensor, *, by_filter: bool = False) -> Tensor:
    """`<W, c> / <c, c>`, which minimises `||W - scale * c||^2`; 0 if every code is 0.

    For signs it is `mean|W|`, XNOR-Net's alpha.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        codes: Codes in the same shape.
        by_filter: Whether to return one scale per filter, shape `(O,)`, instead of one number.
    """
    first = 1 if by_filter else 0
    products, squares = ((weight * codes).flatten(first).sum(-1), codes.square().flatten(first).sum(-1))
    return torch.where(squares > 0, products / squares.clamp(min=1e-30), 0)
