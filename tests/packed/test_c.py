"""C loads what Python loads, refuses what it refuses, and computes the same bits."""

import ctypes
import random
import threading

import numpy as np
import pytest

from tests.packed import door, fuzz, tiny
from tests.packed.mutation import Corpus
from xnorlit.errors import UserError
from xnorlit.packed import _kernels, load
from xnorlit.packed.trained import list_trained, located

FILES = sorted(fuzz.CORPUS.glob("*.safetensors"))


def check(content, network, images, isa=""):
    """C gives the bits that Python gives, in the same memory."""
    found = door.Network(content, isa, threads=2)
    assert found.resident_bytes == network.resident_bytes
    assert found.arena_bytes == network._engine.arena_bytes
    np.testing.assert_array_equal(found(images), network(images))


@pytest.mark.parametrize("isa", _kernels.isas())
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_corpus_gives_the_same_bits(path, isa, monkeypatch):
    monkeypatch.setenv("XNORLIT_KERNEL", isa)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    check(path.read_bytes(), load(path), images, isa)


@pytest.mark.parametrize("name", list_trained())
def test_trained_networks_give_the_same_bits(name):
    network, content = load(name), located(name).read_bytes()
    size = network.graph.image_size
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    check(content, network, images)
    found = door.Network(content)
    assert found.classes == network.classes
    assert (found.image_size, found.crop, found.squash) == (size, network.graph.crop, int(network.graph.squash))
    assert found.network_name.decode() == network.graph.network
    assert found.isa.decode() == network.isa


def test_mutated_files_are_judged_alike(tmp_path):
    """Both refuse a file for the same reason, or both load it."""
    corpus, path, loaded = Corpus(fuzz.CORPUS), tmp_path / "file", 0
    for index in range(100):
        content = corpus.mutated(random.Random(f"c {index}"))
        path.write_bytes(content)
        refused = door.refusal(content)
        if refused is None:
            assert door.Network(content).resident_bytes == load(path).resident_bytes, index
            loaded += 1
        else:
            with pytest.raises(UserError) as caught:
                load(path)
            assert str(caught.value).startswith(f"{path}: {refused}"), index
    assert 0 < loaded < 100


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, -1, -1000])
def test_a_truncated_file_is_refused(length):
    assert door.refusal(FILES[0].read_bytes()[:length])


def test_arguments_that_do_not_fit_are_refused():
    content = FILES[0].read_bytes()
    for given_, message in (
        ({"threads": -1}, "threads"),
        ({"threads": 65}, "threads"),
        ({"isa": "sse9"}, "which runs: .*portable"),
    ):
        with pytest.raises(door.RefusedError, match=message) as caught:
            door.Network(content, **given_)
        assert caught.value.code == door.BAD_ARGUMENT
    network = door.Network(content)
    pixels, logits = np.zeros(8 * 8 * 3, np.uint8), np.zeros(5, np.float32)
    network.run(pixels, logits)
    for some, more in ((pixels[:-1], logits), (pixels, logits[:-1]), (pixels[:0], logits)):
        with pytest.raises(door.RefusedError) as caught:
            network.run(some, more)
        assert caught.value.code == door.BAD_ARGUMENT


def test_null_pointers_are_refused_or_do_nothing():
    null, handle = None, door.POINTER()
    load_, run = door.function("load"), door.function("run")
    assert load_(b"", 0, null, null, null) == door.BAD_ARGUMENT
    assert load_(null, 8, null, ctypes.byref(handle), null) == door.BAD_ARGUMENT
    assert load_(null, 0, null, ctypes.byref(handle), null) == door.BAD_FILE
    assert run(null, null, 0, null, 0, null) == door.BAD_ARGUMENT
    door.function("free")(null)
    for name in ("image_size", "pixel_count", "class_count", "resident_bytes", "arena_bytes", "crop", "squash"):
        assert door.function(name)(null) == 0
    assert [door.function(name)(null) for name in ("network_name", "isa")] == [None, None]
    assert door.function("class_name")(null, 0) is None


def test_a_message_is_whole_utf_8_however_long():
    header, graph, data = tiny.parts(FILES[0].read_bytes())
    for surplus in ("é" * 300, "\ud83d half a character", "a" * 10**5):
        message = door.refusal(tiny.joined(header, {**graph, surplus: 1}, data))
        assert message.startswith("unknown key '")


def test_threads_share_a_network():
    path = FILES[-1]
    network, shared = load(path), door.Network(path.read_bytes(), threads=2)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    expected, wrong = network(images), []

    def work(which):
        for _ in range(20):
            if not np.array_equal(shared(images[which : which + 1])[0], expected[which]):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
