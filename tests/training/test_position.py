"""Lightning's counters between two steps, and random generators of processes that a run did not have before."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xnorlit.training.position import mark_position, random_state, restore

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
        assert torch.initial_seed() == (seed + 1_000_003 * rank + step) % 2**32, "numpy takes no more"
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


def test_the_state_of_a_gpu_is_kept_and_restored_where_there_is_one(untouched, monkeypatch):
    gpu, told = SimpleNamespace(type="cuda"), []
    fake = SimpleNamespace(
        get_rng_state=lambda device: torch.full((3,), 7.0 if device is gpu else 0.0),
        set_rng_state=lambda state, device: told.append((state.tolist(), device)),
    )
    monkeypatch.setattr(torch, "cuda", fake)
    state = random_state(gpu)  # type: ignore[arg-type]
    assert state["cuda"].tolist() == [7, 7, 7]
    restore([state], 0, 0, CPU)
    assert told == [], "a run that goes on without a GPU has no use for it"
    restore([state], 0, 0, gpu)  # type: ignore[arg-type]
    assert told == [([7, 7, 7], gpu)]
    assert random_state(CPU)["cuda"] is None
    restore([random_state(CPU)], 0, 0, gpu)  # type: ignore[arg-type]
    assert len(told) == 1


def lightnings():
    """Counters as in Lightning's checkpoint, each with another number."""

    def progress(first, **more):
        names = ("ready", "started", "processed", "completed")
        return {name: first + i for i, name in enumerate(names)} | more

    def parts(first):
        return {"total": progress(first), "current": progress(first + 4)}

    return {
        "epoch": 99,
        "loops": {
            "fit_loop": {
                "state_dict": {"combined_loader": 1, "more": 2},
                "epoch_progress": parts(10),
                "epoch_loop.batch_progress": {**parts(20), "is_last_batch": "?"},
                "epoch_loop.val_loop.batch_progress": parts(30),
            }
        },
    }


def counted(**numbers):
    names = ("ready", "started", "processed", "completed")
    return {part: dict(zip(names, values, strict=True)) for part, values in numbers.items()}


def test_between_two_epochs_the_counters_are_those_of_finished_epochs():
    found, before = lightnings(), lightnings()["loops"]["fit_loop"]
    mark_position(found, 2, 0, validate=False)
    fit = found["loops"]["fit_loop"]
    assert found["epoch"] == 1, "the index of the last one"
    assert fit["state_dict"] == {"more": 2}
    assert fit["epoch_progress"] == counted(total=(2, 2, 2, 2), current=(2, 2, 2, 2))
    for name in ("epoch_loop.batch_progress", "epoch_loop.val_loop.batch_progress"):
        assert fit[name] == before[name]


@pytest.mark.parametrize("validate", [False, True])
def test_within_an_epoch_it_has_begun_and_its_completed_batches_are_all(validate):
    found, before = lightnings(), lightnings()["loops"]["fit_loop"]
    mark_position(found, 2, 5, validate=validate)
    fit = found["loops"]["fit_loop"]
    assert found["epoch"] == 2, "the index of this one"
    assert fit["epoch_progress"] == counted(total=(3, 3, 2, 2), current=(3, 3, 2, 2))
    batches = counted(total=(23, 23, 23, 23), current=(27, 27, 27, 27))
    assert fit["epoch_loop.batch_progress"] == {**batches, "is_last_batch": validate}
    measured = counted(total=(1, 1, 0, 0), current=(1, 1, 0, 0))
    name = "epoch_loop.val_loop.batch_progress"
    assert fit[name] == (measured if validate else before[name])
