"""A matrix over two parameters: hand-computed values."""

import math

import pytest

from tests.runs.factory import write_run
from xnorlit.errors import UserError
from xnorlit.runs import read
from xnorlit.sweep.grid.matrix import matrix
from xnorlit.sweep.grid.outcome import Outcome

K = "{class_path: XNOR, init_args: {scale: alpha, input_scale: K}}"


@pytest.fixture
def outcomes(tmp_path):
    found = []
    for number, (scale, gradient, seed, right) in enumerate(
        (("none", "ste", 0, 500), ("none", "ste", 1, 600), (K, "ste", 0, 700), (K, "paper", 0, 800))
    ):
        run = read(write_run(tmp_path, "xnor", number, right=right))
        varied = {"binarizer": scale, "gradient": gradient, "seed": seed}
        found.append(Outcome(varied, varied, run))
    return found


def test_seeds_are_averaged_and_a_missing_cell_is_nan(outcomes):
    found = matrix(outcomes, "binarizer", "gradient")
    assert (found.rows, found.columns) == (("none", "XNOR-alpha-K"), ("ste", "paper"))
    assert found.top1[0][0] == pytest.approx(55)
    assert math.isnan(found.top1[0][1])
    assert found.top1[1] == pytest.approx((70, 80))


def test_a_parameter_that_does_not_vary_is_refused(outcomes):
    with pytest.raises(UserError, match=r"this grid does not vary gradients\. Did you mean gradient"):
        matrix(outcomes, "binarizer", "gradients")
    with pytest.raises(UserError, match="Varied: none"):
        matrix([], "binarizer", "gradient")
