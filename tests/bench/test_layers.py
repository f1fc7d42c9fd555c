"""Single layers are measured as what they are without a graph around them."""

from dataclasses import replace

import numpy as np
import pytest

from tests.packed import oracle
from xnorlit.bench.layers import binary_engine, integers
from xnorlit.packed.layer import Ending, Layer, Map, Operand, Weights, Window

PLAIN = Layer("conv", 24, Operand("signs"), Weights("planes", (1,)), Ending("signs"), Window((3, 3), (1, 1), (1, 1)))
AT = Map(5, 4, 16)
FORMS = {
    "plain": PLAIN,
    "border of ones": replace(PLAIN, border="ones", ending=Ending("reals", slopes=(None,))),
    "sum of the window": replace(PLAIN, window_sum=True, ending=Ending("reals", slopes=(1.0,))),
}


@pytest.mark.parametrize("layer", FORMS.values(), ids=FORMS)
def test_sums_and_bits_are_those_of_signs_whose_padding_counts_nothing(layer):
    random = np.random.default_rng(0)
    x, weights = random.standard_normal((2, *AT), np.float32), oracle.sign(random.standard_normal((24, 3, 3, 16)))
    bits = oracle.pack(weights)[None]
    expected = oracle.convolve(oracle.sign(x), weights, (1, 1), (1, 1))
    np.testing.assert_array_equal(integers(layer, AT, bits, x), expected)

    engine = binary_engine("portable", layer, AT, bits)
    out = np.empty((2, engine.output_elements), np.uint32)
    engine.run(x, out, 1)
    found = oracle.unpack(out.reshape(2, 5, 4, -1), 24)
    np.testing.assert_array_equal(found, expected >= 0)
