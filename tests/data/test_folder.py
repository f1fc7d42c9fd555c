import multiprocessing

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.pictures import photographs
from xnorlit.data import splits
from xnorlit.data.augment import CentreCrop, PadCrop, ResizedCrop, View
from xnorlit.data.folder import FolderReader, read_all
from xnorlit.data.memory import MemoryReader
from xnorlit.errors import UserError

VIEW = View(PadCrop(3), flip=True, size=16, seed=2)
BATCHES = [np.arange(start, min(start + 8, 60))[::-1].copy() for start in range(0, 60, 8)]


def shown(reader, view=VIEW, epoch=1):
    return torch.cat(list(reader.pictures(BATCHES, view, epoch)))


@pytest.fixture
def files(tree):
    return splits.find(tree)["train"]


@pytest.fixture
def in_memory(files):
    return MemoryReader(read_all(files, limit=1 << 20, threads=2))


def test_all_images_are_read_in_listing_order(files):
    images = photographs()
    expected = np.stack([images[index] for first in range(3) for index in range(first, 60, 3)])
    assert np.array_equal(read_all(files, limit=1 << 20, threads=3), expected)


@pytest.mark.parametrize("position", [0, 31, 59])
def test_sets_of_several_sizes_are_not_held_in_memory(files, position):
    Image.new("RGB", (16, 17)).save(files.path(position))
    assert read_all(files, limit=1 << 20, threads=2) is None


def test_large_sets_are_not_held_in_memory(files):
    assert read_all(files, limit=60 * 16 * 16 * 3 - 1, threads=2) is None


def test_an_unreadable_file_is_named(files):
    files.path(33).write_bytes(b"broken")
    with pytest.raises(UserError, match=f"{files.path(33).name} cannot be read"):
        read_all(files, limit=1 << 20, threads=2)


@pytest.mark.parametrize("view", [VIEW, View(ResizedCrop(), flip=True, size=10)], ids=["shifted", "resized"])
def test_files_give_the_pixels_that_memory_gives(files, in_memory, view):
    got = shown(FolderReader(files, workers=0), view)
    assert got.equal(shown(in_memory, view))
    assert got.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_pixels_do_not_depend_on_the_number_of_workers(files, in_memory):
    expected = shown(in_memory)
    for workers in (1, 8):
        assert shown(FolderReader(files, workers)).equal(expected)


@pytest.mark.slow
def test_workers_outlive_an_epoch_and_an_abandoned_one(files, in_memory):
    reader = FolderReader(files, workers=2)
    next(reader.pictures(BATCHES, VIEW, 0))
    first = {child.pid for child in multiprocessing.active_children()}
    for epoch in (1, 2):
        assert shown(reader, epoch=epoch).equal(shown(in_memory, epoch=epoch))
    assert {child.pid for child in multiprocessing.active_children()} == first


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_worker_that_meets_an_unreadable_file_names_it_without_a_traceback(files, workers):
    files.path(20).write_bytes(b"broken")
    with pytest.raises(UserError) as caught:
        shown(FolderReader(files, workers))
    assert str(caught.value).startswith(f"{files.path(20)} cannot be read as an image")
    assert "Traceback" not in str(caught.value)


def test_reading_leaves_torchs_random_numbers_alone(files):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    shown(FolderReader(files, workers=0), View(CentreCrop(), False, 16))
    assert torch.rand(3).equal(expected)
