import gc
import os
import threading
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from tests.data.interpreted import interpret
from tests.data.pictures import COUNT, SIZE, photographs, write_beton
from xnorlit.data import beton
from xnorlit.data.augment import CentreCrop, PadCrop, RandomCrop, ResizedCrop, View
from xnorlit.data.loader import BatchLoader, Samples
from xnorlit.data.memory import MemoryReader
from xnorlit.errors import UserError

# Importing FFCV takes a second, so no process does it that runs none of these tests.
pytestmark = [pytest.mark.ffcv, pytest.mark.skipif(find_spec("ffcv") is None, reason="FFCV is not installed")]

BATCHES = [np.arange(start, min(start + 8, COUNT)) for start in range(0, COUNT, 8)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return write_beton(tmp_path_factory.mktemp("beton") / "train.beton", photographs())


def reader(stored, *, workers=1, size=SIZE, reflect=False):
    from xnorlit.data.ffcv_reader import FfcvReader

    return FfcvReader(stored, batch_size=8, size=size, reflect=reflect, workers=workers)


@pytest.fixture(scope="module")
def serial(stored):
    return reader(stored)  # compiled once for the module


def shown(pictures):
    return torch.cat(list(pictures))


@pytest.mark.parametrize("crop", [PadCrop(3), CentreCrop()], ids=repr)
def test_pixels_equal_those_of_the_memory_backend(serial, crop):
    view = View(crop, flip=True, size=SIZE, seed=4)
    expected = shown(MemoryReader(photographs()).pictures(BATCHES, view, 2))
    got = shown(serial.pictures(BATCHES, view, 2))
    assert got.equal(expected)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_reflecting_padding_equals_that_of_the_memory_backend(stored):
    view = View(PadCrop(3, reflect=True), flip=True, size=SIZE)
    expected = shown(MemoryReader(photographs()).pictures(BATCHES, view, 0))
    assert shown(reader(stored, reflect=True).pictures(BATCHES, view, 0)).equal(expected)


@pytest.mark.parametrize("crop", [ResizedCrop(), RandomCrop(0.6), RandomCrop(0.6, squash=True)], ids=repr)
def test_resized_pictures_equal_those_of_the_memory_backend_to_rounding(serial, crop):
    view = View(crop, flip=True, size=SIZE, seed=4)
    expected = shown(MemoryReader(photographs()).pictures(BATCHES, view, 2)).int()
    got = shown(serial.pictures(BATCHES, view, 2)).int()
    assert (got - expected).abs().max() <= 1


def test_jpegs_are_decoded(tmp_path):
    compressed = write_beton(tmp_path / "jpeg.beton", photographs(), beton.JPEG)
    got = shown(reader(compressed).pictures(BATCHES, View(CentreCrop(), False, SIZE), 0))
    expected = torch.from_numpy(photographs()).permute(0, 3, 1, 2)
    assert (got.float() - expected.float()).abs().mean() < 3


@pytest.mark.slow
def test_augmentation_does_not_depend_on_the_number_of_workers(stored, serial):
    view = View(ResizedCrop(), flip=True, size=SIZE, seed=1)
    expected = shown(serial.pictures(BATCHES, view, 5))
    for workers in (2, 8):  # 8 is clamped to the cores
        assert shown(reader(stored, workers=workers).pictures(BATCHES, view, 5)).equal(expected)


def test_batches_own_their_storage(serial):
    view = View(CentreCrop(), False, SIZE)
    kept = list(serial.pictures(BATCHES, view, 0))
    copies = [pictures.clone() for pictures in kept]
    list(serial.pictures(BATCHES, view, 1))
    assert all(pictures.equal(copy) for pictures, copy in zip(kept, copies, strict=True))


@pytest.mark.parametrize("taken", [1, 2, len(BATCHES) - 1, len(BATCHES)])
def test_a_pass_that_is_abandoned_leaves_no_thread(serial, taken):
    before = threading.active_count()
    for _ in range(3):
        pictures = serial.pictures(BATCHES, View(CentreCrop(), False, SIZE), 0)
        for _ in range(taken):
            next(pictures)
        pictures.close()
    assert threading.active_count() == before


def test_a_break_out_of_a_loader_leaves_no_thread_and_no_buffers(serial):
    from xnorlit.data.ffcv_reader import _Pass

    samples = Samples(serial, np.zeros(COUNT, np.int64), np.arange(COUNT))
    loader = BatchLoader(samples, View(PadCrop(2), True, SIZE), 8, shuffle=True)
    before = threading.active_count()
    for _ in range(5):
        for _ in loader:
            break
    gc.collect()
    assert threading.active_count() == before
    assert not [each for each in gc.get_objects() if type(each) is _Pass]


def test_leaving_does_not_wait_for_the_rest_of_the_epoch(serial, monkeypatch):
    decoded = []
    from xnorlit.data.ffcv_reader import _Pass

    original = _Pass.run_pipeline
    monkeypatch.setattr(_Pass, "run_pipeline", lambda self, *rest: decoded.append(1) or original(self, *rest))
    many = [np.arange(8)] * 500
    pictures = serial.pictures(many, View(CentreCrop(), False, SIZE), 0)
    next(pictures)
    pictures.close()
    assert 1 <= len(decoded) < 20


@pytest.mark.parametrize("good", [0, 2])
def test_an_exception_in_the_worker_is_raised_not_waited_for(serial, monkeypatch, good):
    from xnorlit.data.ffcv_reader import _Pass

    original, calls = _Pass.run_pipeline, []

    def failing(self, *rest):
        calls.append(1)
        if len(calls) > good:
            raise ZeroDivisionError("planted")
        return original(self, *rest)

    monkeypatch.setattr(_Pass, "run_pipeline", failing)
    pictures = serial.pictures(BATCHES, View(CentreCrop(), False, SIZE), 0)
    for _ in range(good):
        next(pictures)
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="stopped before the last batch") as caught:
        next(pictures)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert threading.active_count() <= before


