from itertools import chain

import numpy as np
import pytest

from xnorlit.data.augment import CentreCrop, PadCrop, View
from xnorlit.data.loader import BatchLoader, Samples
from xnorlit.data.memory import MemoryReader
from xnorlit.errors import UserError

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
    assert stopped.state_dict() == {"epoch": 1, "sample": 0, "global_batch": 8}


@pytest.mark.parametrize("position", [0, 1, 6, 7, 10])
def test_a_resumed_loader_continues_with_the_same_pictures(position):
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


def steps(loaders):
    """The samples and pictures of each optimizer step of an epoch, over all processes."""
    every = loaders[0].division.accumulate
    found = []
    for number, batches in enumerate(zip(*loaders, strict=True)):
        if number % every == 0:
            found.append({})
        for batch in batches:
            found[-1].update(zip(batch.indices.tolist(), batch.images, strict=True))
    return found


def crew(world, batch_size, global_batch=16):
    return [loader(batch_size=batch_size, rank=rank, world=world, global_batch=global_batch) for rank in range(world)]


@pytest.mark.parametrize(("world", "batch_size"), [(1, 16), (1, 8), (1, 5), (2, 8), (2, 3), (3, 6), (4, 4), (8, 2)])
def test_steps_are_the_same_for_any_processes_and_batch_size(world, batch_size):
    expected, found = steps([loader(batch_size=16)]), steps(crew(world, batch_size))
    assert [step.keys() for step in found] == [step.keys() for step in expected]
    assert all(found[n][i].equal(expected[n][i]) for n, step in enumerate(expected) for i in step)


@pytest.mark.parametrize("steps_done", [0, 1, 3, 4, 6])
@pytest.mark.parametrize(("before", "after"), [((1, 16), (2, 8)), ((2, 8), (1, 5)), ((4, 2), (3, 6)), ((1, 3), (8, 2))])
def test_an_epoch_continues_with_other_processes_and_batch_size(before, after, steps_done):
    whole = loader(batch_size=16)
    expected = [step for _ in range(3) for step in steps([whole])]
    first, second = crew(*before), crew(*after)
    for one in first:
        batches = (batch for _ in range(3) for batch in one)
        left = steps_done
        while left:  # an epoch of 50 samples has 4 steps of 16, the last of them in fewer parts
            next(batches)
            left = steps_done - (one.epoch * 4 + one.state_dict()["sample"] // 16)
    assert len({str(one.state_dict()) for one in first}) == 1
    for one in second:
        one.load_state_dict(first[0].state_dict())
    found = [step for _ in range(3) for step in steps(second)][: len(expected) - steps_done]
    assert [step.keys() for step in found] == [step.keys() for step in expected[steps_done:]]
    assert all(left[i].equal(right[i]) for left, right in zip(found, expected[steps_done:], strict=True) for i in left)


def test_a_position_of_an_older_version_is_in_batches():
    whole = seen(loader())
    resumed = loader()
    resumed.load_state_dict({"epoch": 0, "position": 3})
    assert seen(resumed) == whole[3:]
    assert resumed.state_dict()["epoch"] == 1


def test_another_global_batch_is_refused_with_what_to_type():
    resumed = loader(batch_size=8, world=2)
    with pytest.raises(UserError, match=r"started with 8 samples per step.*now there are 16 .*--data.global_batch 8"):
        resumed.load_state_dict(loader(batch_size=8).state_dict())


@pytest.mark.parametrize("world", [2, 3, 8])
def test_validation_over_ranks_neither_drops_nor_repeats(world):
    shares = [flat(seen(loader(shuffle=False, rank=rank, world=world))) for rank in range(world)]
    assert sorted(flat(shares)) == list(range(COUNT))
    assert [len(loader(shuffle=False, rank=rank, world=world)) for rank in range(world)] == [
        len(seen(loader(shuffle=False, rank=rank, world=world))) for rank in range(world)
    ]


def test_augmentation_does_not_depend_on_the_batch_or_the_rank():
    shown = {}
    for options in ({}, {"batch_size": 3}, {"rank": 1, "world": 2}):
        for batch in loader(**options):
            for index, image in zip(batch.indices.tolist(), batch.images, strict=True):
                assert shown.setdefault(index, image).equal(image)


def test_a_stored_batch_is_not_overwritten():
    kept = list(loader(shuffle=False, images=IMAGES.copy()))
    copies = [batch.images.clone() for batch in kept]
    list(loader(shuffle=False))
    assert all(batch.images.equal(copy) for batch, copy in zip(kept, copies, strict=True))
    assert len({batch.images.data_ptr() for batch in kept}) == len(kept)
