"""A file is written completely or not at all, and is synced to disk before it gets its name."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from xnorlit.edge import atomic
from xnorlit.errors import UserError


def left(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def target(tmp_path):
    """A file that already exists."""
    (tmp_path / "file").write_text("former")
    return tmp_path / "file"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError()])
def test_a_failed_write_leaves_the_previous_file_and_nothing_else(target, error):
    def write_half():
        with atomic.path(target) as made:
            made.write_text("ha")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert (target.read_text(), left(target.parent)) == ("former", ["file"])


def test_the_previous_file_stays_until_the_block_ends(target):
    with atomic.path(target) as made, made.open("w") as file:
        file.write("new")
        file.flush()
        assert target.read_text() == "former"
        written = made.stat().st_ino
    assert (target.read_text(), left(target.parent)) == ("new", ["file"])
    assert target.stat().st_ino == written, "renamed: a copy may stop halfway"


def test_parents_are_made_and_a_folder_appears_whole(tmp_path):
    with atomic.path(tmp_path / "a/b/folder") as made:
        made.mkdir()
        (made / "one").write_text("1")
        assert not (tmp_path / "a/b/folder").exists()
    assert left(tmp_path / "a/b/folder") == ["one"]


def test_a_file_does_not_replace_a_folder(tmp_path):
    (tmp_path / "run").mkdir()
    with (
        pytest.raises(UserError, match=r"run is a folder\. Give the name of a file"),
        atomic.path(tmp_path / "run") as made,
    ):
        made.write_text("new")
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_a_folder_does_not_replace_one(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError, match="already exists"), atomic.path(tmp_path / "folder") as made:
        made.mkdir()
    assert left(tmp_path) == ["folder"]


@pytest.fixture
def order(monkeypatch):
    """The synced and renamed paths, in order."""
    done = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle):
        done.append(f"sync {Path(f'/proc/self/fd/{handle}').resolve().name}")
        fsync(handle)

    def renamed(self, to):
        done.append(f"rename {self.name}")
        return replace(self, to)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    return done


def test_content_is_synced_before_the_rename_and_the_rename_before_the_end(target, order):
    with atomic.path(target) as made:
        made.write_text("new")
    assert order == ["sync file", "rename file", f"sync {target.parent.name}"]


def test_each_file_of_a_folder_is_on_the_disk_before_its_name(tmp_path, order):
    with atomic.path(tmp_path / "folder") as made:
        (made / "inner").mkdir(parents=True)
        (made / "inner/file").touch()
    assert set(order[:3]) == {"sync folder", "sync inner", "sync file"}
    assert order[3] == "rename folder"


@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_failing_disk_is_an_error_but_a_disk_without_sync_is_not(target, monkeypatch, number, raises):
    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    if raises:
        with pytest.raises(OSError, match=os.strerror(number)), atomic.path(target) as made:
            made.write_text("new")
        assert target.read_text() == "former"
    else:
        with atomic.path(target) as made:
            made.write_text("new")
        assert target.read_text() == "new"
    assert left(target.parent) == ["file"]


def test_only_files_of_a_killed_process_are_removed(target):
    scratch = target.parent / "inner" / ".last.ckpt.abc.partial"
    scratch.mkdir(parents=True)
    (scratch / "last.ckpt").write_text("half")
    atomic.sweep(target.parent)
    assert left(target.parent) == ["file", "inner"]
    assert left(target.parent / "inner") == []


def test_only_the_files_of_one_target_are_removed(target):
    for name in (".file.abc.partial", ".file.json.abc.partial", ".other.abc.partial", "inner/.file.abc.partial"):
        (target.parent / name).mkdir(parents=True)
    atomic.sweep_beside(target)
    assert left(target.parent) == [".other.abc.partial", "file", "inner"]
    assert left(target.parent / "inner") == [".file.abc.partial"]


def test_a_folder_that_vanishes_during_a_write_hides_no_error(tmp_path):
    def write_where_nothing_is_left():
        with atomic.path(tmp_path / "inner" / "file"):
            shutil.rmtree(tmp_path / "inner")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_where_nothing_is_left()


def test_unremovable_or_missing_files_are_skipped(tmp_path, monkeypatch):
    for path in ("one", "two"):
        (tmp_path / f".{path}.partial").mkdir()
        (tmp_path / f".{path}.partial" / ".inner.partial").touch()  # listed, and removed with its folder
    real = os.rmdir

    def busy(path, **given):
        if Path(path).name == ".one.partial":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        real(path, **given)

    monkeypatch.setattr(os, "rmdir", busy)
    atomic.sweep(tmp_path)
    assert left(tmp_path) == [".one.partial"]
