"""Thresholds give every sum the code that evaluation gives it, whichever way they are found."""

import numpy as np
import pytest
import torch

from xnorlit.errors import UserError
from xnorlit.export import bends, thresholds
from xnorlit.export.thresholds import Steps, integer_steps, real_steps

MOST = 9
# By feature: where the code rises, or falls, by one, in ascending order. The last is beyond every sum, or none is.
RISES = torch.tensor([[-9, 0, 4], [-3, -3, 9], [0, 1, 2], [10, 10, 10], [-8, 5, 10]])
FALLS = torch.tensor([False, True, False, False, True])


def codes(sums, places=RISES):
    """Codes 0 to 3 of sums `(M, F)` or `(M, 1)`."""
    risen = (sums[:, :, None] >= places.to(sums.dtype)).sum(2)
    return torch.where(FALLS, 3 - risen, risen)


def code_of(steps, sums):
    """What the engine makes of sums `(M, 1)`."""
    found = np.broadcast_to(steps.start, (len(sums), len(steps.start))).copy()
    for threshold, change in zip(steps.threshold, steps.change, strict=True):
        found ^= np.where(sums >= threshold, change, 0).astype(np.uint8)
    return found


@pytest.mark.parametrize("most", [thresholds.ALL, 0], ids=["each integer", "bisected"])
@pytest.mark.parametrize("at_once", [thresholds.AT_ONCE, 10, 5], ids=["at once", "in pairs", "one by one"])
def test_every_integer_has_its_code(most, at_once, monkeypatch):
    monkeypatch.setattr(thresholds, "ALL", most)
    monkeypatch.setattr(thresholds, "AT_ONCE", at_once)
    steps = integer_steps(codes, len(FALLS), MOST, "fc1")
    assert (steps.threshold.dtype, steps.start.dtype, steps.change.dtype) == (np.int32, np.uint8, np.uint8)
    sums = np.arange(-MOST, MOST + 1)[:, None]
    np.testing.assert_array_equal(code_of(steps, sums), codes(torch.from_numpy(sums)).numpy())


def test_both_ways_are_taken_for_the_numbers_of_integers_that_they_are_meant_for(monkeypatch):
    asked = []

    def counting(sums):
        asked.append(len(sums))
        return codes(sums)

    monkeypatch.setattr(thresholds, "ALL", 19 * 5)  # as many values as there are
    integer_steps(counting, 5, MOST, "fc1")
    assert sum(asked) == 19
    monkeypatch.setattr(thresholds, "ALL", 19 * 5 - 1)
    asked.clear()
    integer_steps(counting, 5, MOST, "fc1")
    assert bends.GRID in asked


def test_every_real_number_has_its_code_up_to_its_neighbours():
    places = torch.tensor([[-1e20, 0, 4.5], [-3, -3, 1e-20], [0, 1, 2], [1e31, 1e31, 1e31], [-8, 5, 1e31]])
    steps = real_steps(lambda sums: codes(sums, places), len(FALLS), "fc1")
    at = places[places.abs() < 1e30].numpy()
    sums = np.concatenate([np.nextafter(at, np.float32(-np.inf)), at, np.nextafter(at, np.float32(np.inf))])[:, None]
    np.testing.assert_array_equal(code_of(steps, sums), codes(torch.from_numpy(sums), places).numpy())
    assert (steps.threshold[steps.change == 0] == np.inf).all()


def test_codes_that_rise_and_fall_have_thresholds_if_every_integer_is_tried(monkeypatch):
    turning = lambda sums: (sums.expand(-1, 2).abs() >= torch.tensor([3, 5])).long()  # noqa: E731
    steps = integer_steps(turning, 2, MOST, "fc1")
    sums = np.arange(-MOST, MOST + 1)[:, None]
    np.testing.assert_array_equal(code_of(steps, sums), turning(torch.from_numpy(sums)).numpy())
    monkeypatch.setattr(thresholds, "ALL", 0)
    with pytest.raises(UserError, match="fc1 cannot be packed: what follows it makes its codes rise and fall"):
        integer_steps(turning, 2, MOST, "fc1")
    with pytest.raises(UserError, match="fc1 cannot be packed: what follows it makes its codes rise and fall"):
        real_steps(turning, 2, "fc1")


@pytest.mark.parametrize("more", [0, 1])
def test_too_many_steps_are_refused_with_the_output_that_has_them(more, monkeypatch):
    monkeypatch.setattr(thresholds, "MOST_LEVELS", 4)
    jumping = lambda sums: torch.cat([sums >= 0, (sums + MOST).clamp(max=4 + more) % 2 == 1], 1).long()  # noqa: E731
    if not more:
        assert isinstance(integer_steps(jumping, 2, MOST, "fc1"), Steps)
        return
    with pytest.raises(UserError, match="the code after output 1 changes 5 times as its sum grows"):
        integer_steps(jumping, 2, MOST, "fc1")
