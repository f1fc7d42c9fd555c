"""The ends of a network in 8 bits: four times smaller and faster than fp32, no longer exact."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xnorlit.errors import UserError
from xnorlit.packed.layer import Layer, Operand, Weights

Tensors = dict[str, np.ndarray]
LEVELS = 255
FURTHEST = 2**31 - 1


def int8_conv(layer: Layer, tensors: Tensors, mean: Sequence[float], std: Sequence[float]) -> tuple[Layer, Tensors]:
    """A float convolution of the pixels as an integer convolution of their bytes.

    With `w' = w / std` and `q = round(w' / s)`, `s` per output channel, the convolution of normalised pixels is
    `s * (sum q p - sum q mean)`, so a threshold t becomes `ceil(t / s + sum q mean)` on `sum q p`. A padded tap
    is 0 after normalisation, which is the mean before it, rounded to a whole pixel value.

    Args:
        layer: The float layer.
        tensors: Its weight `(O, kh, kw, C)` and the tensors of its ending.
        mean: Per channel, in the unit of the pixels.
        std: Per channel, likewise.

    Raises:
        UserError: The layer is linear, or has groups, or pads pixels whose mean is no pixel value.
    """
    if layer.window is None or layer.groups > 1:
        raise UserError(
            f"{layer.name} cannot be packed in int8: it is not a convolution without groups. Keep the ends in float."
        )
    if any(layer.window.padding) and not np.array_equal(nearest_bytes(mean), np.rint(mean)):
        raise UserError(
            f"{layer.name} cannot be packed in int8: it pads the pixels with their mean, {tuple(mean)}. Expected 0 to "
            f"{LEVELS}, as the pixels have. Give the mean in the unit of the pixels, use a layer without padding, or "
            "keep the ends in float."
        )
    weight, scale = _quantized(tensors["weight"] / np.asarray(std, np.float64))
    return on_bytes(layer, tensors, weight, scale, mean)


def on_bytes(
    layer: Layer, tensors: Tensors, weight: np.ndarray, scale: np.ndarray | float, mean: Sequence[float] | np.ndarray
) -> tuple[Layer, Tensors]:
    """A convolution of normalised pixels, `weight * scale` being its weights over the deviation, as one of bytes.

    Args:
        layer: The layer.
        tensors: Those of its ending.
        weight: Integers, `(O, kh, kw, C)`.
        scale: Above 0; one number, or one per output channel.
        mean: Per channel; those of a layer that pads lie between 0 and 255.
    """
    shift = (weight.astype(np.float64) * np.asarray(mean, np.float64)).sum(axis=(1, 2, 3))
    found = {**tensors, "weight": weight, "fill": nearest_bytes(mean), **_ending(layer, tensors, scale, shift)}
    return replace(layer, weights=Weights("int8")), found


def nearest_bytes(mean: Sequence[float] | np.ndarray) -> np.ndarray:
    """The pixel value nearest to each mean, uint8."""
    return np.clip(np.rint(np.asarray(mean, np.float64)), 0, LEVELS).astype(np.uint8)


def takes_levels(layer: Layer) -> bool:
    """Whether a float layer of reals may compute in 8 bits: a linear layer, or a convolution without padding."""
    padding = layer.window.padding if layer.window else (0, 0)
    return layer.operand.form == "reals" and layer.weights.form == "float" and layer.groups == 1 and padding == (0, 0)


def int8_reals(layer: Layer, tensors: Tensors, low: float, high: float) -> tuple[Layer, Tensors, float]:
    """A float layer of reals as one of bytes: inputs in 256 levels, and what is added to the inputs first.

    Inputs that are negative too lie around the level 128: with `u = round((x + 128 step) / step)` in 0..255 the sum of
    `w x` is about `s step (sum of q u - 128 sum of q)`.

    Args:
        layer: The float layer, of which `takes_levels` holds.
        tensors: Its weight `(O, kh, kw, C)` and those of its ending.
        low: The least input on the calibration images.
        high: The largest.

    Raises:
        UserError: No input differs from zero.
    """
    most = max(-low, high)
    if not np.isfinite(most) or most <= 0:
        raise UserError(
            f"{layer.name} cannot be packed in int8: its inputs on the calibration images lie between {low:g} and "
            f"{high:g}. Expected some that are not zero; keep the ends in float."
        )
    middle = 128 if low < 0 else 0
    step = float(np.float32((2 if low < 0 else 1) * most / LEVELS))
    weight, scale = _quantized(tensors["weight"].astype(np.float64))
    shift = middle * weight.astype(np.float64).sum(axis=(1, 2, 3))
    found = {**tensors, "weight": weight, **_ending(layer, tensors, scale * step, shift)}
    layer = replace(layer, operand=Operand("reals", step=step), weights=Weights("int8"))
    return layer, found, float(np.float32(middle * np.float32(step)))


def _ending(layer: Layer, tensors: Tensors, scale: np.ndarray | float, shift: np.ndarray) -> Tensors:
    """The ending's tensors for integer sums n instead of reals `scale * (n - shift)`."""
    if layer.ending.form == "reals":
        return {
            "scale0": (tensors["scale0"] * scale).astype(np.float32),
            "shift0": (tensors["shift0"] - tensors["scale0"] * scale * shift).astype(np.float32),
        }
    threshold = np.ceil(np.clip(tensors["threshold"] / scale + shift, -FURTHEST, FURTHEST))
    return {"threshold": threshold.astype(np.int32)}


def int8_linear(layer: Layer, tensors: Tensors, inputs: np.ndarray) -> tuple[Layer, Tensors]:
    """A float linear layer on bytes: 256 input levels from 0 to the largest calibration input.

    Args:
        layer: The float layer.
        tensors: Its weight `(O, H, W, C)` and the tensors of its ending.
        inputs: The layer's inputs on the calibration images, before rounding.

    Raises:
        UserError: An input is negative, or no input is positive.
    """
    if not inputs.size or inputs.min() < 0 or inputs.max() <= 0:
        raise UserError(
            f"{layer.name} cannot be packed in int8: on the calibration images its inputs lie between "
            f"{inputs.min(initial=0):g} and {inputs.max(initial=0):g}, expected inputs after a ReLU. "
            "Keep the ends in float."
        )
    step = float(np.float32(inputs.max() / LEVELS))
    weight, scale = _quantized(tensors["weight"].astype(np.float64))
    found = {**tensors, "weight": weight, "scale0": (tensors["scale0"] * scale * step).astype(np.float32)}
    return replace(layer, operand=Operand("reals", step=step), weights=Weights("int8")), found


def _quantized(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers in -127..127, and the scale per output channel that restores the values."""
    most = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(most > 0, most, 1) / 127
    return np.rint(weight / scale.reshape(-1, *(1,) * (weight.ndim - 1))).astype(np.int8), scale
