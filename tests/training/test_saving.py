"""When a run saves, ends and what it says: each decision alone, without a training."""

import contextlib
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from torch import nn

from xnorlit.data import Batch
from xnorlit.errors import Stopped, UserError
from xnorlit.training import saving
from xnorlit.training.loggers import MetricsFile
from xnorlit.training.saving import Saving, _first_non_finite

CPU = torch.device("cpu")


class Net(nn.Sequential):
    device = CPU


def net():
    return Net(nn.Linear(1, 1))


@pytest.fixture
def handlers():
    """The test's handlers of signals are put back."""
    before = {number: signal.getsignal(number) for number in saving.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def guard(tmp_path, monkeypatch):
    """A guard of a run of this folder, with a clock at 1000 seconds."""
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    (tmp_path / "config.yaml").touch()
    (tmp_path / "checkpoints").mkdir()
    return Saving(SimpleNamespace(folder=tmp_path, best={"epoch": 0}, ended=False), minutes=15)


class Trainer(SimpleNamespace):
    """What a guard asks of Lightning's trainer; it notes what is saved."""

    def __init__(self, **changed):
        processed = SimpleNamespace(current=SimpleNamespace(processed=changed.pop("done", 4)))
        super().__init__(
            **{
                "world_size": 1, "is_global_zero": True, "global_rank": 0, "global_step": 12, "current_epoch": 1,
                "max_epochs": 3, "check_val_every_n_epoch": 2, "fast_dev_run": False, "sanity_checking": False,
                "received_sigterm": False, "should_stop": False, "accumulate_grad_batches": 1, "loggers": [],
                "fit_loop": SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=processed)), "saved": [],
                **changed,
            }
        )  # fmt: skip

    def save_checkpoint(self, file):
        self.saved.append((file.name, self.guard._position))
        file.touch()


def trainer_of(guard, **changed):
    found = Trainer(**changed)
    found.guard = guard
    return found


# --- beginning and end ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("kind", "requeues"), [(SLURMEnvironment, False), (LightningEnvironment, "kept")])
@pytest.mark.parametrize("ended", [True, False])
def test_slurm_does_not_requeue_by_itself_and_an_ended_training_does_not_go_on(kind, requeues, ended, guard):
    environment = object.__new__(kind)
    environment.auto_requeue = "kept"
    guard.record.ended = ended
    trainer = Trainer(_accelerator_connector=SimpleNamespace(cluster_environment=environment))
    guard.on_fit_start(trainer, None)
    assert environment.auto_requeue == requeues
    assert trainer.should_stop is ended


@pytest.mark.parametrize("received", [True, False])
def test_signals_are_the_runs_own_from_the_first_step(received, guard, handlers):
    trainer = trainer_of(guard, received_sigterm=received, global_step=7, current_epoch=2)
    if received:
        with pytest.raises(Stopped, match="SIGTERM: nothing was saved yet"):
            guard.on_train_start(trainer, net())
    else:
        guard.on_train_start(trainer, net())
    assert all(signal.getsignal(number) == guard._note for number in saving.SIGNALS)
    assert (guard._saved_step, guard._saved_at, guard._spoilt.item()) == (7, 1000, -1)
    assert trainer.check_val_every_n_epoch == 1, "it begins with the last epoch"


def test_generators_are_restored_once(guard, handlers, monkeypatch):
    told = []
    monkeypatch.setattr(saving, "restore", lambda *given: told.append(given))
    guard.on_load_checkpoint(None, None, {"random": ["a", "b"]})
    for _ in range(2):
        guard.on_train_start(trainer_of(guard, global_rank=1), net())
    assert told == [(["a", "b"], 1, 12, CPU)]
    guard.on_load_checkpoint(None, None, {})
    assert guard._random == [], "a checkpoint of an earlier version has none"


