"""A run's files are replaced atomically, synced before they get their names. A failed write damages nothing."""

import errno
import os
from pathlib import Path

import pytest
import torch

from xnorlit.edge import atomic
from xnorlit.training import checkpoints, record
from xnorlit.training.loggers import MetricsFile
from xnorlit.training.predictions import write


def failing(monkeypatch, name):
    """A file method that writes half of the data and then fails."""

    def method(self, content, *_, **__):
        with open(self, "wb") as file:  # noqa: PTH123 - Path's own methods are what fails
            file.write(b"half")
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, name, method)


def test_a_text_that_cannot_be_written_leaves_the_previous_one(tmp_path, monkeypatch):
    file = tmp_path / "summary.json"
    record._write_text(file, "whole")
    failing(monkeypatch, "write_text")
    with pytest.raises(OSError, match="Input/output"):
        record._write_text(file, "another")
    monkeypatch.undo()
    assert file.read_text() == "whole"
    assert [each.name for each in tmp_path.iterdir()] == ["summary.json"]


def test_predictions_that_cannot_be_written_leave_the_previous_ones(tmp_path, monkeypatch):
    file = tmp_path / "predictions.safetensors"
    write({"index": torch.arange(3)}, file)
    before = file.read_bytes()
    failing(monkeypatch, "write_bytes")
    with pytest.raises(OSError, match="Input/output"):
        write({"index": torch.arange(5)}, file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one(name, tmp_path, monkeypatch):
    file, saver = tmp_path / name, checkpoints.Checkpoints()
    saver.save_checkpoint({"weight": torch.zeros(9)}, file)
    before = file.read_bytes()

    def save(content, opened):
        opened.write(b"half")
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="Input/output"):
        saver.save_checkpoint({"weight": torch.ones(9)}, file)
    assert file.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("links", [True, False])
def test_the_predecessor_of_the_last_checkpoint_stays(links, tmp_path, monkeypatch):
    """On a file system without hard links, too."""
    if not links:

        def refuse(*_):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    saver = checkpoints.Checkpoints()
    for number in range(3):
        saver.save_checkpoint({"number": number}, tmp_path / "last.ckpt")
    found = {file.name: torch.load(file, weights_only=True)["number"] for file in tmp_path.iterdir()}
    assert found == {"last.ckpt": 2, "previous.ckpt": 1}


def test_metrics_of_a_new_column_replace_the_file_in_one_step(tmp_path, monkeypatch):
    metrics = MetricsFile(tmp_path)
    metrics.log_metrics({"a": 1.0}, step=0)
    metrics.save()
    before = metrics.file.read_text()
    metrics.log_metrics({"b": 2.0}, step=1)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        metrics.save()
    assert metrics.file.read_text() == before


def test_a_resumed_run_keeps_the_rows_before_its_step_and_drops_a_torn_line(tmp_path):
    (tmp_path / "metrics.csv").write_text("a,step\n1.0,0\n2.0,1\n3.0,2\n4.0,1")
    metrics = MetricsFile(tmp_path, until_step=2)
    metrics.log_metrics({"a": 5.0}, step=2)
    metrics.save()
    assert metrics.file.read_text().split() == ["a,step", "1.0,0", "2.0,1", "5.0,2"]


def test_a_file_is_synced_before_it_gets_its_name_and_its_folder_after(tmp_path, monkeypatch):
    synced, real = [], os.fsync

    def fsync(handle):
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))  # noqa: PTH115 - not a path of ours
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic.path(tmp_path / "file") as scratch:
        scratch.write_text("content")
        inode = scratch.stat().st_ino
        assert not synced
    assert synced == [str(scratch), str(tmp_path)]
    assert (tmp_path / "file").stat().st_ino == inode, "renamed, not copied"


def test_partial_files_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / "checkpoints" / ".last.ckpt.x1.partial").mkdir(parents=True)
    (tmp_path / "checkpoints" / ".last.ckpt.x1.partial" / "last.ckpt").write_bytes(b"half")
    (tmp_path / "checkpoints" / ".previous.ckpt.partial").write_bytes(b"half")
    (tmp_path / "config.yaml").touch()
    atomic.sweep(tmp_path)
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["checkpoints", "config.yaml"]
