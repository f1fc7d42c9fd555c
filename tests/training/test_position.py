"""Random generators of processes that a resumed run did not have before."""

import random

import numpy as np
import pytest
import torch

from xnorlit.training.position import random_state, restore

CPU = torch.device("cpu")


@pytest.fixture
def untouched():
    """What the tests draw changes nothing for those that follow."""
    state = random_state(CPU)
    yield
    restore([state], 0, 0, CPU)


def drawn():
    return [torch.rand(()).item(), random.random(), np.random.rand()]  # noqa: NPY002


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_an_additional_process_draws_numbers_of_its_own_that_seed_rank_and_step_decide(seed, untouched):
    def of(rank, step):
        torch.manual_seed(seed)
        restore([random_state(CPU)], rank, step, CPU)
        assert 0 <= torch.initial_seed() < 2**32, "numpy takes no more"
        return drawn()

    assert of(1, 5) == of(1, 5)
    found = [of(rank, step) for rank in (1, 2) for step in (5, 6)]
    assert all(len({draws[kind] for draws in found}) == 4 for kind in range(3))


def test_a_process_that_was_there_before_goes_on_with_its_own(untouched):
    states, expected = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        drawn()
        states.append(random_state(CPU))
        expected.append(drawn())
    for rank in (1, 0):
        restore(states, rank, 5, CPU)
        assert drawn() == expected[rank]