@pytest.mark.parametrize(
    ("first", "finished", "stays"), [(True, True, False), (True, False, True), (False, True, True)]
)
def test_the_predecessor_goes_when_the_run_has_finished(first, finished, stays, guard, tmp_path):
    previous = tmp_path / "checkpoints" / "previous.ckpt"
    previous.touch()
    if finished:
        (tmp_path / "summary.json").touch()
    guard.on_fit_end(Trainer(is_global_zero=first), None)
    assert previous.exists() is stays
    if not stays:
        guard.on_fit_end(Trainer(is_global_zero=first), None)  # there may be none


@pytest.mark.parametrize(("epoch", "every"), [(0, 2), (1, 2), (2, 1), (3, 2)])
def test_only_the_last_epoch_is_validated_in_any_case(epoch, every):
    trainer = Trainer(current_epoch=epoch)
    Saving._validate_the_last(trainer)
    assert trainer.check_val_every_n_epoch == every


# --- when to save -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("best", "names"), [(1, ["best.ckpt", "last.ckpt"]), (0, ["last.ckpt"]), (2, ["last.ckpt"])])
def test_an_epoch_is_saved_once_the_best_first_and_between_two_epochs(best, names, guard):
    guard.record.best["epoch"] = best
    trainer = trainer_of(guard)
    for _ in range(2):
        guard.on_train_epoch_start(trainer, net())
    assert trainer.saved == [(name, (1, 0, False)) for name in names]
    assert (guard._saved, guard._saved_step, guard._saved_at) == ((1, 0), 12, 1000)
    assert guard._position is None


@pytest.mark.parametrize("changed", [{"fast_dev_run": 1}, {"global_step": 0}])
def test_a_trial_and_a_run_before_its_first_step_save_nothing(changed, guard):
    trainer = trainer_of(guard, **changed)
    guard.on_train_epoch_start(trainer, net())
    guard.on_train_end(trainer, net())
    assert trainer.saved == []
    assert guard.record.ended


@pytest.mark.parametrize(
    ("age", "done", "accumulated", "saved"),
    [
        (900, 4, 1, [("last.ckpt", (1, 4, False))]),  # a quarter of an hour
        (899, 4, 1, []),
        (900, 0, 1, []),  # at the start of an epoch, which has been saved
        (900, 4, 3, []),  # half a gradient
        (900, 6, 3, [("last.ckpt", (1, 6, False))]),
    ],
)
def test_a_run_saves_within_an_epoch_when_the_last_checkpoint_is_old(age, done, accumulated, saved, guard):
    guard._saved_at = 1000 - age
    trainer = trainer_of(guard, done=done, accumulate_grad_batches=accumulated)
    guard.on_train_batch_start(trainer, net(), "batch", 4)
    assert trainer.saved == saved
    assert guard._batch == "batch"
    guard.on_train_batch_end(trainer, net())
    assert guard._batch is None


@pytest.mark.parametrize(
    ("age", "minutes", "sanity", "saved"),
    [
        (60, 15, False, True),
        (59, 15, False, False),
        (30, 0.5, False, True),
        (29, 0.5, False, False),
        (60, 15, True, False),
    ],
)
def test_a_run_saves_before_a_validation_when_the_last_checkpoint_is_a_minute_old(age, minutes, sanity, saved, guard):
    guard._saved_at, guard.minutes = 1000 - age, minutes
    trainer = trainer_of(guard, sanity_checking=sanity)
    guard.on_validation_start(trainer, net())
    assert trainer.saved == ([("last.ckpt", (1, 4, True))] if saved else [])


@pytest.mark.parametrize(
    ("changed", "ends"),
    [({}, True), ({"global_step": 13}, False), ({"world_size": 2}, False), ({"sanity_checking": True}, False)],
)
def test_a_signal_ends_a_validation_whose_epoch_is_saved(changed, ends, guard):
    guard._signal, guard._saved_step = signal.SIGINT, 12
    trainer = trainer_of(guard, **changed)
    if not ends:
        guard.on_validation_batch_start(trainer, net())
        return
    with pytest.raises(Stopped, match="SIGINT: "):
        guard.on_validation_batch_start(trainer, net())


