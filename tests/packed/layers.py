"""Random binary layers for the engine's tests, and one run of the engine on them."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.packed.oracle import pack
from xnorlit.packed import _kernels
from xnorlit.packed.isa import KNOWN

EVERY_ISA = [
    pytest.param(name, marks=[] if name in _kernels.isas() else pytest.mark.skip(f"this processor lacks {name}"))
    for name in KNOWN
]


def signs():
    return _kernels.Operand("signs")


def frame(shape, window, groups, outputs):
    return _kernels.Frame(shape=shape, window=window, groups=groups, outputs=outputs)


def planes(bits, factors=(1,), divisor=1):
    return _kernels.Planes(bits, factors=factors, divisor=divisor)


@dataclass
class Layer:
    values: np.ndarray  # float32 (N, H, W, C), whose signs are the input
    weights: np.ndarray  # -1 and +1, (O, kh, kw, C / groups)
    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int

    @property
    def shape(self):
        return list(self.values.shape[1:])

    @property
    def window(self):
        return [*self.weights.shape[1:3], *self.stride, *self.padding]

    @property
    def outputs(self):
        return len(self.weights)

    def described(self):
        """The arguments of `add_binary` up to the ending."""
        return self.frame, signs(), planes(pack(self.weights))

    @property
    def frame(self):
        return frame(self.shape, self.window, self.groups, self.outputs)


@st.composite
def random_layers(draw, flat=None, values=(-1.5, -0.0, 0.0, 0.25), weights=(-1, 1)):
    """Layers of any shape; `flat` says whether the window covers the whole map, as in a linear layer.

    Inputs and weights are drawn from `values` and `weights`.
    """
    parts = draw(st.sampled_from([1, 1, 1, 2, 3]))
    channels = parts * draw(st.integers(1, 75 // parts))
    outputs = parts * draw(st.integers(1, 140 // parts))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    if draw(st.booleans()) if flat is None else flat:
        padding, size = (0, 0), kernel
    else:
        padding = tuple(draw(st.integers(0, side - 1)) for side in kernel)
        size = tuple(draw(st.integers(max(1, side - 2 * pad), 9)) for side, pad in zip(kernel, padding, strict=True))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    images = draw(st.integers(1, 5))
    # Zeros of both kinds among the inputs, and filters of one value only.
    values = random.choice(np.array(values, np.float32), (images, *size, channels))
    drawn = random.choice(weights, (outputs, *kernel, channels // parts))
    drawn[random.random(outputs) < 0.2] = random.choice(weights)
    return Layer(values, drawn, stride, padding, parts)


def levelled(thresholds, start, change, bits, pool=(), per_position=False):
    """The ending of codes: `start`, exclusive-or `change[l]` where the sum reaches `thresholds[l]`."""
    planes = [
        np.stack([codes >> p & 1 for p in range(bits)], axis=-2 if codes.ndim > 1 else 0)
        for codes in (np.reshape(start, (1, -1)), np.reshape(change, (len(change), -1)))
    ]
    flips, changes = (np.ascontiguousarray(p, np.uint8).ravel() for p in planes)
    if bits == len(thresholds) == 1:
        changes = changes[:0]
    thresholds = np.ravel(thresholds)
    return _kernels.Ending.bits(
        thresholds=thresholds,
        flips=flips,
        changes=changes,
        planes=bits,
        levels=len(change),
        pool=pool,
        per_position=per_position,
    )


def as_words(codes, bits, padding):
    """Codes `(N, H, W, C)` as the engine's map: planes of words with a zero border, `(N, words)`."""
    border = [(0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, -codes.shape[3] % 32)]
    whole = np.pad(codes.astype(np.uint8), border)
    planes = np.stack([whole >> p & 1 for p in range(bits)], axis=1)
    return np.packbits(planes, axis=-1, bitorder="little").view("<u4").reshape(len(codes), -1)


def plain():
    """The ending of sums as they are."""
    return _kernels.Ending.sums()


def one_bit(thresholds, flips, pool=(), per_position=False):
    """The ending of one threshold per feature."""
    none = np.empty(0, np.uint8)
    return _kernels.Ending.bits(
        thresholds=thresholds.ravel(),
        flips=flips.ravel(),
        changes=none,
        planes=1,
        levels=1,
        pool=pool,
        per_position=per_position,
    )


def affine(*maps, pool=(), per_position=False):
    """The ending of affine maps, each `(scale, shift, slope)`."""
    scales, shifts, slopes = (
        [np.ravel(part).astype(np.float32) for part in column] for column in zip(*maps, strict=True)
    )
    return _kernels.Ending.reals(scales=scales, shifts=shifts, slopes=slopes, pool=pool, per_position=per_position)


def run(engine, images, dtype, threads=1):
    """The engine's output, `(N, elements)`."""
    out = np.full((len(images), engine.output_elements), 77, dtype)
    engine.run(images, out, threads)
    return out
