"""Operands of several bits, as planes, give the oracle's integers and codes on every instruction set."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.packed.layers import EVERY_ISA, affine, as_words, frame, levelled, plain, planes, random_layers, run
from tests.packed.oracle import convolve, max_pool, unpack
from xnorlit.errors import UserError
from xnorlit.export.operands import packed_bits, weight_planes
from xnorlit.packed import _kernels

every_isa = pytest.mark.parametrize("isa", EVERY_ISA)
few = settings(max_examples=20, deadline=None)
GIVEN = [9, 9, 40], [3, 3, 1, 1, 1, 1], 1, 100

WEIGHTS = {
    "signs": (-1, 1),
    "ternary": (-1, 0, 1),
    "odd, 2 bits": (-3, -1, 1, 3),
    "odd, 3 bits": tuple(range(-7, 8, 2)),
    "odd, 8 bits": tuple(range(-255, 256, 2)),
    "two's complement, 2 bits": (-2, -1, 0, 1),
    "two's complement, 4 bits": tuple(range(-8, 8)),
    "two's complement, 8 bits": tuple(range(-128, 128)),
}


@st.composite
def operands(draw, **given):
    """Bits of the inputs, a layer whose inputs are codes of as many bits or signs (0 bits), and its weights' planes."""
    bits = draw(st.sampled_from([0, 1, 2, 3, 8]))
    inputs = (-1, 1) if bits == 0 else range(2**bits)
    layer = draw(random_layers(values=tuple(inputs), weights=draw(st.sampled_from(list(WEIGHTS.values()))), **given))
    return bits, layer


def codes_of(bits):
    return _kernels.Operand("codes", bits=bits)


def packed(weights):
    """Whole weights as the engine takes them."""
    bits, kind = weight_planes(torch.from_numpy(weights), "a layer")
    return planes(packed_bits(bits), kind.factors, kind.divisor)


def described(bits, layer):
    """The arguments of `add_binary` up to the ending, and the engine's input."""
    codes = layer.values.astype(int) if bits else (layer.values > 0).astype(int)
    words = as_words(codes, max(bits, 1), layer.padding)
    return (layer.frame, codes_of(bits) if bits else _kernels.Operand("signs"), packed(layer.weights)), words


def sums_of(layer):
    return convolve(layer.values.astype(int), layer.weights, layer.stride, layer.padding, layer.groups)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_are_the_sum_of_their_planes_times_factors(kind):
    codes = torch.tensor(WEIGHTS[kind] * 3)
    planes, weights = weight_planes(codes, "a layer")
    assert len(planes) == len(weights.factors)
    assert sum(weights.factors) % weights.divisor == 0, "as loading asks"
    total = sum(f * np.where(p, 1, -1) for f, p in zip(weights.factors, planes.numpy(), strict=True))
    np.testing.assert_array_equal(total, weights.divisor * codes)


@pytest.mark.parametrize("codes", [[0.5, 1], [float("nan"), 1], [256, 0], [-257, 1]])
def test_weights_that_are_no_integers_of_8_bits_are_refused_by_the_layers_name(codes):
    with pytest.raises(UserError, match="conv9 cannot be packed: its weight codes"):
        weight_planes(torch.tensor(codes), "conv9")


@every_isa
@few
@given(operands=operands(), threads=st.integers(1, 2))
def test_sums_of_codes_are_the_oracles(isa, operands, threads):
    layer = operands[1]
    arguments, words = described(*operands)
    engine = _kernels.Engine(isa)
    engine.add_binary(*arguments, plain())
    expected = sums_of(layer)
    np.testing.assert_array_equal(run(engine, words, np.int32, threads).reshape(expected.shape), expected)


