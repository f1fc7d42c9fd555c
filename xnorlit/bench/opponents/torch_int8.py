"""torch in 8 bits: its eager quantised operators, deprecated in favour of torch.compile but still available."""

import warnings

import numpy as np
import torch
from torch import Tensor

from xnorlit.bench.opponents.quantized import Affine, Flatten, Pool, Product, Scale, Step


def missing() -> str:
    """Why this torch has no 8-bit operators for the processor; empty if it has."""
    engines = set(torch.backends.quantized.supported_engines) & {"x86", "onednn", "fbgemm", "qnnpack"}
    operators = hasattr(torch, "quantize_per_tensor") and hasattr(torch.ops.quantized, "conv2d_prepack")
    return "" if engines and operators else f"torch {torch.__version__} has no quantised operators for the CPU"


class TorchInt8:
    """Quantised steps with torch's own operators; callable on a tensor of real numbers or uint8 pixels.

    Args:
        steps: The steps that it computes.
        reads: Scale for quantising real inputs; None for uint8 pixels.
        real: Whether the last step returns real numbers instead of a quantised tensor.
    """

    def __init__(self, steps: list[Step], reads: Scale | None, *, real: bool) -> None:
        self._steps, self._reads, self._real = steps, reads, real
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, as said above
            self._packed = {i: _prepack(step) for i, step in enumerate(steps) if isinstance(step, Product)}
        self._terms = {
            i: (torch.from_numpy(step.factor), torch.from_numpy(step.summand))
            for i, step in enumerate(steps)
            if isinstance(step, Affine)
        }

    def __call__(self, x: Tensor) -> Tensor:
        """The output for one batch; maps should be channels last."""
        if self._reads is not None:
            x = _quantize(x, self._reads)
        for i, step in enumerate(self._steps):
            if isinstance(step, Pool):
                x = torch.nn.functional.max_pool2d(x, step.size, step.stride)
            elif isinstance(step, Flatten):
                x = x.flatten(1)
            elif isinstance(step, Affine):
                factor, summand = self._terms[i]
                x = _quantize((x if step.reads is None else x.dequantize()) * factor + summand, step.gives)
            else:
                product = torch.ops.quantized.linear if step.window is None else torch.ops.quantized.conv2d
                x = product(x, self._packed[i], step.gives.step, step.gives.zero)
        return x.dequantize() if self._real else x


def _quantize(x: Tensor, scale: Scale) -> Tensor:
    return torch.quantize_per_tensor(x, scale.step, scale.zero, torch.quint8)


def _prepack(step: Product) -> object:
    steps = torch.from_numpy(step.weight_step.astype(np.float64))
    zeros = torch.zeros(len(steps), dtype=torch.int64)
    weight = torch._make_per_channel_quantized_tensor(torch.from_numpy(step.weight), steps, zeros, 0)
    bias = torch.from_numpy((step.bias * step.weight_step * step.reads.step).astype(np.float32))
    if step.window is None:
        return torch.ops.quantized.linear_prepack(weight, bias)
    stride, padding, groups = (step.window[name] for name in ("stride", "padding", "groups"))
    return torch.ops.quantized.conv2d_prepack(weight, bias, stride, padding, (1, 1), groups)
