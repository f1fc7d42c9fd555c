"""A checkpoint is read if it is intact data, and its absence, damage or code is explained."""

import errno
import os
import re
import shutil

import pytest
import torch

from xnorlit.errors import UserError
from xnorlit.training import checkpoints
from xnorlit.training.checkpoints import Checkpoints, load, load_weights, newest, where


def content(step=1200, epoch=1, completed=0, started=2, processed=2, **more):
    progress = {"current": {"started": started, "processed": processed}}
    loops = {"epoch_loop.batch_progress": {"current": {"completed": completed}}, "epoch_progress": progress}
    state = {"net.a": torch.arange(400.0), "net.b.net.c": torch.ones(2), "train_top1.tp": torch.ones(1)}
    made = {"state_dict": state, "pytorch-lightning_version": "2.5", "global_step": step, "epoch": epoch}
    return {**made, "loops": {"fit_loop": loops}, **more}


def saved(file, **more):
    file.parent.mkdir(exist_ok=True)
    torch.save(content(**more), file)
    return file


def damaged(file):
    whole = file.read_bytes()
    file.write_bytes(whole[:1500] + bytes([whole[1500] ^ 1]) + whole[1501:])


# --- where it continues -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("position", "said"),
    [
        ({"completed": 0}, "at step 1,200, in epoch 3"),  # between epochs, epoch is the index of the last one
        ({"completed": 3, "started": 2, "processed": 1}, "at step 1,200, in epoch 2"),
        ({"completed": 3, "started": 2, "processed": 2}, "at step 1,200, in epoch 3"),
        ({"completed": 0, "started": 2, "processed": 1}, "at step 1,200, in epoch 3"),
    ],
)
def test_the_step_and_the_epoch_at_which_training_goes_on(position, said):
    assert where(content(**position)) == said