@every_isa
@few
@given(operands=operands(), data=st.data())
def test_codes_turn_at_thresholds_of_the_pooled_sums(isa, operands, data):
    layer = operands[1]
    arguments, words = described(*operands)
    sums = sums_of(layer)
    size = data.draw(st.integers(1, min(3, *sums.shape[1:3])))
    stride, padding = data.draw(st.integers(1, 3)), data.draw(st.integers(0, size // 2))
    pooled = max_pool(sums, size, stride, padding)
    per_position = data.draw(st.booleans())
    features = pooled.shape[1:] if per_position else pooled.shape[3:]
    bits, levels = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 8))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    near = random.choice(pooled.ravel(), (levels, *features)) + random.integers(-1, 2, (levels, *features))
    thresholds = np.where(random.random(near.shape) < 0.1, 2**31 - 1, near).astype(np.int32)
    start = random.integers(0, 2**bits, features).astype(np.uint8)
    change = random.integers(0, 2**bits, (levels, *features)).astype(np.uint8)
    if bits == levels == 1:
        change[:] = 1
    expected = np.broadcast_to(start, pooled.shape).copy()
    for level in range(levels):
        expected ^= np.where(pooled >= thresholds[level], change[level], 0).astype(np.uint8)

    engine = _kernels.Engine(isa)
    engine.add_binary(*arguments, levelled(thresholds, start, change, bits, [size, stride, padding], per_position))
    words = run(engine, words, np.uint32).reshape(len(words), bits, *pooled.shape[1:3], -1)
    found = sum(unpack(words[:, p], layer.outputs) << p for p in range(bits))
    np.testing.assert_array_equal(found, expected)


@every_isa
@few
@given(first=operands(flat=False), seed=st.integers(0, 2**32))
def test_codes_flow_into_the_next_layer_and_its_border(isa, first, seed):
    random = np.random.default_rng(seed)
    arguments, words = described(*first)
    sums = sums_of(first[1])
    thresholds = np.sort(random.choice(sums.ravel(), (3, first[1].outputs)), axis=0).astype(np.int32)
    start = np.zeros(first[1].outputs, np.uint8)
    change = np.repeat(np.array([[1], [3], [1]], np.uint8), first[1].outputs, axis=1)
    codes = (sums[None] >= thresholds[:, None, None, None]).sum(axis=0)
    weights = random.choice([-1, 0, 1], (40, 3, 3, first[1].outputs))

    engine = _kernels.Engine(isa)
    engine.add_binary(*arguments, levelled(thresholds, start, change, 2))
    engine.add_binary(frame(sums.shape[1:], [3, 3, 1, 1, 1, 1], 1, 40), codes_of(2), packed(weights), plain())
    expected = convolve(codes, weights, (1, 1), (1, 1))
    for count in (len(words), 1, len(words)):  # again in used memory, and fewer images in the larger arena
        found = run(engine, words[:count], np.int32, threads=2)
        np.testing.assert_array_equal(found.reshape(expected[:count].shape), expected[:count])


@every_isa
@few
@given(layer=random_layers(values=(-2.5, -0.25, 0.5, 1.0)), data=st.data())
def test_k_scales_the_sums_of_signs_by_the_mean_magnitude_under_each_position(isa, layer, data):
    sums = convolve(np.where(layer.values >= 0, 1, -1), layer.weights, layer.stride, layer.padding, layer.groups)
    magnitudes = np.abs(4 * layer.values).astype(int).sum(axis=3, keepdims=True)
    box = np.ones((1, *layer.weights.shape[1:3], 1), int)
    scale = convolve(magnitudes, box, layer.stride, layer.padding) / (4 * layer.shape[2] * box.size)
    frame, _, weights = layer.described()
    given = frame, _kernels.Operand("signs", scaled=True), weights
    engine = _kernels.Engine(isa)
    engine.add_binary(*given, plain())
    found = run(engine, layer.values, np.float32, threads=2).reshape(sums.shape)
    np.testing.assert_allclose(found, sums * scale, rtol=1e-5, atol=1e-5)

    # The ending takes the scaled sums as they are, bit for bit.
    size = data.draw(st.integers(1, min(2, *sums.shape[1:3])))
    pooled = max_pool(found, size, 1)
    thresholds = np.random.default_rng(0).choice(pooled.ravel(), layer.outputs).astype(np.float32)
    flips = np.arange(layer.outputs).astype(np.uint8) % 2
    engine = _kernels.Engine(isa)
    engine.add_binary(*given, levelled(thresholds[None], flips, flips[None], 1, [size, 1, 0]))
    bits = unpack(run(engine, layer.values, np.uint32).reshape(*pooled.shape[:3], -1), layer.outputs)
    np.testing.assert_array_equal(bits, (pooled >= thresholds) ^ flips)

    engine = _kernels.Engine(isa)
    slopes = np.linspace(-1, 1, layer.outputs)
    engine.add_binary(*given, affine((2 * slopes + 3, slopes, slopes), pool=[size, 1, 0]))
    y = pooled * (2 * slopes + 3) + slopes
    found = run(engine, layer.values, np.float32).reshape(pooled.shape)
    np.testing.assert_allclose(found, np.maximum(y, 0) + slopes * np.minimum(y, 0), rtol=1e-4, atol=1e-4)


