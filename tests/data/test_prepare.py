import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import HOSTILE, photographs
from xnorlit.data import CentreCrop, backends, beton, beton_writer, sidecar, sources
from xnorlit.data.augment import View
from xnorlit.data.prepare import prepare, write_splits
from xnorlit.data.storage import Storage
from xnorlit.edge.names import printable
from xnorlit.errors import UserError


def stored_images(path):
    opened = beton.open_beton(path)
    content = path.read_bytes()
    for sample, size in zip(opened.samples["image"], opened.sizes, strict=True):
        start = int(sample["data_ptr"])
        yield sample, content[start : start + size]


def listed(folder):
    return sorted(path.name for path in folder.rglob("*") if not path.name.endswith(".verified"))


def test_a_tree_becomes_two_betons_with_sidecars(tree, tmp_path):
    prepared = prepare(tree, tmp_path / "out", jpeg=0)
    assert listed(tmp_path / "out") == ["train.beton", "train.beton.json", "val.beton", "val.beton.json"]
    assert (prepared["train"].samples, prepared["val"].samples) == (60, 15)
    images = photographs()
    expected = [images[index] for first in range(3) for index in range(first, 60, 3)]  # class by class
    for (_, data), image in zip(stored_images(prepared["train"].path), expected, strict=True):
        assert data == image.tobytes()


def test_the_sidecar_says_what_is_in_the_file(tree, tmp_path):
    path = prepare(tree, tmp_path / "out", quality=80)["train"].path
    written = json.loads(sidecar.path_of(path).read_text())
    assert written["classes"] == ["a", "b", "c"]
    assert written["counts"] == {"a": 20, "b": 20, "c": 20}
    assert written["samples"] == 60
    assert written["beton_sha256"] == sidecar.file_sha256(path)
    assert written["beton_bytes"] == path.stat().st_size
    assert written["listing_sha256"] == written["source_listing_sha256"]
    assert written["options"] == {"shorter_side": None, "longest_side": None, "jpeg": 1.0, "quality": 80}
    assert (written["source"], written["skipped"]) == ("tree", [])


def test_equal_inputs_give_equal_bytes_for_any_number_of_threads(tree, tmp_path):
    hashes = {
        sidecar.file_sha256(prepare(tree, tmp_path / f"out{workers}", workers=workers, jpeg=0.5)["train"].path)
        for workers in (1, 2, 5)
    }
    assert len(hashes) == 1


def test_the_mix_of_raw_and_jpeg_is_the_asked_share():
    image = Image.fromarray(photographs(1)[0])
    modes = [Storage(jpeg=0.25).encode(image, index)[0] for index in range(2000)]
    assert abs(modes.count(beton.JPEG) / 2000 - 0.25) < 0.04


