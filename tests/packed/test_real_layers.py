"""Sums over real numbers, with float weights or planes of signs, match the oracle on every instruction set."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.packed.layers import EVERY_ISA, affine, as_words, frame, levelled, one_bit, plain, planes, random_layers, run
from tests.packed.oracle import convolve, max_pool, unpack
from xnorlit.export.operands import packed_bits, weight_planes
from xnorlit.packed import _kernels

every_isa = pytest.mark.parametrize("isa", EVERY_ISA)
few = settings(max_examples=20, deadline=None)
EIGHTHS = tuple(k / 8 for k in range(-9, 10))  # sums are exact in any order


def add(engine, layer, operand, bits, ending, *, floats, mean=(), std=()):
    weights = layer.weights.astype(np.float32)
    if not floats:
        bits_, kind = weight_planes(torch.from_numpy(layer.weights), "a layer")
        weights = planes(packed_bits(bits_), kind.factors, kind.divisor)
    engine.add_real(layer.frame, _kernels.Operand(operand, bits=bits, mean=mean, std=std), weights, ending)


def sums_of(layer, values):
    """Of values in eighths."""
    return convolve((8 * values).astype(int), layer.weights, layer.stride, layer.padding, layer.groups) / 8


@st.composite
def weighted(draw, values):
    """Layers with whole weights, as floats or in planes, and which of the two."""
    kind = draw(st.sampled_from([(-1, 1), (-1, 1), (-1, 0, 1), (-3, -1, 1, 3), (-2, -1, 0, 1), tuple(range(-8, 8))]))
    return draw(random_layers(values=values, weights=kind)), draw(st.booleans())


@every_isa
@few
@given(drawn=weighted(EIGHTHS), threads=st.integers(1, 2))
def test_sums_of_reals_are_the_oracles(isa, drawn, threads):
    layer, floats = drawn
    engine = _kernels.Engine(isa)
    add(engine, layer, "reals", 1, plain(), floats=floats)
    expected = sums_of(layer, layer.values)
    found = run(engine, layer.values, np.float32, threads)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@every_isa
@few
@given(drawn=weighted(tuple(range(256))), data=st.data())
def test_sums_of_pixels_are_those_of_what_normalises_them(isa, drawn, data):
    layer, floats = drawn
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    mean = random.integers(0, 256, layer.shape[2]).astype(np.float32)
    std = random.choice([2, 4, 8], layer.shape[2]).astype(np.float32)
    engine = _kernels.Engine(isa)
    add(engine, layer, "pixels", 1, plain(), floats=floats, mean=mean, std=std)
    expected = sums_of(layer, (layer.values - mean) / std)
    found = run(engine, layer.values.astype(np.uint8), np.float32)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@every_isa
@few
@given(data=st.data(), bits=st.sampled_from([0, 1, 3]))
def test_sums_of_bits_with_floats_are_the_oracles(isa, data, bits):
    layer, floats = data.draw(weighted((-1, 1) if bits == 0 else tuple(range(2**bits))))
    codes = layer.values.astype(int) if bits else (layer.values > 0).astype(int)
    engine = _kernels.Engine(isa)
    add(engine, layer, "codes" if bits else "signs", max(bits, 1), plain(), floats=floats)
    expected = sums_of(layer, layer.values)
    found = run(engine, as_words(codes, max(bits, 1), (0, 0)), np.float32)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@every_isa
@few
@given(drawn=weighted(EIGHTHS), data=st.data())
def test_every_ending_follows_a_sum_of_reals(isa, drawn, data):
    layer, floats = drawn
    sums = sums_of(layer, layer.values)
    size = data.draw(st.integers(1, min(3, *sums.shape[1:3])))
    stride = data.draw(st.integers(1, 3))
    pooled = max_pool(sums, size, stride)
    per_position = data.draw(st.booleans())
    features = pooled.shape[1:] if per_position else pooled.shape[3:]
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    thresholds = random.choice(pooled.ravel(), (3, *features)).astype(np.float32)
    thresholds[random.random(thresholds.shape) < 0.1] = random.choice([-np.inf, np.inf])
    flips = random.integers(0, 2, features).astype(np.uint8)
    change = random.integers(0, 4, (3, *features)).astype(np.uint8)
    codes = 3 * flips
    for level in range(3):
        codes = codes ^ np.where(pooled >= thresholds[level], change[level], 0).astype(np.uint8)
    scale, shift, slope = random.standard_normal((3, *features)).astype(np.float32)
    y = pooled * scale + shift
    pool = [size, stride, 0]

    def ends_in(ending, dtype):
        engine = _kernels.Engine(isa)
        add(engine, layer, "reals", 1, ending, floats=floats)
        return run(engine, layer.values, dtype, threads=2)

    def planes(ending, count):
        words = ends_in(ending, np.uint32).reshape(len(pooled), count, *pooled.shape[1:3], -1)
        return sum(unpack(words[:, p], layer.outputs) << p for p in range(count))

    signs = one_bit(thresholds[0], flips, pool, per_position)
    np.testing.assert_array_equal(planes(signs, 1), (pooled >= thresholds[0]) ^ flips)
    levels = levelled(thresholds, 3 * flips, change, 2, pool, per_position)
    np.testing.assert_array_equal(planes(levels, 2), np.broadcast_to(codes, pooled.shape))
    reals = ends_in(affine((scale, shift, slope), pool=pool, per_position=per_position), np.float32)
    expected = np.maximum(y, 0) + slope * np.minimum(y, 0)
    np.testing.assert_allclose(reals.reshape(pooled.shape), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operand": "sums"}, "operand"),
        ({"operand": "codes", "bits": 0}, "bits"),
        ({"operand": "signs", "bits": 2}, "bits"),
        ({"operand": "pixels"}, "mean"),
        ({"weights": np.zeros((100, 3, 3, 41), np.float32)}, "weights"),
        ({"groups": 0}, "groups"),
        ({"ending": lambda: one_bit(np.zeros(100, np.int32), np.zeros(100, np.uint8))}, "thresholds"),
        ({"ending": lambda: affine((np.zeros(100), np.zeros(99), 1))}, "maps"),
        ({"ending": lambda: affine((np.zeros(100), np.zeros(100), np.zeros(2)))}, "maps"),
    ],
)
def test_truncated_input_is_refused_before_it_is_read(change, message):
    given = {"groups": 1, "weights": np.zeros((100, 3, 3, 40), np.float32), "operand": "reals", "bits": 1} | change
    with pytest.raises(ValueError, match=message):
        _kernels.Engine().add_real(
            frame([9, 9, 40], [3, 3, 1, 1, 1, 1], given["groups"], 100),
            _kernels.Operand(given["operand"], bits=given["bits"]),
            given["weights"],
            given.get("ending", plain)(),
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [({"factors": []}, "factors"), ({"factors": [1, 1]}, "weights"), ({"divisor": 0}, "divisor")],
)
def test_truncated_planes_are_refused_before_they_are_read(change, message):
    weights = planes(np.zeros((1, 100, 3, 3, 5), np.uint8), **change)
    with pytest.raises(ValueError, match=message):
        _kernels.Engine().add_real(
            frame([9, 9, 40], [3, 3, 1, 1, 1, 1], 1, 100), _kernels.Operand("reals"), weights, plain()
        )