@every_isa
def test_the_largest_sums_do_not_overflow(isa):
    """Inputs and weights at the ends of 8 bits, as many as the checks let pass."""
    channels = (2**30 - 1) // (255 * 255)
    for code in (-255, 255):
        weights = np.full((2, 1, 1, channels), code)
        weights[1] = -code
        engine = _kernels.Engine(isa)
        one = frame([1, 1, channels], [1, 1, 1, 1, 0, 0], 1, 2)
        engine.add_binary(one, codes_of(8), packed(weights), plain())
        words = as_words(np.full((1, 1, 1, channels), 255), 8, (0, 0))
        np.testing.assert_array_equal(run(engine, words, np.int32), [[255 * code * channels, -255 * code * channels]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 9}, "bits"),
        ({"bits": 0}, "bits"),
        ({"bits": 2, "form": "signs"}, "bits"),
        ({"scaled": True}, "K"),
        ({"factors": []}, "factors"),
        ({"factors": [1] * 17}, "factors"),
        ({"factors": [2**30]}, "factors"),
        ({"factors": [1, 2]}, "weights"),
        ({"divisor": 3}, "divisor"),
    ],
)
def test_invalid_planes_are_refused_before_they_are_read(change, message):
    given = {"form": "codes", "bits": 2, "factors": [1], "divisor": 1} | change
    weights = planes(np.zeros((1, 100, 3, 3, 5), np.uint8), given.pop("factors"), given.pop("divisor"))
    with pytest.raises(ValueError, match=message):
        _kernels.Engine().add_binary(frame(*GIVEN), _kernels.Operand(**given), weights, plain())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"planes": 9}, "planes"),
        ({"planes": 0}, "planes"),
        ({"levels": 2}, "thresholds"),
        ({"levels": 2**31 - 1}, "levels"),
        ({"thresholds": np.zeros(100, np.float32)}, "thresholds"),
        ({"thresholds": np.zeros(99, np.int32)}, "thresholds"),
        ({"flips": np.zeros(99, np.uint8)}, "flips"),
        ({"changes": np.zeros(100, np.uint8)}, "changes"),
        ({"per_position": True}, "thresholds"),
        ({"pool": [10, 1, 0]}, "pool"),
        ({"pool": [1, 1]}, "pool"),
        ({"pool": [3, 1, 2]}, "pool"),
    ],
)
def test_invalid_endings_are_refused_before_they_are_read(change, message):
    none = np.empty(0, np.uint8)
    given = {"planes": 1, "levels": 1}
    given |= {"thresholds": np.zeros(100, np.int32), "flips": np.zeros(100, np.uint8), "changes": none} | change
    weights = planes(np.zeros((1, 100, 3, 3, 5), np.uint8))
    with pytest.raises(ValueError, match=message):
        _kernels.Engine().add_binary(frame(*GIVEN), _kernels.Operand("signs"), weights, _kernels.Ending.bits(**given))
