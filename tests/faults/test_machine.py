"""Machine faults during a run: full disks, vanishing folders, dying workers, jumping clocks."""

import ctypes
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.faults import forked
from tests.faults.test_kills import finish
from xnorlit.data.tree import ImageFiles
from xnorlit.training.saving import Saving

LIBC = ctypes.CDLL(None, use_errno=True)
NEW_MOUNTS, PRIVATE, AGAIN = 0x20000, (1 << 14) | (1 << 18), 1 << 5  # of <sched.h> and <sys/mount.h>


def disk(folder, size, flags=0):
    """Mount a small disk over a folder, for this process and its children."""
    text = f"size={size}".encode()
    if LIBC.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, text):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def own_mounts():
    if LIBC.unshare(NEW_MOUNTS) or LIBC.mount(b"none", b"/", None, PRIVATE, None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def may_mount():
    if (child := os.fork()) == 0:
        try:
            own_mounts()
            disk("/tmp", 4096)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


needs_mounts = pytest.mark.skipif(not may_mount(), reason="mounting needs a root of its own")


@needs_mounts
@pytest.mark.parametrize("kib", [4, 12, 24, 48, 80, 120, 160])
def test_a_full_disk_ends_the_run_with_a_message_and_it_resumes_when_there_is_space(kib, photos, whole, tmp_path):
    """The disk may fill up while writing settings, curves, predictions, checkpoints or the summary."""
    root, found = tmp_path / "disk", tmp_path / "found"
    root.mkdir()

    def prepare():
        own_mounts()
        disk(root, kib << 10)
        line = forked.words(photos, root)
        statuses = [forked.main(line)]
        disk(root, 64 << 20, AGAIN)
        statuses.append(forked.main(line))
        found.write_text(json.dumps([statuses, forked.differences(whole.folder, forked.folder(root))]))

    training = forked.Training(["--version"], tmp_path / "log", prepare)
    assert training.wait() == 0, training.said
    assert json.loads(found.read_text()) == [[2, 0], []], training.said
    assert "o space " in training.said
    assert "unexpected" not in training.said


@needs_mounts
def test_a_shared_memory_that_is_too_small_is_named_and_is_not_needed_for_pictures(photos, tmp_path):
    """Docker provides 64 MiB. Pictures go through pipes; locks need a few kilobytes there."""
    source = many_sizes(tmp_path / "pictures")
    line = forked.words(source, tmp_path / "runs", data__workers=2)

    def with_bytes(size):
        def prepare():
            own_mounts()
            disk("/dev/shm", size)

        return prepare

    training = forked.Training(line, tmp_path / "small", with_bytes(4096))
    assert training.wait() == 2, training.said
    assert "the 2 processes that read images cannot start" in training.said
    assert "--shm-size" in training.said
    forked.train(line, tmp_path / "log", with_bytes(256 << 10))


def many_sizes(root):
    """Pictures of several sizes, which are read again in each epoch."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 32), ("val", 6)):
        for index in range(count):
            folder = root / split / "abc"[index % 3]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 255, (32 + index % 3, 33, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    return root


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_killed_loader_process_ends_the_run_with_a_message_and_it_resumes(split, tmp_path):
    source = many_sizes(tmp_path / "pictures")
    forked.train(forked.words(source, tmp_path / "whole"), tmp_path / "log")
    line = forked.words(source, tmp_path / "killed", data__workers=1)
    trainer = os.getpid()

    def prepare():
        real, read, mine = ImageFiles.open, [], os.getpid()

        def deadly(self, index):
            read.append(index)
            if (
                self.root.name == split
                and os.getpid() not in (mine, trainer)
                and len(read) == 5 + 32 * (split == "train")
            ):
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, index)

        ImageFiles.open = deadly

    training = forked.Training(line, tmp_path / "log", prepare)
    assert training.wait() == 2, training.said
    assert "a process that reads images has died (DataLoader worker (pid" in training.said
    forked.train(line, tmp_path / "log")
    assert forked.differences(*(forked.folder(tmp_path / root) for root in ("whole", "killed"))) == []


@pytest.mark.parametrize("gone", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("elsewhere"))])
@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_validation_start", "on_train_end"])
def test_a_vanished_folder_is_not_written_to(hook, gone, photos, whole, tmp_path):
    line = forked.words(photos, tmp_path)

    def prepare():
        real, calls = getattr(Saving, hook), []

        def vanish(self, trainer, *given):
            calls.append(None)
            if len(calls) == (11 if "batch" in hook else 2 if "validation" in hook else 1):
                gone(self.record.folder)
            return real(self, trainer, *given)

        setattr(Saving, hook, vanish)

    training = forked.Training(line, tmp_path / "log", prepare)
    assert training.wait() == 2, training.said
    assert "seed-0 was moved or removed while" in training.said
    assert not list(tmp_path.glob("*/*/*/seed-0"))
    for elsewhere in tmp_path.glob("*/*/*/elsewhere"):
        elsewhere.rename(elsewhere.with_name("seed-0"))
    finish(line, tmp_path, whole)


def test_a_clock_that_is_set_back_changes_nothing(photos, whole, tmp_path):
    line = forked.words(photos, tmp_path, run__checkpoint_minutes=0.003)

    def prepare():
        real, back = time.time, [0.0]

        def earlier():
            back[0] += 3600
            return real() - back[0]

        time.time = earlier

    forked.train(line, tmp_path / "log", prepare)
    finish(line, tmp_path, whole)
    assert json.loads((forked.folder(tmp_path) / "summary.json").read_text())["train_seconds"] > 0


def test_runs_that_are_moved_aside_in_the_same_second_are_all_kept(photos, tmp_path, monkeypatch):
    from xnorlit.training import place

    monkeypatch.setattr(place.time, "strftime", lambda *_: "20260101-000000")
    for _ in range(3):
        (tmp_path / "seed-0" / "checkpoints").mkdir(parents=True, exist_ok=True)
        (tmp_path / "seed-0" / "config.yaml").touch()
        place.claim(tmp_path / "seed-0", resume=False, fresh=True).close()
    names = [f"seed-0.until-20260101-000000{end}" for end in ("", "-2", "-3")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed-0", *names]


def stopped(line, log, step=10):
    """A training that was stopped in the middle of an epoch."""

    def prepare():
        real = forked.xnorlit.commands.fit.Classifier.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return real(self, batch, batch_idx)

        forked.xnorlit.commands.fit.Classifier.training_step = training_step

    training = forked.Training(line, log, prepare)
    assert training.wait() == 75, training.said


@pytest.mark.parametrize("split", ["train", "val"])
def test_pictures_that_were_replaced_under_the_same_names_are_refused_at_the_resume(split, photos, tmp_path):
    source = Path(shutil.copytree(photos, tmp_path / "pictures"))
    line = forked.words(source, tmp_path / "runs")
    stopped(line, tmp_path / "log")
    (picture, *_) = sorted((source / split).rglob("*.png"))
    before = picture.read_bytes()
    Image.new("RGB", (32, 32), (9, 9, 9)).save(picture)
    training = forked.Training(line, tmp_path / "log")
    assert training.wait() == 2, training.said
    assert f"the {split} images have changed since the run started: the names are the same" in training.said
    picture.write_bytes(before)
    forked.train(line, tmp_path / "log")


def test_a_retrained_teacher_is_refused_on_resume(photos, tmp_path):
    def arm(name, **options):
        return forked.words(photos, tmp_path, run__arm=name, **options)

    teacher = arm("float", model__binarizer="Float", trainer__max_epochs=1)
    forked.train(teacher, tmp_path / "log")
    losses = "[{class_path: Distillation, init_args: {teacher: float}}]"
    line = arm("xnor", model__binarizer="XNOR", model__losses=losses)
    stopped(line, tmp_path / "log")
    shutil.copytree(tmp_path / "unnamed", tmp_path / "kept")
    forked.train([*teacher, "--run.fresh=true", "--model.optimizer.init_args.lr=0.02"], tmp_path / "log")
    training = forked.Training(line, tmp_path / "log")
    assert training.wait() == 2, training.said
    assert "the teacher of Distillation has changed" in training.said
    shutil.rmtree(tmp_path / "unnamed" / "pair-0" / "float")
    shutil.copytree(tmp_path / "kept" / "pair-0" / "float", tmp_path / "unnamed" / "pair-0" / "float")
    forked.train(line, tmp_path / "log")
