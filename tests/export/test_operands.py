"""The two operands of a layer: which inputs the engine reads, and weights as planes of signs."""

import pytest
import torch

import xnorlit as xl
from xnorlit.errors import UserError
from xnorlit.export.operands import operand_of, packed_bits, reads_plainly, scales_by_input, weight_planes
from xnorlit.packed.layer import Operand


def conv(binarizer, changed=None, **more):
    layer = xl.BinaryConv2d(4, 6, (3, 2), binarizer=binarizer, **more).eval()
    vars(layer.binarizer).update(changed or {})
    return layer


RECTIFIED, WIDE = {"rectify": True}, {"input_bits": 9}


class _ByTwo(xl.XNOR):
    def rescale(self, y, x, window):
        return 2 * y


class _Kept(xl.DoReFa):
    def rescale(self, y, x, window):
        return xl.XNOR(input_scale="K").rescale(y, x, window)


class _KeptReals(xl.BWN):
    def rescale(self, y, x, window):
        return xl.XNOR(input_scale="K").rescale(y, x, window)


class _ByTwoReals(xl.BWN):
    def rescale(self, y, x, window):
        return 2 * y


class _Clipped(xl.BWN):
    def input_codes(self, x):
        return super().input_codes(x.clamp(-1, 1))


@pytest.mark.parametrize(
    ("binarizer", "changed", "first", "found"),
    [
        (xl.Float(), {}, True, Operand("pixels")),
        (xl.BWN(), {}, True, Operand("pixels")),
        (xl.XNOR(), {}, True, "XNOR would make 1-bit codes of pixels; keep its inputs real with WeightsOnly"),
        (xl.Float(), RECTIFIED, True, "its binarizer rectifies the pixels; use one with signed inputs"),
        (
            _ByTwoReals(),
            {},
            True,
            "_ByTwoReals multiplies its sums by a scale per position other than K; train without it",
        ),
        (_KeptReals(), {}, True, "_KeptReals multiplies its sums by a scale of the pixels; keep them plain with Weig"),
        (_Clipped(), {}, True, "_Clipped changes the pixels that it reads; keep them as they are with WeightsOnly"),
        (xl.BWN(), {}, False, Operand("reals")),
        (xl.Float(), RECTIFIED, False, Operand("reals")),
        (xl.XNOR(), {}, False, Operand("signs")),
        (xl.XNOR(input_scale="K"), {}, False, Operand("signs", scale="K")),
        (xl.DoReFa(1, 1, 32), {}, False, Operand("codes", bits=1)),
        (xl.DoReFa(1, 8, 32), {}, False, Operand("codes", bits=8)),
        (xl.DoReFa(1, 8, 32), WIDE, False, "DoReFa has 9-bit inputs; use 8 bits or fewer"),
        (_Kept(1, 2, 32), {}, False, r"_Kept multiplies sums of codes by a scale of their inputs \(K\); train without"),
        (_KeptReals(), {}, False, "_KeptReals multiplies its sums by a scale of real inputs; use inputs of one bit"),
        (_ByTwo(), {}, False, "_ByTwo multiplies its sums by a scale per position other than K; train without it"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_inputs_that_the_engine_reads(binarizer, changed, first, found):
    layer = conv(binarizer, changed)
    if isinstance(found, Operand):
        assert operand_of(layer, "c", first=first) == found
        return
    with pytest.raises(UserError, match=f"^c cannot be packed: {found}"):
        operand_of(layer, "c", first=first)


@pytest.mark.parametrize("padding", [0, (1, 0), (2, 1)])
@pytest.mark.parametrize(("binarizer", "scaled"), [(xl.XNOR(), False), (xl.XNOR(input_scale="K"), True)])
def test_a_scale_by_the_mean_magnitudes_is_found_in_any_window(binarizer, scaled, padding):
    assert scales_by_input(conv(binarizer, padding=padding, stride=(1, 2)), "c") is scaled
    assert scales_by_input(xl.BinaryLinear(4, 6, binarizer=binarizer).eval(), "l") is scaled


# --- planes -----------------------------------------------------------------------------------------------------------
def value_of(planes, weights):
    signs = 2 * planes.to(torch.int64) - 1
    return sum(factor * plane for factor, plane in zip(weights.factors, signs, strict=True)) / weights.divisor


@pytest.mark.parametrize(
    ("codes", "factors", "divisor"),
    [
        ([-1, 1, 1, -1], (1,), 1),
        ([-3, -1, 1, 3], (1, 2), 1),
        ([-7, 7, 5, 1], (1, 2, 4), 1),
        ([-255, 255, 129, -1], (1, 2, 4, 8, 16, 32, 64, 128), 1),
        ([-1, 0, 1, 0], (1, 1), 2),
        ([0, 0, 0, 0], (1, 1), 2),
        ([-2, 1, 0, 1], (1, 2, -1), 2),
        ([2, 1, 0, -4], (1, 2, 4, -1), 2),
        ([-128, 127, 0, 5], (1, 2, 4, 8, 16, 32, 64, 128, -1), 2),
        ([254, 1, -2, 0], (1, 2, 4, 8, 16, 32, 64, 128, 256, -1), 2),
    ],
)
def test_planes_add_up_to_their_weights(codes, factors, divisor):
    given = torch.tensor(codes, dtype=torch.float32).view(2, 1, 1, 2)
    planes, weights = weight_planes(given, "c")
    assert (weights.form, weights.factors, weights.divisor) == ("planes", factors, divisor)
    assert planes.dtype == torch.bool
    assert torch.equal(value_of(planes, weights), given)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([0.5, 1], "its weight codes are not integers; check the checkpoint"),
        ([torch.nan, 1], "its weight codes are not integers"),
        ([torch.inf, 1], "its weight codes are not integers"),
        ([256, 1], "its weight codes reach 256; use 8 bits or fewer"),
        ([-257, 1], "its weight codes reach 257; use 8 bits"),
    ],
)
def test_weights_of_more_bits_are_refused(codes, message):
    with pytest.raises(UserError, match=f"c cannot be packed: {message}"):
        weight_planes(torch.tensor(codes, dtype=torch.float32).view(2, 1, 1, 1), "c")


def test_the_first_channel_is_the_lowest_bit():
    planes = torch.zeros(1, 1, 1, 1, 11, dtype=torch.bool)
    planes[..., [0, 3, 8]] = True
    assert packed_bits(planes).flatten().tolist() == [9, 1]


# --- what a reader makes of reals -------------------------------------------------------------------------------------
class _Shifted(xl.Float):
    def input_codes(self, x):
        codes = super().input_codes(x)
        return codes._replace(values=codes.values + 0.5)


class _Scaled(xl.Float):
    def input_codes(self, x):
        codes = super().input_codes(x)
        return codes._replace(scale=2 * codes.scale)


@pytest.mark.parametrize(
    ("reader", "changed", "plain"),
    [
        (xl.Float(), {}, True),
        (xl.Float(), RECTIFIED, True),
        (xl.BWN(), {}, True),
        (xl.XNOR(), {}, True),
        (xl.ReActNet(), {}, True),
        (_Shifted(), {}, False),
        (_Scaled(), {}, False),
    ],
)
@pytest.mark.parametrize("flat", [True, False])
def test_reals_are_read_unchanged_rectified_or_as_signs(reader, changed, plain, flat):
    made = xl.BinaryLinear(3, 2, binarizer=reader) if flat else xl.BinaryConv2d(3, 2, 1, binarizer=reader)
    vars(made.binarizer).update(changed)
    assert reads_plainly(made.binarizer, 3, flat=flat) is plain
