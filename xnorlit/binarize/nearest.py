"""The scale at which codes lie nearest to the weights they stand for."""

import torch
from torch import Tensor


def nearest_scale(weight: Tensor, codes: Tensor, *, by_filter: bool = False) -> Tensor:
    """`<W, c> / <c, c>`, which minimises `||W - scale * c||^2`; 0 where every code is 0.

    Of signs it is `mean|W|`, XNOR-Net's alpha.

    Args:
        weight: Latent weights `(O, I, kh, kw)` or `(O, I)`.
        codes: Of the same shape.
        by_filter: One scale per filter, shape `(O,)`, in place of one number.
    """
    first = 1 if by_filter else 0
    products, squares = ((weight * codes).flatten(first).sum(-1), codes.square().flatten(first).sum(-1))
    return torch.where(squares > 0, products / squares.clamp(min=1e-30), 0)