@pytest.mark.parametrize(
    ("storage", "size"),
    [
        (Storage(shorter_side=50), (75, 50)),
        (Storage(longest_side=60), (60, 40)),
        (Storage(shorter_side=200), (150, 100)),
        (Storage(), (150, 100)),
    ],
)
def test_larger_images_are_reduced_to_the_asked_side_and_never_enlarged(storage, size):
    assert storage.resized(Image.new("RGB", (150, 100))).size == size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shorter_side": 1, "longest_side": 1}, "Expected at most one"),
        ({"shorter_side": 0}, r"--shorter-side is 0\. Expected a number of pixels"),
        ({"jpeg": 1.5}, r"--jpeg is 1\.5\. Expected a share from 0"),
        ({"quality": 0}, r"--quality is 0\. Expected a JPEG quality from 1 to 100"),
    ],
)
def test_invalid_options_are_refused(tree, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        prepare(tree, tmp_path / "out", **options)


def test_an_unreadable_file_stops_with_its_name_and_leaves_nothing(tree, tmp_path):
    (tree / "train/b/031.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"031\.png cannot be read as an image"):
        prepare(tree, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_skip_bad_lists_and_counts_them(tree, tmp_path, capsys):
    for name in ("b/031.png", "c/002.png"):
        (tree / "train" / name).write_bytes(b"broken")
    prepared = prepare(tree, tmp_path / "out", skip_bad=True)["train"]
    written = sidecar.load(prepared.path)
    assert [each["name"] for each in written.skipped] == ["b/031.png", "c/002.png"]
    assert all("identify" in each["reason"] for each in written.skipped)
    assert (written.samples, written.counts) == (58, {"a": 20, "b": 19, "c": 19})
    assert written.listing_sha256 != written.source_listing_sha256
    assert beton.open_beton(prepared.path).labels.tolist() == [0] * 20 + [1] * 19 + [2] * 19
    printed = capsys.readouterr().out
    assert "2 unreadable files were skipped" in printed
    assert "skipped b/031.png" in printed
    sidecar.verify(prepared.path)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_of_any_name_is_stored_or_skipped_and_its_name_printed(tree, tmp_path, capsys, split, name):
    (tree / split / "a/000.png").rename(tree / split / "a" / os.fsdecode(name))
    assert prepare(tree, tmp_path / "out")[split].samples == {"train": 60, "val": 15}[split]
    (tree / split / "a" / os.fsdecode(name)).write_bytes(b"broken")
    prepared = prepare(tree, tmp_path / "skipped", skip_bad=True)[split]
    (skipped,) = sidecar.load(prepared.path).skipped
    assert skipped["name"] == printable(f"a/{os.fsdecode(name)}")
    printed = capsys.readouterr().out
    assert f"skipped {skipped['name'].splitlines()[0]}" in printed
    assert "\x1b" not in printed
    with pytest.raises(UserError, match="cannot be read as an image"):
        prepare(tree, tmp_path / "refused")


def test_links_that_lead_nowhere_and_pipes_are_skipped(tree, tmp_path):
    (tree / "train/a/gone.png").symlink_to("nowhere.png")
    (tree / "train/a/self.png").symlink_to("self.png")
    os.mkfifo(tree / "train/a/pipe.png")
    prepared = prepare(tree, tmp_path / "out", skip_bad=True)["train"]
    assert [each["name"] for each in prepared.skipped] == ["a/gone.png", "a/pipe.png", "a/self.png"]


def test_invalid_metadata_stops_nothing(tree, tmp_path):
    odd = b"Exif\0\0II*\0\x08\0\0\0\1\0\x1a\1\2\0\4\0\0\0" + b"72x\0" + bytes(4)
    Image.new("RGB", (16, 16)).save(tree / "train/a/odd.jpg", exif=odd)
    assert prepare(tree, tmp_path / "out")["train"].samples == 61


def test_a_kill_between_the_renames_leaves_no_sidecar_without_its_beton(tree, tmp_path, monkeypatch):
    """A .beton without a sidecar is refused, but a sidecar without its .beton would look like a prepared set."""
    rename, done = Path.replace, []

    def stopped(self, target):
        if target.parent == tmp_path / "out" and len(done) == stop_after:
            raise KeyboardInterrupt
        done.append(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", stopped)
    for stop_after in range(4):
        done.clear()
        with pytest.raises(KeyboardInterrupt):
            prepare(tree, tmp_path / "out", overwrite=True)
        left = set(listed(tmp_path / "out")) if (tmp_path / "out").exists() else set()
        assert len(left) == stop_after
        assert {name.removesuffix(".json") for name in left if name.endswith(".json")} <= left
        for file in (tmp_path / "out").glob("*"):
            file.unlink()


def test_a_class_with_unreadable_images_only_is_named(tree, tmp_path):
    for path in (tree / "train/b").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(UserError, match="every image of class b is unreadable"):
        prepare(tree, tmp_path / "out", skip_bad=True)


def test_a_second_run_reuses_what_is_there(tree, tmp_path, capsys):
    first = prepare(tree, tmp_path / "out")["train"]
    time_before = first.path.stat().st_mtime_ns
    assert prepare(tree, tmp_path / "out") == prepare(tree, tmp_path / "out")
    assert first.path.stat().st_mtime_ns == time_before
    assert "holds these images already" in capsys.readouterr().out


def test_files_of_other_options_are_not_replaced(tree, tmp_path):
    first = prepare(tree, tmp_path / "out")["train"]
    content = first.path.read_bytes()
    with pytest.raises(UserError, match=r"exists but was written from other images or options.*--overwrite"):
        prepare(tree, tmp_path / "out", quality=50)
    assert first.path.read_bytes() == content
    prepare(tree, tmp_path / "out", quality=50, overwrite=True)
    assert sidecar.verify(first.path)[1].options["quality"] == 50


def test_a_damaged_file_in_the_place_is_named_and_can_be_overwritten(tree, tmp_path):
    path = prepare(tree, tmp_path / "out")["train"].path
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"train\.beton is not a complete \.beton.*--overwrite"):
        prepare(tree, tmp_path / "out")
    prepare(tree, tmp_path / "out", overwrite=True)
    sidecar.verify(path)


def test_too_little_space_is_noticed_before_writing(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(beton, "free_bytes", lambda folder: 10_000)
    monkeypatch.setattr(beton_writer, "write", lambda *_: pytest.fail("it wrote"))
    with pytest.raises(UserError, match=r"not enough space in .*: about 0\.02 GB are needed, 0\.00 GB are free"):
        prepare(tree, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_no_partial_file(tree, tmp_path, monkeypatch):
    original = beton_writer.write

    def full(path, samples, limit):
        original(path, samples, limit)
        if path.name == "val.beton":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(beton_writer, "write", full)
    with pytest.raises(UserError, match=r"no space left in .*out; partial output was removed"):
        prepare(tree, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_interruption_leaves_no_file_and_no_thread(tree, tmp_path, monkeypatch):
    original = Storage.encode

    def interrupted(self, image, index):
        if index == 40:
            raise KeyboardInterrupt
        return original(self, image, index)

    monkeypatch.setattr(Storage, "encode", interrupted)
    monkeypatch.setattr("xnorlit.data.prepare._check_space", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        prepare(tree, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prepare")]


@pytest.mark.slow
def test_ctrl_c_leaves_no_file_no_process_and_no_shared_memory(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)
    for split in ("train", "val"):
        for name in "ab":
            folder = tmp_path / "tree" / split / name
            folder.mkdir(parents=True)
            Image.fromarray(noise).save(folder / "0.jpg")
            for index in range(1, 300):
                (folder / f"{index}.jpg").hardlink_to(folder / "0.jpg")
    shared_before = set(Path("/dev/shm").iterdir()) if Path("/dev/shm").is_dir() else set()
    program = "import sys, pathlib, xnorlit.data.prepare as p; p.prepare(*map(pathlib.Path, sys.argv[1:]))"
    command = [sys.executable, "-c", program, str(tmp_path / "tree"), str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/.train.beton.*/train.beton")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) != 0
    assert not (tmp_path / "out").exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nothing of its session is left
    if shared_before:
        assert set(Path("/dev/shm").iterdir()) <= shared_before


def test_every_kind_of_image_is_stored_as_rgb(tree, tmp_path):
    folder = tree / "train/a"
    grey = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1))
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(np.stack([grey] * 3, -1)).convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    Image.new("RGBA", (16, 16), (9, 9, 9, 0)).save(folder / "clear.png")
    Image.new("RGB", (1, 1), (3, 2, 1)).save(folder / "tiny.png")
    path = prepare(tree, tmp_path / "out", jpeg=0)["train"].path
    names = sorted(child.name for child in folder.iterdir())
    stored = dict(zip(names, stored_images(path), strict=False))
    as_array = {
        name: np.frombuffer(data, np.uint8).reshape(sample["height"], sample["width"], 3)
        for name, (sample, data) in stored.items()
    }
    assert (as_array["grey.png"] == grey[..., None]).all()
    assert (as_array["deep.png"] == grey[..., None]).all()
    assert np.abs(as_array["cmyk.jpg"].astype(int) - grey[..., None]).max() < 12
    assert (as_array["clear.png"] == 255).all()
    assert as_array["tiny.png"].tolist() == [[[3, 2, 1]]]


# --- the cache of a training --------------------------------------------------------------------------------------
@pytest.fixture
def cached(tree, tmp_path, monkeypatch):
    """What makes the .beton files that a training on FFCV reads, and returns them by split."""
    monkeypatch.setattr(backends, "_ffcv", lambda parts, *_: {split: part.beton.path for split, part in parts.items()})
    view = View(CentreCrop(1.0), flip=False, size=16)

    def make():
        source = sources.find(str(tree), tmp_path, image_size=16)
        return backends._prepared(source, source.splits, {"train": view, "val": view}, 8, 1, tmp_path, "as asked")

    return make


def test_two_trainings_prepare_their_cache_once_and_the_second_waits(cached, monkeypatch):
    """A second one that wrote the same files again would end the first, which reads them already."""
    waiting, written, found = threading.Event(), [], []

    def write(*given, **options):
        written.append(given[1])
        assert waiting.wait(10)
        write_splits(*given, **options)

    monkeypatch.setattr(backends, "say", lambda text: waiting.set() if text.startswith("waiting for") else None)
    monkeypatch.setattr(backends, "write_splits", write)
    both = [threading.Thread(target=lambda: found.append(cached())) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(30)
    assert len(written) == 1
    assert found == [{split: written[0] / f"{split}.beton" for split in ("train", "val")}] * 2
    assert not (written[0] / ".lock").exists()


@pytest.mark.parametrize("stop_after", range(5))
def test_a_kill_while_the_cache_is_put_in_place_blocks_no_later_training(cached, monkeypatch, stop_after):
    whole = {split: (path, path.read_bytes()) for split, path in cached().items()}
    for path, _ in whole.values():
        path.unlink()
        sidecar.path_of(path).unlink()
    rename, done = Path.replace, []

    def stopped(self, target):
        if "prepared" in target.parts and len(done) == stop_after:
            raise KeyboardInterrupt
        done.append(target)
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            cached()
    for split, path in cached().items():
        assert (path, path.read_bytes()) == whole[split]
        sidecar.verify(path)


def test_what_a_killed_process_left_is_removed_before_the_space_is_measured(tree, tmp_path, monkeypatch):
    lost = [tmp_path / "out" / f".{name}.abc.partial" for name in ("train.beton", "val.beton", "val.beton.json")]
    for folder in lost:
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(bytes(10))
    monkeypatch.setattr(beton, "free_bytes", lambda _: 0 if any(map(Path.exists, lost)) else 1 << 40)
    prepare(tree, tmp_path / "out")
    assert listed(tmp_path / "out") == ["train.beton", "train.beton.json", "val.beton", "val.beton.json"]
