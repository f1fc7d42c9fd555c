import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnorlit.data import order
from xnorlit.data.order import Division
from xnorlit.errors import UserError

IMAGENET = 1_281_167
WORLDS = st.integers(1, 24)


def test_the_order_of_an_epoch_is_a_permutation_that_seed_and_epoch_decide():
    first = order.permutation(1000, seed=0, epoch=0)
    assert sorted(first) == list(range(1000))
    assert np.array_equal(first, order.permutation(1000, seed=0, epoch=0))
    assert not np.array_equal(first, order.permutation(1000, seed=0, epoch=1))
    assert not np.array_equal(order.permutation(1000, seed=7, epoch=1), order.permutation(1000, seed=8, epoch=0))


@settings(deadline=None)
@given(count=st.integers(0, 200), world=WORLDS, batch_size=st.integers(1, 20))
def test_validation_reads_every_sample_once(count, world, batch_size):
    batches = [batch for rank in range(world) for batch in order.share(np.arange(count), rank, world, batch_size)]
    assert sorted(np.concatenate([*batches, np.arange(0)])) == list(range(count))
    assert all(len(batch) <= batch_size for batch in batches)


@st.composite
def divisions(draw, most=300):
    world, batch_size = draw(WORLDS), draw(st.integers(1, most))
    return Division(draw(st.integers(world * min(2, batch_size), 24 * most)), batch_size, world)


def steps_of(division, everything):
    """The portions of each process in each optimizer step."""
    shares = [list(division.portions(everything, rank)) for rank in range(division.world)]
    assert {len(share) for share in shares} == {division.batches(len(everything))}  # DDP waits for all in each batch.
    every = division.accumulate
    return [[share[start : start + every] for share in shares] for start in range(0, len(shares[0]), every)]


@settings(deadline=None)
@given(division=divisions(), count=st.integers(1, 3000))
def test_a_step_has_the_same_samples_whatever_the_number_of_processes_and_what_fits_into_them(division, count):
    everything = order.permutation(count, 0, 0)
    found = steps_of(division, everything)
    assert len(found) == order.steps(count, division.global_batch)
    for number, shares in enumerate(found):
        step = everything[number * division.global_batch : (number + 1) * division.global_batch]
        assert set(np.concatenate([portion.samples for share in shares for portion in share])) == set(step)
    left_out = count - sum(len({*np.concatenate([p.samples for s in shares for p in s])}) for shares in found)
    assert left_out in (0, 1)


@settings(deadline=None)
@given(division=divisions(), count=st.integers(1, 3000))
def test_the_sizes_of_the_parts_are_those_over_all_processes(division, count):
    shares = [division.portions(np.arange(count), rank) for rank in range(division.world)]
    held = [len({*np.concatenate([portion.samples for portion in part])}) for part in zip(*shares, strict=True)]
    assert list(division.sizes(count)) == held


@settings(deadline=None)
@given(division=divisions(), count=st.integers(1, 3000))
def test_the_weighted_gradient_is_the_mean_over_the_step(division, count):
    # Each sample's "gradient" is a one at its own index, which reveals missing and doubled samples.
    everything = np.arange(count)
    for number, shares in enumerate(steps_of(division, everything)):
        step = everything[number * division.global_batch : (number + 1) * division.global_batch]
        gradient = np.zeros(count)
        for share in shares:
            for samples, weight, _ in share:
                gradient[samples] += weight / len(samples) / division.accumulate / division.world
        expected = np.zeros(count)
        expected[step] = 1 / len(step)
        np.testing.assert_allclose(gradient, expected, rtol=1e-12)


@settings(deadline=None)
@given(division=divisions(), count=st.integers(2, 3000))
def test_no_process_holds_much_more_than_its_batch_size_or_too_little_for_batch_norm(division, count):
    least, rest = min(2, division.batch_size), division.world * min(2, division.batch_size)
    full = order.steps(count, division.global_batch) - 1
    for shares in steps_of(division, np.arange(count))[:full]:
        sizes = [len(portion.samples) for share in shares for portion in share]
        assert min(sizes) >= least
        assert max(sizes) - min(sizes) <= 2  # parts differ by one, and so do the shares of a part
        assert max(sizes) <= 2 * division.batch_size + 1
    for rank in range(division.world):
        for portion in division.portions(np.arange(count), rank, max(0, full)):
            assert len(portion.samples) >= min(least, count)
            assert len(portion.samples) <= max(2 * division.batch_size + 1, rest)


@settings(deadline=None, max_examples=30)
@given(
    world=WORLDS,
    share=st.integers(2, 200),
    parts=st.integers(1, 4),
    count=st.one_of(st.integers(1, IMAGENET), st.just(IMAGENET)),
)
def test_a_global_batch_that_divides_evenly_is_weighed_by_one(world, share, parts, count):
    division = Division(world * share * parts, share, world)
    assert division.accumulate == parts
    everything = np.arange(count)
    last = max(0, order.steps(count, division.global_batch) - 3)
    for rank in {0, world - 1}:
        portions = list(division.portions(everything, rank, last))
        whole = portions[: (order.steps(count, division.global_batch) - 1 - last) * parts]
        assert all((len(portion.samples), portion.weight) == (share, 1.0) for portion in whole)
        assert last * parts + len(portions) == division.batches(count)


@pytest.mark.parametrize("world", [1, 8, 23])
def test_all_of_imagenet_is_read_once_in_an_epoch_of_any_number_of_processes(world):
    division = Division(1200, 1200 // world, world)
    seen = np.zeros(IMAGENET, np.int64)
    lengths = set()
    for rank in range(world):
        portions = list(division.portions(np.arange(IMAGENET), rank))
        lengths.add(len(portions))
        np.add.at(seen, np.concatenate([portion.samples for portion in portions]), 1)
    assert lengths == {division.batches(IMAGENET)}
    assert (seen == 1).all()


@settings(deadline=None)
@given(division=divisions(), count=st.integers(1, 3000), data=st.data())
def test_an_order_continues_from_any_step(division, count, data):
    everything = order.permutation(count, 1, 2)
    first = data.draw(st.integers(0, order.steps(count, division.global_batch)))
    rank = data.draw(st.integers(0, division.world - 1))
    whole = list(division.portions(everything, rank))[first * division.accumulate :]
    rest = list(division.portions(everything, rank, first))
    assert [portion.samples.tolist() for portion in rest] == [portion.samples.tolist() for portion in whole]


@pytest.mark.parametrize(("count", "sizes"), [(8, [4, 4]), (9, [4, 4]), (10, [4, 4, 2]), (1, [1])])
def test_a_last_step_of_one_sample_is_dropped_unless_it_is_the_only_step(count, sizes):
    division = Division(4, 4)
    assert [len(portion.samples) for portion in division.portions(np.arange(count), 0)] == sizes
    assert order.steps(count, 4) == division.batches(count) == len(sizes)


def test_more_processes_than_a_step_feeds_are_refused():
    with pytest.raises(UserError, match=r"global_batch is 15 for 8 processes. Expected at least 16"):
        Division(15, 4, 8)
    Division(8, 1, 8)


def test_the_order_of_published_runs_stays_the_same():
    assert order.permutation(12, 5, 2).tolist() == [6, 11, 8, 9, 7, 0, 3, 2, 4, 10, 5, 1]
    assert order.permutation(5, 0, 0).tolist() == [2, 3, 4, 1, 0]
