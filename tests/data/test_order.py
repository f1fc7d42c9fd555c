import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnorlit.data import order


def test_the_order_of_an_epoch_is_a_permutation_that_seed_and_epoch_decide():
    first = order.permutation(1000, seed=0, epoch=0)
    assert sorted(first) == list(range(1000))
    assert np.array_equal(first, order.permutation(1000, seed=0, epoch=0))
    assert not np.array_equal(first, order.permutation(1000, seed=0, epoch=1))
    assert not np.array_equal(order.permutation(1000, seed=7, epoch=1), order.permutation(1000, seed=8, epoch=0))


@given(count=st.integers(0, 200), world=st.integers(1, 9))
def test_validation_shares_hold_every_sample_once(count, world):
    shares = [order.share(np.arange(count), rank, world, even=False) for rank in range(world)]
    assert sorted(np.concatenate(shares)) == list(range(count))


@given(count=st.integers(0, 200), world=st.integers(1, 9))
def test_training_shares_are_disjoint_and_equally_long(count, world):
    everything = order.permutation(count, 0, 0)
    shares = [order.share(everything, rank, world, even=True) for rank in range(world)]
    assert {len(share) for share in shares} == {count // world}
    assert len(set(np.concatenate(shares))) == count // world * world


@pytest.mark.parametrize(
    ("count", "drop_single", "sizes"), [(8, True, [4, 4]), (9, True, [4, 4]), (9, False, [4, 4, 1])]
)
def test_a_last_training_batch_of_one_is_left_out(count, drop_single, sizes):
    cut = order.batches(np.arange(count), 4, drop_single=drop_single)
    assert [len(batch) for batch in cut] == sizes
    assert np.array_equal(np.concatenate(cut), np.arange(sum(sizes)))


def test_a_set_of_one_sample_still_has_a_batch():
    assert [len(batch) for batch in order.batches(np.arange(1), 4, drop_single=True)] == [1]
