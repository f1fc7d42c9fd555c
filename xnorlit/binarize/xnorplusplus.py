"""XNOR-Net++: binary weights and inputs, and one learned scale instead of alpha and K."""

from typing import Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.binarize.base import Binarizer, Codes, Window
from xnorlit.binarize.bwn import alpha, centre_and_clip
from xnorlit.binarize.gain import gained_sign
from xnorlit.binarize.straight_through import clipped_sign, sign
from xnorlit.errors import UserError


class XNORPlusPlus(Binarizer):
    """`y = (sign(x) (*) sign(W)) * G`, with a learned `G = gain_o` or `G = gain_o * height_h * width_w`, initially 1.

    Gradient of the inputs: `g * 1[|x| <= 1]`; of the weights: `g G 1[|W| <= 1]`; of G: the true derivative. Initially,
    sums over n products reach n in magnitude, so a norm must follow.

    Source: Bulat and Tzimiropoulos 2019, arXiv 1909.13863; 1adrianb/binary-networks-pytorch, bnn/ops.py.

    Args:
        scale: `channel` learns one number per output channel, as in the authors' library. Such a network can be packed
            and accepts any image size. `rank-1` also learns one number per row and one per column of a convolution's
            output. Such a network accepts only one image size and has no packed form.
        center: Subtract from the latent weights, after each step, their mean over the input channels.
        clip: Clamp the latent weights to [-1, 1] after each step. Beyond 1 they would receive no gradient.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> weight = torch.tensor([[0.5, -0.25, 0.75, -0.5]])
        >>> xl.XNORPlusPlus().for_layer(weight).input_codes(torch.tensor([[-0.6, 0.0, 0.4, 2.0]]))
        Codes(values=tensor([[-1.,  1.,  1.,  1.]]), scale=tensor(1.))
    """

    weight_bits = 1
    input_bits = 1
    signed_input = True

    def __init__(self, scale: Literal["channel", "rank-1"] = "channel", center: bool = True, clip: bool = True) -> None:
        super().__init__()
        self.scale = scale
        self.center = center
        self.clip = clip

    @override
    def setup(self, weight: Tensor) -> None:
        self.gain = nn.Parameter(weight.new_ones(len(weight)))
        if self.scale == "rank-1" and weight.ndim > 2:
            if self.extent is None:
                raise UserError(
                    "XNORPlusPlus with scale rank-1 needs the size of the layer's output, which is unknown here. Build "
                    "the network from its table, or use scale channel."
                )
            height, width = self.extent
            self.height = nn.Parameter(weight.new_ones(height, 1))
            self.width = nn.Parameter(weight.new_ones(width))

    @property
    def _spatial(self) -> bool:
        return hasattr(self, "height")

    @override
    def weight(self, weight: Tensor) -> Tensor:
        return gained_sign(weight, self.gain)

    @override
    def input(self, x: Tensor) -> Tensor:
        return clipped_sign(x)

    @override
    def rescale(self, y: Tensor, x: Tensor, window: Window | None) -> Tensor:
        return y * (self.height * self.width).to(y.dtype) if self._spatial else y

    @override
    def weight_codes(self, weight: Tensor) -> Codes:
        return Codes(sign(weight), self.gain.detach())

    @override
    def input_codes(self, x: Tensor) -> Codes:
        return Codes(sign(x), x.new_ones(()))

    @property
    @override
    def cannot_pack(self) -> str:  # type: ignore[override]
        return "its scale depends on the position; train with scale: channel" if self._spatial else ""

    @override
    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        self.gain.copy_(alpha(weight))

    @override
    @torch.no_grad()
    def after_step(self, weight: Tensor) -> None:
        centre_and_clip(weight, self.center, self.clip)
