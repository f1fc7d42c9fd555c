"""After any end of a run, its folder holds nothing, an unfinished run or a finished one. One command handles all."""

import io
import json
import os
import random
import signal
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from tests.faults import forked
from tests.faults.test_kills import finish, killed_at
from xnorlit.errors import UserError
from xnorlit.training import saving
from xnorlit.training.checkpoints import load, where


def killed(line, root, event="an epoch is saved", number=2):
    training = forked.Training(line, root / "log", killed_at(event, number))
    assert training.wait() == -signal.SIGKILL, training.said


def ended(line, root):
    training = forked.Training(line, root / "a.log")
    status = training.wait()
    said = training.said
    training.log.unlink()
    return status, said


def test_a_finished_run_is_reported_and_left_unchanged(photos, tmp_path):
    line = forked.words(photos, tmp_path)
    forked.train(line, tmp_path / "log")
    run = forked.folder(tmp_path)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    status, said = ended(line, tmp_path)
    assert (status, "has finished (top-1 " in said) == (0, True)
    assert before == {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    status, said = ended([*line, "--trainer.max_epochs=9"], tmp_path)
    assert (status, "max_epochs: started with 3, now 9" in said) == (2, True)
    status, said = ended([*line, "--run.resume=true"], tmp_path)
    assert (status, "nothing to resume" in said) == (2, True)


def test_a_run_that_has_saved_nothing_restarts(photos, whole, tmp_path):
    line = forked.words(photos, tmp_path, trainer__max_epochs=9)
    killed(line, tmp_path, "metrics are written", 3)
    assert (forked.folder(tmp_path) / "config.yaml").is_file()
    finish(forked.words(photos, tmp_path), tmp_path, whole)


def test_fresh_starts_again(photos, whole, tmp_path):
    line = forked.words(photos, tmp_path)
    killed(line, tmp_path)
    forked.train([*line, "--run.fresh=true"], tmp_path / "log")
    assert forked.differences(whole.folder, tmp_path / "unnamed" / "pair-0" / "unnamed" / "seed-0") == []
    assert len(list(tmp_path.glob("*/*/*/seed-0.until-*"))) == 1


@pytest.mark.parametrize("damage", [lambda old: old[: len(old) // 2], lambda old: _flipped(old), lambda _: b""])
def test_a_damaged_checkpoint_is_named_and_the_previous_one_used(damage, photos, whole, tmp_path):
    line = forked.words(photos, tmp_path)
    killed(line, tmp_path, number=3)
    last = forked.folder(tmp_path) / "checkpoints" / "last.ckpt"
    last.write_bytes(damage(last.read_bytes()))
    training = forked.train(line, tmp_path / "log")
    assert f"{last} is not a checkpoint" in training.said
    assert "Using the previous one:" in training.said
    (last.parent / "damaged.ckpt").unlink()
    finish(line, tmp_path, whole)


def test_two_damaged_checkpoints_are_an_error_that_names_both(photos, tmp_path):
    line = forked.words(photos, tmp_path)
    killed(line, tmp_path, number=3)
    for file in (forked.folder(tmp_path) / "checkpoints").glob("*.ckpt"):
        file.write_bytes(_flipped(file.read_bytes()))
    status, said = ended(line, tmp_path)
    assert status == 2
    assert "last.ckpt is not" in said
    assert "previous.ckpt is not" in said
    assert "--run.fresh true" in said


def _flipped(content):
    """Flip one bit of a tensor."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        tensor = archive.read(max(archive.infolist(), key=lambda entry: entry.file_size))
    middle = content.index(tensor) + len(tensor) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_prints_how_to_resume(number, photos, whole, tmp_path):
    line = forked.words(photos, tmp_path)

    def in_the_fifth_step():
        forked.xnorlit.commands.fit.Classifier.training_step = _signalling(number, 5)

    training = forked.Training(line, tmp_path / "log", in_the_fifth_step)
    assert training.wait() == 75, training.said
    assert f"{number.name}: saved at step 5 (epoch 1 of 3)" in training.said
    assert "--run.resume auto" in training.said
    finish(line, tmp_path, whole)
    assert "continues at step 5, in epoch 1 of 3" in training.said


def test_a_whole_epoch_is_followed_by_the_next(whole):
    assert where(load(whole.folder / "checkpoints" / "last.ckpt")) == "at step 24, in epoch 4"


def _signalling(number, step):
    real = forked.xnorlit.commands.fit.Classifier.training_step

    sent = []

    def training_step(self, batch, batch_idx):
        if self.global_step == step - 1 and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return real(self, batch, batch_idx)

    return training_step


def test_a_loss_schedule_continues_at_the_resumed_epoch(photos, tmp_path):
    losses = "[{class_path: CrossEntropy}, {class_path: DistributionLoss, init_args: {until: 0.5}}]"
    options = {"model__losses": losses, "model__binarizer": "XNOR"}
    forked.train(forked.words(photos, tmp_path / "whole", **options), tmp_path / "log")
    line = forked.words(photos, tmp_path / "stopped", **options)

    def in_the_third_epoch():
        forked.xnorlit.commands.fit.Classifier.training_step = _signalling(signal.SIGTERM, 20)

    assert forked.Training(line, tmp_path / "log", in_the_third_epoch).wait() == 75
    forked.train(line, tmp_path / "log")
    assert forked.differences(*(forked.folder(tmp_path / root) for root in ("whole", "stopped"))) == []


def test_a_signal_within_an_accumulation_waits_for_the_whole_gradient(photos, tmp_path):
    options = {"trainer__accumulate_grad_batches": 3}
    forked.train(forked.words(photos, tmp_path / "whole", **options), tmp_path / "log")
    line = forked.words(photos, tmp_path / "stopped", **options)

    def in_the_second_step():
        forked.xnorlit.commands.fit.Classifier.training_step = _signalling(signal.SIGINT, 2)

    training = forked.Training(line, tmp_path / "log", in_the_second_step)
    assert training.wait() == 75, training.said
    assert "saved at step 2" in training.said
    forked.train(line, tmp_path / "log")
    assert forked.differences(*(forked.folder(tmp_path / root) for root in ("whole", "stopped"))) == []


@pytest.mark.parametrize(("minutes", "batches"), [(0, ["1 0"]), (15, ["1 0", "1 1"])], ids=["saved", "not saved"])
def test_a_signal_in_a_validation_ends_it_at_its_next_batch_if_its_epoch_was_saved(
    minutes, batches, photos, whole, tmp_path
):
    line = forked.words(photos, tmp_path, run__checkpoint_minutes=minutes)
    measured = tmp_path / "measured"

    def in_the_second_validation():
        cls = forked.xnorlit.commands.fit.Classifier
        real = cls.validation_step

        def validation_step(self, batch, batch_idx):
            with measured.open("a") as rows:
                rows.write(f"{self.current_epoch} {batch_idx}\n")
            if self.current_epoch == 1 and batch_idx == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            return real(self, batch, batch_idx)

        cls.validation_step = validation_step

    training = forked.Training(line, tmp_path / "log", in_the_second_validation)
    assert training.wait() == 75, training.said
    assert measured.read_text().split("\n") == ["0 0", "0 1", *batches, ""]
    assert "saved at step 16" in training.said
    finish(line, tmp_path, whole)


def test_a_signal_in_the_last_batch_of_an_epoch_saves_before_the_validation(photos, whole, tmp_path):
    line = forked.words(photos, tmp_path)

    def in_the_last_step():
        forked.xnorlit.commands.fit.Classifier.training_step = _signalling(signal.SIGTERM, 16)

    training = forked.Training(line, tmp_path / "log", in_the_last_step)
    assert training.wait() == 75, training.said
    assert "saved at step 16 (epoch 2 of 3)" in training.said
    finish(line, tmp_path, whole)


def test_a_second_signal_ends_it_at_once(photos, whole, tmp_path):
    line = forked.words(photos, tmp_path)

    def asleep():
        def training_step(*_):
            os.write(1, b"asleep\n")
            time.sleep(600)

        forked.xnorlit.commands.fit.Classifier.training_step = training_step

    training = forked.Training(line, tmp_path / "log", asleep)
    for word in ("asleep", "A second signal ends it at once"):
        until = time.monotonic() + 120
        while word not in training.said:
            assert time.monotonic() < until, training.said
            time.sleep(0.05)
        training.send(signal.SIGTERM)
    assert training.wait() == -signal.SIGTERM
    finish(line, tmp_path, whole)


def test_a_nan_loss_stops_the_run_and_keeps_the_last_good_checkpoint(photos, tmp_path):
    line = forked.words(photos, tmp_path)

    def spoilt():
        import torch

        real = forked.xnorlit.commands.fit.Classifier.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == 11:
                self.net.fc3.linear.register_forward_hook(lambda *given: given[2] / 0)
                self.net.conv2.conv.register_forward_hook(lambda *given: torch.full_like(given[2], torch.nan))
            return real(self, batch, batch_idx)

        forked.xnorlit.commands.fit.Classifier.training_step = training_step

    training = forked.Training(line, tmp_path / "log", spoilt)
    assert training.wait() == 2
    assert (
        "the training loss at step 11 is not a finite number, first in net.conv2.conv: its output is" in training.said
    )
    assert "last.ckpt has the state of step 8" in training.said
    kept = forked.torch.load(forked.folder(tmp_path) / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 8
    assert all(value.isfinite().all() for value in kept["state_dict"].values())


@pytest.mark.parametrize(("device", "looked"), [("cpu", [*range(4, 60)]), ("cuda", [25, 50])])
def test_losses_are_looked_at_in_each_step_on_a_cpu_and_in_each_25th_on_a_gpu(device, looked, tmp_path):
    """Each check waits for the GPU."""
    found = {}
    for step in range(4, 60):
        module = forked.torch.nn.Linear(1, 1)
        module.device = SimpleNamespace(type=device)
        progress = SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(processed=step)))
        trainer = SimpleNamespace(
            global_step=step, accumulate_grad_batches=1, world_size=1, fit_loop=SimpleNamespace(epoch_loop=progress)
        )
        guard = saving.Saving(SimpleNamespace(folder=tmp_path), minutes=15)
        guard._spoilt = forked.torch.tensor(0)  # the first step's
        try:
            guard.on_train_batch_start(trainer, module, None, step)
        except UserError as error:
            found[step] = str(error)
    assert [*found] == looked
    assert all(
        "the training loss at step 0 is not a finite number, first in the loss itself" in said
        for said in found.values()
    )
    assert all("nothing was saved" in said for said in found.values())


def test_weights_that_are_not_numbers_are_never_saved(photos, tmp_path):
    """The sign of a NaN is finite, so the loss need not be NaN."""
    line = forked.words(photos, tmp_path, run__checkpoint_minutes=0)

    def spoilt():
        real = forked.xnorlit.commands.fit.Classifier.optimizer_step

        def optimizer_step(self, *given, **named):
            real(self, *given, **named)
            if self.global_step == 5:
                self.net.conv2.conv.weight.data[0, 0, 0, 0] = forked.torch.nan

        forked.xnorlit.commands.fit.Classifier.optimizer_step = optimizer_step

    training = forked.Training(line, tmp_path / "log", spoilt)
    assert training.wait() == 2
    assert "net.conv2.conv: its weight is" in training.said
    kept = forked.torch.load(forked.folder(tmp_path) / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(value.isfinite().all() for value in kept["state_dict"].values())


def test_the_time_of_training_goes_on_after_a_resume(photos, tmp_path):
    line = forked.words(photos, tmp_path)
    killed(line, tmp_path, number=3)
    run = forked.folder(tmp_path)
    last = run / "checkpoints" / "last.ckpt"
    content = forked.torch.load(last, weights_only=True)
    content["callbacks"]["RunRecord"]["seconds"] = 1000.0
    forked.torch.save(content, last)
    forked.train(line, tmp_path / "log")
    assert 1000 < json.loads((run / "summary.json").read_text())["train_seconds"] < 1100


@pytest.mark.parametrize("falls", [True, False])
def test_the_best_checkpoint_is_the_one_of_the_highest_accuracy(falls, photos, tmp_path):
    def graded():
        def found(trainer):
            top1 = 1 - 0.1 * trainer.current_epoch if falls else 0.1 + 0.1 * trainer.current_epoch
            return {"val/top1": forked.torch.tensor(top1), "val/top5": forked.torch.tensor(1.0)}

        forked.xnorlit.commands.fit.Trainer.callback_metrics = property(found)

    training = forked.Training(forked.words(photos, tmp_path), tmp_path / "log", graded)
    assert training.wait() == 0, training.said
    best = forked.torch.load(forked.folder(tmp_path) / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == (8 if falls else 24)


def test_frequent_saving_saves_within_an_epoch(photos, tmp_path):
    # Save at each step. Otherwise the number of saves in an epoch would depend on the machine's speed.
    line = forked.words(photos, tmp_path, run__checkpoint_minutes=0.0)
    killed(line, tmp_path, "a file has just got its name", 8)
    assert (forked.folder(tmp_path) / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize(
    ("seconds", "minutes", "saved"),
    [
        (10, 0.5, "3 6 8 11 14 16 19 22 24"),
        (7, 15, "8 16 24"),
        (7.5, 15, "8? 8 16? 16 24? 24"),  # before a validation, too, where the last one is a minute old
    ],
)
def test_a_checkpoint_is_saved_as_soon_as_the_last_is_so_old(seconds, minutes, saved, photos, tmp_path):
    found = tmp_path / "saved"

    def with_steps_of_so_many_seconds():
        cls, clock = forked.xnorlit.commands.fit.Classifier, [0.0]
        step, save = cls.training_step, saving.Saving._save

        def training_step(self, batch, batch_idx):
            clock[0] += seconds
            return step(self, batch, batch_idx)

        def watched(self, trainer, module, name, epochs, batches, *, validate=False):
            if name == "last" and self._saved != (epochs, batches):
                with found.open("a") as rows:
                    rows.write(f"{trainer.global_step}{'?' if validate else ''} ")
            save(self, trainer, module, name, epochs, batches, validate=validate)

        saving.time = SimpleNamespace(monotonic=lambda: clock[0])
        cls.training_step, saving.Saving._save = training_step, watched

    line = forked.words(photos, tmp_path, run__checkpoint_minutes=minutes)
    forked.train(line, tmp_path / "log", with_steps_of_so_many_seconds)
    assert found.read_text().split() == saved.split()


@pytest.mark.parametrize(
    ("mine", "first", "others", "saves", "told"),
    [
        ([0, 0], True, [0, 0], False, None),
        ([1, 0], True, [0, 0], True, signal.SIGUSR1),
        ([0, 0], True, [1, 0], True, signal.SIGTERM),  # another process received the signal
        ([0, 1], True, [0, 0], True, None),
        ([0, 1], False, [0, 0], False, None),  # the first process's clock is the one that counts
        ([0, 0], False, [0, 1], True, None),
    ],
)
def test_several_processes_save_together(mine, first, others, saves, told, tmp_path):
    guard = saving.Saving(SimpleNamespace(folder=tmp_path), minutes=15)
    guard._signal = signal.SIGUSR1 if mine[0] else None
    guard._saved_at = time.monotonic() - (100 if mine[1] else 0)

    def reduce(asked, *, reduce_op):
        assert reduce_op == "sum"
        return asked + forked.torch.tensor(others)

    trainer = SimpleNamespace(
        world_size=2, is_global_zero=first, fast_dev_run=False, strategy=SimpleNamespace(reduce=reduce)
    )
    assert guard._should_save(trainer, SimpleNamespace(device="cpu"), seconds=50) is saves
    assert guard._signal == told


@pytest.mark.parametrize(("mine", "others", "step"), [(-1, 7, "7"), (7, -1, "7"), (-1, -1, None)])
def test_a_loss_of_another_process_ends_this_one_too(mine, others, step, tmp_path):
    guard = saving.Saving(SimpleNamespace(folder=tmp_path), minutes=15)
    guard._spoilt = forked.torch.tensor(mine)

    def reduce(asked, *, reduce_op):
        assert reduce_op == "max"
        return asked.clamp(min=others)

    module = forked.torch.nn.Linear(1, 1)
    module.device = forked.torch.device("cpu")
    trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(reduce=reduce))
    if step is None:
        guard._refuse_non_finite(trainer, module)
        return
    with pytest.raises(UserError, match=f"the training loss at step {step} is not a finite number"):
        guard._refuse_non_finite(trainer, module)


def test_a_signal_before_the_first_step_says_that_nothing_was_saved(photos, whole, tmp_path):
    line = forked.words(photos, tmp_path)

    def at_the_beginning():
        real = saving.Saving._validate_the_last
        saving.Saving._validate_the_last = staticmethod(lambda trainer: (os.kill(os.getpid(), 15), real(trainer)))

    training = forked.Training(line, tmp_path / "log", at_the_beginning)
    assert training.wait() == 75, training.said
    assert "SIGTERM: nothing was saved yet; the same command starts again" in training.said
    finish(line, tmp_path, whole)


def test_the_generators_of_torch_numpy_and_python_go_on_where_they_were(photos, tmp_path):
    """A user's own code may use any of them. Both normal distributions keep every second number for later."""

    def drawing(file, killed_in=None):
        def prepare():
            cls = forked.xnorlit.commands.fit.Classifier
            real = cls.training_step

            def training_step(self, batch, batch_idx):
                draws = [random.random(), random.gauss(0, 1), np.random.rand(), np.random.normal()]  # noqa: NPY002
                with file.open("a") as rows:
                    rows.write(json.dumps([self.global_step, draws, forked.torch.rand(()).item()]) + "\n")
                if self.global_step == killed_in:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(self, batch, batch_idx)

            cls.training_step = training_step

        return prepare

    def drawn(file):
        return {row[0]: row[1:] for row in map(json.loads, file.read_text().splitlines())}

    forked.train(forked.words(photos, tmp_path / "whole"), tmp_path / "log", drawing(tmp_path / "a"))
    line = forked.words(photos, tmp_path / "killed", run__checkpoint_minutes=0)
    assert forked.Training(line, tmp_path / "log", drawing(tmp_path / "b", 13)).wait() == -signal.SIGKILL
    forked.train(line, tmp_path / "log", drawing(tmp_path / "b"))
    assert drawn(tmp_path / "b") == drawn(tmp_path / "a")
    assert len(drawn(tmp_path / "a")) == 24
    assert forked.differences(*(forked.folder(tmp_path / root) for root in ("whole", "killed"))) == []
