from itertools import chain

import numpy as np
import pytest

from xnorlit.data.augment import CentreCrop, PadCrop, View
from xnorlit.data.loader import BatchLoader, Samples
from xnorlit.data.memory import MemoryReader

COUNT, SIZE = 50, 8
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
LABELS = np.arange(COUNT) % 5


def loader(*, shuffle=True, batch_size=8, seed=0, images=IMAGES, **ranks):
    samples = Samples(MemoryReader(images), LABELS, np.arange(COUNT))
    crop = PadCrop(2) if shuffle else CentreCrop()
    return BatchLoader(samples, View(crop, shuffle, SIZE, seed), batch_size, shuffle=shuffle, **ranks)


def seen(batches):
    return [batch.indices.tolist() for batch in batches]


def flat(lists):
    return list(chain.from_iterable(lists))


def test_a_pass_shows_every_sample_once_with_its_label():
    batches = list(loader())
    assert len(batches) == len(loader()) == 7
    assert sorted(flat(seen(batches))) == list(range(COUNT))
    for batch in batches:
        assert np.array_equal(batch.labels, LABELS[batch.indices])


def test_validation_shows_the_images_themselves_in_listing_order():
    batches = list(loader(shuffle=False))
    assert flat(seen(batches)) == list(range(COUNT))
    shown = np.concatenate([batch.images.permute(0, 2, 3, 1).numpy() for batch in batches])
    assert np.array_equal(shown, IMAGES)


def test_passes_are_epochs_and_two_loaders_agree_on_them():
    first, second = loader(), loader()
    epochs = [list(first) for _ in range(3)]
    assert seen(epochs[0]) != seen(epochs[1])
    for epoch in epochs:
        for left, right in zip(epoch, second, strict=True):
            assert left.indices.equal(right.indices)
            assert left.images.equal(right.images)


def test_an_extra_iter_changes_nothing():
    plain, poked = loader(), loader()
    iter(poked)
    assert seen(plain) == seen(poked)


def test_an_abandoned_pass_counts_as_an_epoch():
    abandoned = loader()
    next(iter(abandoned))
    expected = loader()
    list(expected)
    assert seen(abandoned) == seen(expected)


def test_stopping_at_the_last_batch_without_exhausting_starts_the_next_epoch():
    stopped = loader()
    batches = iter(stopped)
    for _ in range(len(stopped)):
        next(batches)
    assert stopped.state_dict() == {"epoch": 1, "position": 0}


@pytest.mark.parametrize("position", [0, 1, 6, 7, 10])
def test_a_resumed_loader_goes_on_with_the_same_pictures(position):
    whole = loader()
    expected = [batch for _ in range(3) for batch in whole]
    first = loader()
    batches = (batch for _ in range(3) for batch in first)
    for _ in range(position):
        next(batches)
    resumed = loader()
    resumed.load_state_dict(first.state_dict())
    got = [batch for _ in range(3) for batch in resumed][: len(expected) - position]
    assert seen(got) == seen(expected[position:])
    assert all(left.images.equal(right.images) for left, right in zip(got, expected[position:], strict=True))


@pytest.mark.parametrize("world", [2, 3, 8])
def test_validation_over_ranks_neither_drops_nor_repeats(world):
    shares = [flat(seen(loader(shuffle=False, rank=rank, world=world))) for rank in range(world)]
    assert sorted(flat(shares)) == list(range(COUNT))


def test_training_ranks_read_disjoint_samples_of_one_order_and_equally_many_batches():
    shares = [seen(loader(rank=rank, world=3)) for rank in range(3)]
    assert len({len(share) for share in shares}) == 1
    everyone = flat(flat(shares))
    assert len(everyone) == len(set(everyone)) == 48
    single = flat(seen(loader(batch_size=COUNT)))
    assert flat(shares[0]) == single[:48:3]


def test_augmentation_does_not_depend_on_the_batch_or_the_rank():
    shown = {}
    for options in ({}, {"batch_size": 3}, {"rank": 1, "world": 2}):
        for batch in loader(**options):
            for index, image in zip(batch.indices.tolist(), batch.images, strict=True):
                assert shown.setdefault(index, image).equal(image)


def test_a_kept_batch_is_not_overwritten():
    kept = list(loader(shuffle=False, images=IMAGES.copy()))
    copies = [batch.images.clone() for batch in kept]
    list(loader(shuffle=False))
    assert all(batch.images.equal(copy) for batch, copy in zip(kept, copies, strict=True))
    assert len({batch.images.data_ptr() for batch in kept}) == len(kept)