# --- the newest that is intact ----------------------------------------------------------------------------------------
def test_the_last_one_is_the_newest_and_the_previous_one_replaces_a_missing_one(tmp_path, capsys):
    previous, last = saved(tmp_path / "previous.ckpt", step=1), saved(tmp_path / "last.ckpt", step=2)
    file, found = newest(tmp_path)
    assert (file, found["global_step"]) == (last, 2)
    last.unlink()
    file, found = newest(tmp_path)
    assert (file, found["global_step"]) == (previous, 1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_damaged_one_is_moved_aside_by_the_first_process_alone(rank, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", rank)
    previous, last = saved(tmp_path / "previous.ckpt", step=1), saved(tmp_path / "last.ckpt", step=2)
    damaged(last)
    assert newest(tmp_path)[0] == previous
    first = rank == "0"
    assert (last.exists(), (tmp_path / "damaged.ckpt").exists()) == (not first, first)
    said = capsys.readouterr().out
    assert ("Using the previous one: " in said and "at step 1, in epoch 3" in said) is first


def test_no_intact_one_is_an_error_that_names_each(tmp_path):
    for name in ("last.ckpt", "previous.ckpt"):
        damaged(saved(tmp_path / name))
    with pytest.raises(
        UserError, match=r"last\.ckpt is not.*\n.*previous\.ckpt is not.*\nNo checkpoint can be resumed"
    ):
        newest(tmp_path)


# --- reading ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("read", [load, load_weights])
def test_what_is_no_checkpoint_is_refused_with_its_size(read, tmp_path):
    with pytest.raises(UserError, match=r"there is no checkpoint .*gone\.ckpt\. Expected RUN"):
        read(tmp_path / "gone.ckpt")
    file = saved(tmp_path / "net.ckpt")
    whole = file.read_bytes()
    flipped = whole[:1500] + bytes([whole[1500] ^ 1]) + whole[1501:]
    for part in (b"", b"text", b"a: 1", b"\x80\x02.", bytes(99), whole[:1000], whole[:-30], flipped):
        file.write_bytes(part)
        with pytest.raises(UserError, match=rf"net\.ckpt is not .* or it is damaged \({len(part):,} bytes\)"):
            read(file)
    torch.save([1, 2], file)
    with pytest.raises(UserError, match="is not a checkpoint"):
        read(file)


def test_too_little_memory_is_not_blamed_on_the_file(tmp_path, monkeypatch):
    def exhausted(*given, **options):
        raise MemoryError

    file = saved(tmp_path / "net.ckpt")
    monkeypatch.setattr(torch, "load", exhausted)
    with pytest.raises(MemoryError):
        load(file)


@pytest.mark.parametrize("missing", ["state_dict", "pytorch-lightning_version"])
def test_a_checkpoint_has_a_state_and_lightnings_version(missing, tmp_path):
    made = content()
    del made[missing]
    torch.save(made, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="is not a checkpoint"):
        load(tmp_path / "a.ckpt")


def test_code_is_refused_unless_the_file_is_trusted(tmp_path):
    torch.save(content(code=shutil.rmtree), tmp_path / "a.ckpt")
    reader = Checkpoints()
    for trusting in (None, True):
        with pytest.raises(UserError, match=r"contains code besides weights.*--weights_only false"):
            reader.load_checkpoint(tmp_path / "a.ckpt", weights_only=trusting)
    assert reader.load_checkpoint(tmp_path / "a.ckpt", weights_only=False)["code"] is shutil.rmtree
    with pytest.raises(UserError, match="code besides weights"):
        load(tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"code besides weights.*Save the state dict alone"):
        load_weights(tmp_path / "a.ckpt")


def test_an_error_of_the_disk_is_not_called_damage(tmp_path, monkeypatch):
    file = saved(tmp_path / "a.ckpt")

    def fail(code):
        monkeypatch.setattr(torch, "load", lambda *_, **__: (_ for _ in ()).throw(OSError(code, os.strerror(code))))

    fail(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        load(file)
    fail(errno.EINVAL)
    with pytest.raises(UserError, match="is not a checkpoint"):
        load(file)


def test_weights_are_those_of_the_network_or_all_of_a_plain_file(tmp_path):
    found = load_weights(saved(tmp_path / "a.ckpt"))
    assert {key: len(value) for key, value in found.items()} == {"a": 400, "b.net.c": 2}
    torch.save({"net.a": torch.ones(3), "b": torch.ones(4)}, tmp_path / "plain.pth")
    assert {key: len(value) for key, value in load_weights(tmp_path / "plain.pth").items()} == {"net.a": 3, "b": 4}


@pytest.mark.parametrize("state", [{}, {"a": torch.ones(1), "b": 3}, {"state_dict": [torch.ones(1)]}])
def test_a_file_without_tensors_or_with_more_is_refused(state, tmp_path):
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(UserError, match="is not a checkpoint"):
        load_weights(tmp_path / "a.pth")


def test_weights_of_other_classes_are_refused_where_classes_are_asked_for(tmp_path):
    file = saved(tmp_path / "a.ckpt", xnorlit={"classes": ["ant", "bee"]})
    for classes in ((), ("ant", "bee")):
        assert load_weights(file, classes).keys() == {"a", "b.net.c"}
    with pytest.raises(UserError, match=r"a\.ckpt was trained on 2 classes, but the images have 1 .*torch\.save"):
        load_weights(file, ("ant",))
    assert load_weights(saved(tmp_path / "b.ckpt"), ("ant",)).keys() == {"a", "b.net.c"}, "it does not say its classes"


# --- a full disk ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("former", [[], ["last.ckpt"], ["last.ckpt", "best.ckpt"]])
def test_a_full_disk_or_quota_is_named_with_what_is_left(code, former, tmp_path, monkeypatch):
    for name in former:
        saved(tmp_path / name)

    def full(*_):
        try:
            raise OSError(code, os.strerror(code))
        except OSError as error:
            raise RuntimeError("torch's writer failed") from error

    monkeypatch.setattr(torch, "save", full)
    kept = "the previous best.ckpt is intact" if "best.ckpt" in former else "no partial file was left"
    remedy = "--run.resume auto" if former else "--run.fresh true"
    told = rf"no space left in {re.escape(str(tmp_path))} for the checkpoint best\.ckpt; {kept}\..* with {remedy} to "
    with pytest.raises(UserError, match=told):
        Checkpoints().save_checkpoint({}, tmp_path / "best.ckpt")
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(former)


def test_any_other_error_of_writing_is_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(RuntimeError("no such type")))
    with pytest.raises(RuntimeError, match="no such type"):
        Checkpoints().save_checkpoint({}, tmp_path / "best.ckpt")


def test_an_error_while_a_full_disk_is_handled_counts_too():
    handling = ValueError("while it was handled")
    handling.__context__ = OSError(errno.ENOSPC, "full")
    assert checkpoints._disk_is_full(handling)
    assert not checkpoints._disk_is_full(ValueError(errno.ENOSPC))
    assert not checkpoints._disk_is_full(OSError(errno.EIO, "no"))
    assert not checkpoints._disk_is_full(None)


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_only_the_last_checkpoint_has_a_predecessor(name, tmp_path):
    for number in range(3):
        Checkpoints().save_checkpoint({"number": number}, str(tmp_path / name))
    names = {name, "previous.ckpt"} if name == "last.ckpt" else {name}
    assert {each.name for each in tmp_path.iterdir()} == names


def test_a_leftover_of_a_killed_process_is_no_obstacle(tmp_path):
    Checkpoints().save_checkpoint({"number": 0}, tmp_path / "last.ckpt")
    (tmp_path / ".previous.ckpt.partial").write_bytes(b"half")
    Checkpoints().save_checkpoint({"number": 1}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "previous.ckpt", weights_only=True) == {"number": 0}
    assert {each.name for each in tmp_path.iterdir()} == {"last.ckpt", "previous.ckpt"}
