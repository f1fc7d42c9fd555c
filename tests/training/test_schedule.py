"""Schedules are pure functions of the epoch, with the values of the published recipes."""

import math

import pytest

from xnorlit.errors import UserError
from xnorlit.training.schedule import Constant, Linear, Staircase, Steps, WarmupCosine


def test_constant_is_one():
    assert [Constant()(epoch, 10) for epoch in (0, 4.5, 10)] == [1, 1, 1]


def test_steps_begin_at_their_epoch():
    """allenai's table of rates: 1e-3, then 5e-4 from the 19th epoch, 1e-4 from the 30th."""
    schedule = Steps({29: 0.1, 18: 0.5})
    assert [schedule(epoch, 55) for epoch in (0, 17.999, 18, 28.99, 29, 54)] == [1, 1, 0.5, 0.5, 0.1, 0.1]


def test_warmup_is_linear_and_then_half_a_cosine():
    schedule = WarmupCosine(warmup=1)
    assert [schedule(epoch, 5) for epoch in (0, 0.25, 0.5)] == [0, 0.25, 0.5]
    assert schedule(1, 5) == 1
    assert schedule(3, 5) == pytest.approx(0.5)
    assert schedule(2, 5) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert schedule(5, 5) == pytest.approx(0)


@pytest.mark.parametrize("schedule", [WarmupCosine(2), Linear(warmup=2)])
def test_a_run_no_longer_than_its_warmup_ends_at_the_full_rate(schedule):
    for epochs in (1, 2):
        assert [schedule(epoch, epochs) for epoch in (0, 1, 2, 2.5)] == [0, 0.5, 1, 0]


def test_no_warmup_starts_at_the_full_rate():
    assert WarmupCosine(warmup=0)(0, 5) == 1


def test_a_staircase_halves_at_every_tenth_epoch():
    """larq's BinaryAlexNet: 1e-2 * 0.5 ** (epoch // 10)."""
    schedule = Staircase(every=10, factor=0.5)
    assert [schedule(epoch, 150) for epoch in (0, 9.99, 10, 25, 149)] == [1, 1, 0.5, 0.25, 0.5**14]
    with pytest.raises(UserError, match=r"Staircase\.every is 0"):
        Staircase(every=0, factor=0.5)


def test_a_line_ends_where_requested():
    """Bop's Adam: 2.5e-3 to 5e-6 over the run."""
    schedule = Linear(end=0.002)
    assert [schedule(epoch, 100) for epoch in (0, 50, 100)] == pytest.approx([1, 0.501, 0.002])
    warmed = Linear(warmup=2)
    assert [warmed(epoch, 10) for epoch in (0, 1, 2, 6, 10)] == pytest.approx([0, 0.5, 1, 0.5, 0])
