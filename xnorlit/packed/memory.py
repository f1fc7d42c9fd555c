"""Bounds on the memory of a layer on any kernels, computed from its shapes before anything is allocated."""

import math

from xnorlit.packed.layer import Layer, Map

# Maxima over all kernels: output channels of a block of weights, by operand; bytes per word of bits; bytes per byte.
BIT_LANES, REAL_LANES = 32, 16
OPERAND_BYTES = 16
BYTE_WIDTH = 2
GROUP_BYTES = 512  # overhead of a group in the engine
ALIGNMENT = 64
TAIL_CHANNELS = 64


def loaded_bytes(layer: Layer, at: Map) -> int:
    """An upper bound on the bytes of a layer's loaded weights: blocks of lanes, and tables for its border.

    With many groups of few outputs, each group takes whole lanes. A wide border needs a row of sums for every overlap
    of the window with it.

    Args:
        layer: A layer that fits the map.
        at: The map that it reads.
    """
    window, depth, outputs = layer.looks(at), at.channels // layer.groups, layer.outputs // layer.groups
    taps, planes = math.prod(window.kernel), len(layer.weights.factors)
    if layer.weights.form == "int8":
        return _up(outputs, REAL_LANES) * window.kernel[0] * _up(BYTE_WIDTH * window.kernel[1] * depth, 4)
    if layer.weights.form == "float":
        if layer.accumulate == "fp64" and depth == outputs == 1:
            return 8 * _up(layer.groups, REAL_LANES) * taps + GROUP_BYTES
        each = 8 if layer.accumulate == "fp64" else 4
        return layer.groups * (each * _up(outputs, REAL_LANES) * taps * depth + GROUP_BYTES)
    if not layer.binary:
        return layer.groups * (planes * _up(outputs, BIT_LANES) // 8 * taps * depth + GROUP_BYTES)
    sums, row = layer.sums(at), 4 * taps * _words(depth)
    overlaps = math.prod(min(side, 2 * pad + 1) for side, pad in zip(sums, window.padding, strict=False))
    tables = (4 * _up(outputs, 16) + 16) * overlaps + 4 * (sums.height + sums.width)
    blocks = planes * _up(outputs, BIT_LANES) * row
    # For one group at a time: its planes while they are copied into blocks, and the ones of one output's weights.
    passing = planes * outputs * row + 4 * math.prod(side + 1 for side in window.kernel)
    windows = 4 * _up(layer.outputs, TAIL_CHANNELS) * overlaps if layer.window_sum else 0
    return layer.groups * (blocks + tables + GROUP_BYTES) + passing + windows


def input_bytes(layer: Layer, at: Map) -> int:
    """Bytes of the map that a layer reads from one image, with the border that the layer needs around bits."""
    if layer.operand.form == "reals" or layer.operand.scale == "K":
        return 4 * math.prod(at) + ALIGNMENT
    positions = _border(layer, at) if layer.binary else at.height * at.width
    return 4 * layer.operand.bits * positions * _words(at.channels) + ALIGNMENT


def scratch_bytes(layer: Layer, at: Map) -> int:
    """An upper bound on the scratch bytes of a layer for one image."""
    depth, border, sums = at.channels // layer.groups, _border(layer, at), layer.sums(at)
    results = 4 * math.prod(sums) + 8 * ALIGNMENT
    if not layer.binary:
        if layer.accumulate == "fp64":
            return 8 * border * max(depth, at.channels if depth == 1 else 0) + results
        return 4 * border * depth + results
    words = layer.operand.bits * border * _words(depth)
    slices = 4 * words if layer.groups > 1 else 0
    scaled = 4 * border * (_words(at.channels) + 1) if layer.operand.scale == "K" else 0
    return OPERAND_BYTES * words + slices + scaled + results


def tail_scratch_bytes(layer: Layer, at: Map) -> int:
    """Bytes of the sums of signs in a layer's windows, for one image."""
    return 4 * (_border(layer, at) + math.prod(layer.sums(at)[:2])) + 2 * ALIGNMENT if layer.window_sum else 0


def _border(layer: Layer, at: Map) -> int:
    padding = layer.looks(at).padding
    return (at.height + 2 * padding[0]) * (at.width + 2 * padding[1])


def _words(channels: int) -> int:
    return (channels + 31) // 32


def _up(count: int, step: int) -> int:
    return (count + step - 1) // step * step