@pytest.mark.parametrize("first", [True, False])
def test_the_metrics_are_on_the_disk_before_the_checkpoint(first, guard, tmp_path, monkeypatch):
    events = []
    metrics = MetricsFile(tmp_path)
    metrics.log_metrics({"a": 1.0}, step=0)
    metrics.save()
    monkeypatch.setattr(saving, "sync", lambda file: events.append(file.name))
    other = SimpleNamespace(save=lambda: events.append("other"))
    trainer = trainer_of(guard, loggers=[metrics, other], is_global_zero=first)
    guard.on_train_epoch_start(trainer, net())
    assert events == (["metrics.csv", "other"] if first else ["other"])
    assert guard.state_dict() == {"saved": None, "rows": 1}
    guard._position = 1, 4, False
    assert guard.state_dict()["saved"] == [1, 4]
    metrics.file.unlink()
    guard._saved, events[:] = None, []
    guard.on_train_epoch_start(trainer, net())
    assert events == ["other"], "nothing was logged yet"


def test_a_run_whose_folder_has_vanished_ends_in_the_first_process(guard, tmp_path):
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(UserError, match="was moved or removed"):
        guard.on_train_epoch_start(trainer_of(guard), net())
    guard.on_train_epoch_start(trainer_of(guard, is_global_zero=False), net())


@pytest.mark.parametrize("world", [1, 2])
def test_a_checkpoint_has_the_generators_of_all_processes(world, guard, monkeypatch):
    monkeypatch.setattr(saving, "random_state", lambda _: {"torch": "mine"})

    def gather(states, mine):
        assert states == [{}, {}]
        states[:] = [mine, {"torch": "other"}]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather, raising=False)
    checkpoint = {}
    guard.on_save_checkpoint(Trainer(world_size=world), net(), checkpoint)
    assert [state["torch"] for state in checkpoint["random"]] == ["mine", "other"][:world]


@pytest.mark.parametrize("saved", [None, [2, 3]])
def test_a_resumed_run_knows_what_it_saved(saved, guard):
    guard.load_state_dict({"saved": saved})
    assert guard._saved == (saved and tuple(saved))


# --- signals ----------------------------------------------------------------------------------------------------------
def test_the_first_signal_is_noted_and_the_second_sent_again(guard, monkeypatch, handlers):
    written, sent, set_ = [], [], []
    monkeypatch.setattr(os, "write", lambda to, text: written.append((to, text.decode())))
    monkeypatch.setattr(os, "kill", lambda *given: sent.append(given))
    monkeypatch.setattr(signal, "signal", lambda *given: set_.append(given))
    guard._note(signal.SIGUSR1, None)
    assert (sent, set_, guard._signal) == ([], [], signal.SIGUSR1)
    assert written[0][0] == 2
    assert written[0][1].startswith("SIGUSR1: the run saves before its next step, then ends. A second signal")
    guard._note(signal.SIGTERM, None)
    assert sent == [(os.getpid(), signal.SIGTERM)]
    assert set_ == [(signal.SIGTERM, signal.SIG_DFL)]


HOOKS = {
    "train": lambda guard, trainer: guard.on_train_start(trainer, net()),
    "epoch": lambda guard, trainer: guard.on_train_epoch_start(trainer, net()),
    "batch": lambda guard, trainer: guard.on_train_batch_start(trainer, net(), "batch", 4),
    "validation": lambda guard, trainer: guard.on_validation_start(trainer, net()),
}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(("mine", "others"), [(False, True), (True, False), (False, False)])
def test_several_processes_leave_together_wherever_a_signal_reached_one(hook, mine, others, guard, handlers):
    guard._signal = signal.SIGINT if mine else None
    asked = []

    def reduce(value, *, reduce_op):
        asked.append(value.tolist())
        return value + torch.tensor([float(others), 0.0]) if reduce_op == "sum" else value

    trainer = trainer_of(guard, world_size=2, strategy=SimpleNamespace(reduce=reduce))
    if mine or others:
        with pytest.raises(Stopped, match="SIGINT: " if mine else "SIGTERM: "):
            HOOKS[hook](guard, trainer)
    else:
        HOOKS[hook](guard, trainer)
    assert [float(mine), 0.0] in asked