def test_a_damaged_jpeg_is_an_error_not_a_flat_picture(tmp_path):
    damaged = write_beton(tmp_path / "jpeg.beton", photographs(), beton.JPEG)
    content = bytearray(damaged.path.read_bytes())
    start = int(damaged.samples["image"]["data_ptr"][13])
    content[start : start + 200] = bytes(200)
    damaged.path.write_bytes(content)
    with pytest.raises(UserError, match=r"sample 13 in .*jpeg\.beton cannot be decoded"):
        list(reader(damaged).pictures(BATCHES, View(CentreCrop(), False, SIZE), 0))


def test_torchs_threads_stay_unchanged(stored):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        pictures = reader(stored).pictures(BATCHES, View(CentreCrop(), False, SIZE), 0)
        seen_elsewhere = []
        for _ in pictures:
            ask = threading.Thread(target=lambda: seen_elsewhere.append(torch.get_num_threads()))
            ask.start()
            ask.join()
        assert torch.get_num_threads() == 2
        assert set(seen_elsewhere) == {2}
    finally:
        torch.set_num_threads(before)


def test_two_passes_over_one_reader_do_not_mix(serial):
    train, val = View(PadCrop(3), True, SIZE), View(CentreCrop(), False, SIZE)
    interleaved = list(zip(serial.pictures(BATCHES, train, 0), serial.pictures(BATCHES[::-1], val, 0), strict=True))
    assert torch.cat([left for left, _ in interleaved]).equal(shown(serial.pictures(BATCHES, train, 0)))
    assert torch.cat([right for _, right in interleaved]).equal(shown(serial.pictures(BATCHES[::-1], val, 0)))


@pytest.mark.parametrize(
    "name", ["white space.beton", "caf\u00e9 \u2603.beton", os.fsdecode(b"latin-\xe9.beton"), "a'b\"$(c).beton"]
)
def test_a_beton_is_read_whatever_it_is_called(name, stored, tmp_path, monkeypatch):
    interpret(monkeypatch)
    path = tmp_path / name
    path.write_bytes(stored.path.read_bytes())
    view = View(CentreCrop(), False, SIZE)
    expected = shown(MemoryReader(photographs()).pictures(BATCHES, view, 0))
    assert shown(reader(beton.open_beton(path)).pictures(BATCHES, view, 0)).equal(expected)


def test_a_beton_that_changes_while_it_is_read_is_reported(stored, tmp_path, monkeypatch):
    """Overwriting in place would put other pictures under the labels of the first ones."""
    interpret(monkeypatch)
    path, view = tmp_path / "train.beton", View(CentreCrop(), False, SIZE)
    path.write_bytes(stored.path.read_bytes())
    changing = reader(beton.open_beton(path))
    pictures = changing.pictures(BATCHES, view, 0)
    next(pictures)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\0")
    os.utime(path, ns=(1, 1))
    for pass_of in (pictures, changing.pictures(BATCHES, view, 1)):
        with pytest.raises(UserError, match=r"train\.beton has changed while it was being read"):
            list(pass_of)
    path.unlink()
    with pytest.raises(UserError, match=r"train\.beton was removed while it was being read"):
        list(changing.pictures(BATCHES, view, 2))