@pytest.mark.parametrize("hook", HOOKS)
def test_a_signal_after_several_processes_agreed_waits_until_they_agree_again(hook, guard, handlers):
    def reduce(value, *, reduce_op):
        if reduce_op == "sum":
            guard._signal = signal.SIGINT  # The others know nothing of it yet.
        return value

    HOOKS[hook](guard, trainer_of(guard, world_size=2, strategy=SimpleNamespace(reduce=reduce)))
    with pytest.raises(Stopped, match="SIGINT: "):
        HOOKS[hook](guard, trainer_of(guard, world_size=2, strategy=SimpleNamespace(reduce=reduce)))


@pytest.mark.parametrize(
    ("changed", "there", "said"),
    [
        (
            {},
            True,
            r"saved at step 1,234 \(epoch 2 of 3\)\. Resume with: xnorlit fit -c .*config\.yaml --run\.resume au",
        ),
        ({}, False, "nothing was saved yet; the same command starts again"),
        ({"fast_dev_run": 1}, True, "nothing was saved yet"),
    ],
)
def test_a_stopped_run_says_what_it_saved(changed, there, said, guard, tmp_path):
    guard._saved_step = 1234
    guard._stop_if_signalled(trainer_of(guard))  # without a signal it goes on
    guard._signal = signal.SIGTERM
    if there:
        (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(Stopped, match=f"^SIGTERM: {said}.*; run: {tmp_path}$"):
        guard._stop_if_signalled(trainer_of(guard, **changed))


# --- what is not finite -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("device", "world", "ends"), [("cpu", 1, True), ("cuda", 1, False), ("cpu", 2, False)])
def test_the_first_step_of_a_bad_loss_is_kept_and_looked_at_where_that_needs_no_wait(device, world, ends, guard):
    module = Net(nn.Linear(1, 1))
    module.device = SimpleNamespace(type=device)
    guard._spoilt = torch.tensor(-1)
    guard.on_before_backward(trainer_of(guard, world_size=world, global_step=3), module, torch.tensor(1.0))
    assert guard._spoilt == -1
    told = "the training loss at step 1,234 is not a finite number, first in the loss itself"
    for step in (1234, 1235):
        trainer = trainer_of(guard, world_size=world, global_step=step)
        with pytest.raises(UserError, match=told) if ends else contextlib.nullcontext():
            guard.on_before_backward(trainer, module, torch.tensor(torch.inf))
    assert guard._spoilt == 1234


@pytest.mark.parametrize("there", [True, False])
def test_a_bad_weight_ends_the_run_and_says_what_is_kept(there, guard, tmp_path):
    module = Net(nn.Linear(1, 1), nn.Linear(1, 1))
    module[1].bias.data.fill_(torch.nan)
    guard._saved_step = 1200
    if there:
        (tmp_path / "checkpoints" / "last.ckpt").touch()
    kept = r"last\.ckpt has the state of step 1,200" if there else "nothing was saved"
    told = (
        rf"a weight at step 1,234 is not a finite number, first in 1: its bias is\. The run has ended; .*{kept}\. Lower"
    )
    with pytest.raises(UserError, match=told):
        guard._refuse_non_finite_weights(trainer_of(guard, global_step=1234), module)


def test_the_first_layer_with_a_bad_value_is_named():
    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = nn.Identity(), nn.ReLU(), nn.Linear(2, 2)

        def forward(self, x):
            return self.third(self.second(torch.log(self.first(x))))

    module = Module()
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(forward_context=torch.no_grad))
    batch = Batch(torch.zeros(1, 2), None, None)
    assert _first_non_finite(trainer, module, Batch(torch.ones(1, 2), None, None)) is None
    assert _first_non_finite(trainer, module, None) is None
    module.second = nn.Identity()
    assert _first_non_finite(trainer, module, batch) == "in second: its output is"
    module.third.weight.data[0, 0] = torch.inf
    assert _first_non_finite(trainer, module, batch) == "in third: its weight is", "weights come first"
    assert not any(part._forward_hooks for part in module.modules())
