"""When to save and stop: by epoch, by time, on a signal, and on a loss that is NaN or infinite."""

import os
import signal
import time
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn
from typing_extensions import override

from xnorlit.edge.atomic import sync
from xnorlit.errors import Stopped, UserError
from xnorlit.runs.lock import CHECKPOINTS
from xnorlit.training.loggers import MetricsFile
from xnorlit.training.place import refuse_vanished
from xnorlit.training.position import mark_position, random_state, restore
from xnorlit.training.record import RunRecord

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
BEFORE_VALIDATION = 60  # seconds; a checkpoint is saved before a validation if the last one is older
LOOK = 25  # steps between two reads of a GPU's losses, because each read waits for the GPU


class Saving(Checkpoint):
    """Save `last.ckpt`, `previous.ckpt` and `best.ckpt`. A run resumes from them with the next sample in order.

    A checkpoint is saved at the start of an epoch or of an optimizer step, when all earlier metrics are logged. So a
    checkpoint and `metrics.csv` always agree. Whichever hook saves, Lightning's counters are set to their values
    between two epochs or steps.

    On a signal (SIGINT, SIGTERM, SIGUSR1), the run saves before the next step or validation and ends with `Stopped`. A
    second signal ends the process at once. If the last checkpoint is older than a minute when a validation starts, the
    run saves first. A signal during that validation then ends the run at the next batch. Otherwise, and with several
    processes, the run ends after the validation.

    Args:
        record: The run's record, which has its folder and its best epoch.
        minutes: Age of the last checkpoint after which another one is saved within an epoch.
    """

    def __init__(self, record: RunRecord, minutes: float) -> None:
        self.record, self.minutes = record, minutes
        self.folder = record.folder / "checkpoints"
        self._signal: signal.Signals | None = None
        self._agreed = False  # Whether several processes know of a signal to one of them.
        self._random: list[dict[str, Any]] = []
        self._position: tuple[int, int, bool] | None = None
        self._saved: tuple[int, int] | None = None
        self._rows: int | None = None  # rows of metrics.csv at the last checkpoint
        self._saved_step, self._saved_at = 0, time.monotonic()
        self._spoilt = torch.tensor(-1)
        self._batch: Any = None

    # --- beginning and end ------------------------------------------------------------------------------------------
    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        environment = trainer._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False  # Lightning would save to another file and resume from it.
        if self.record.ended:  # The training had ended, but the process was killed before it finished.
            trainer.should_stop = True

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning has installed its own handlers, and restores the previous ones at the end of the run.
        for number in SIGNALS:
            signal.signal(number, self._note)
        if trainer.received_sigterm:
            self._signal = signal.SIGTERM
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        self._spoilt = torch.full((), -1, device=pl_module.device)
        self._validate_the_last(trainer)
        if self._random:
            restore(self._random, trainer.global_rank, trainer.global_step, pl_module.device)
            self._random = []
        self._agree(trainer, pl_module)
        self._stop_if_signalled(trainer)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.record.ended = True
        self._save_epoch(trainer, pl_module)

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero and (self.record.folder / "summary.json").is_file():
            (self.folder / CHECKPOINTS[1]).unlink(missing_ok=True)

    # --- when to save -----------------------------------------------------------------------------------------------
    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save_epoch(trainer, pl_module)
        self._agree(trainer, pl_module)
        self._stop_if_signalled(trainer)
        self._validate_the_last(trainer)

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batch = batch
        done = trainer.fit_loop.epoch_loop.batch_progress.current.processed
        if done % trainer.accumulate_grad_batches:
            return  # An accumulated gradient cannot be saved.
        look = pl_module.device.type == "cpu" or trainer.global_step % LOOK == 0
        wanted = self._should_save(trainer, pl_module, 60 * self.minutes)
        if look or wanted:
            self._refuse_non_finite(trainer, pl_module)
        if done and wanted:
            self._save(trainer, pl_module, "last", trainer.current_epoch, done)
        self._stop_if_signalled(trainer)

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save a trained epoch before its validation, so that a signal need not wait for the validation to end.

        This hook runs before averaged weights are swapped in.
        """
        if trainer.sanity_checking or not self._should_save(
            trainer, pl_module, min(60 * self.minutes, BEFORE_VALIDATION)
        ):
            return
        self._refuse_non_finite(trainer, pl_module)
        done = trainer.fit_loop.epoch_loop.batch_progress.current.processed
        self._save(trainer, pl_module, "last", trainer.current_epoch, done, validate=True)
        self._stop_if_signalled(trainer)

    @override
    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        # One process cannot leave alone; several agree at the end of the validation.
        if self._saved_step == trainer.global_step and trainer.world_size == 1 and not trainer.sanity_checking:
            self._stop_if_signalled(trainer)

    def _should_save(self, trainer: pl.Trainer, module: pl.LightningModule, seconds: float) -> bool:
        """Whether to save now, after a signal or because of the age of the last checkpoint; all processes agree."""
        told, due = self._agree(trainer, module, due=time.monotonic() - self._saved_at >= seconds)
        return (told or due) and not trainer.fast_dev_run

    def _agree(self, trainer: pl.Trainer, module: pl.LightningModule, *, due: bool = False) -> tuple[bool, bool]:
        """Whether any process has received a signal, and whether `due` holds in the first one; all processes agree."""
        told = self._signal is not None
        if trainer.world_size > 1:
            asked = torch.tensor([told, due and trainer.is_global_zero], dtype=torch.float32, device=module.device)
            told, due = (trainer.strategy.reduce(asked, reduce_op="sum") > 0).tolist()
            self._agreed = told
            if told and self._signal is None:
                self._signal = signal.SIGTERM  # received by another process
        return told, due

    def _save_epoch(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save the finished epochs, `best.ckpt` first. A run that is killed in between then repeats the epoch."""
        if trainer.fast_dev_run or not trainer.global_step or self._saved == (trainer.current_epoch, 0):
            return
        self._refuse_non_finite(trainer, module)
        if self.record.best["epoch"] == trainer.current_epoch:
            self._save(trainer, module, "best", trainer.current_epoch, 0)
        self._save(trainer, module, "last", trainer.current_epoch, 0)

    def _save(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        name: str,
        epochs: int,
        batches: int,
        *,
        validate: bool = False,
    ) -> None:
        if name == "last" and self._saved == (epochs, batches):
            return
        self._refuse_non_finite_weights(trainer, module)
        if trainer.is_global_zero:
            refuse_vanished(self.record.folder)
        for logger in trainer.loggers:
            logger.save()
            if isinstance(logger, MetricsFile):
                self._rows = logger.count
                if trainer.is_global_zero and logger.file.is_file():
                    sync(logger.file)
        self._position = epochs, batches, validate
        trainer.save_checkpoint(self.folder / f"{name}.ckpt")
        self._position = None
        if name == "last":
            self._saved, self._saved_step, self._saved_at = (epochs, batches), trainer.global_step, time.monotonic()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"saved": list(self._position[:2]) if self._position else None, "rows": self._rows}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = tuple(state_dict["saved"]) if state_dict["saved"] else None

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        states = [random_state(pl_module.device)]
        if trainer.world_size > 1:
            states = [{}] * trainer.world_size
            torch.distributed.all_gather_object(states, random_state(pl_module.device))
        checkpoint["random"] = states
        if self._position is not None:
            mark_position(checkpoint, *self._position)

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._random = checkpoint.get("random", [])

    @staticmethod
    def _validate_the_last(trainer: pl.Trainer) -> None:
        """Validate the last epoch regardless of check_val_every_n_epoch, because the run reports its accuracy."""
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1

    # --- signals ----------------------------------------------------------------------------------------------------
    def _note(self, number: int, _: Any) -> None:
        name = signal.Signals(number).name
        if self._signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._signal = signal.Signals(number)
        # Do not use `say`, because the handler may interrupt another print.
        text = f"{name}: the run saves before its next step, then ends. A second signal ends it at once.\n"
        os.write(2, text.encode())

    def _stop_if_signalled(self, trainer: pl.Trainer) -> None:
        # A process that left alone would leave the others waiting, so several go by what they have agreed on.
        if self._signal is None or (trainer.world_size > 1 and not self._agreed):
            return
        config = self.record.folder / "config.yaml"
        if trainer.fast_dev_run or not (self.folder / "last.ckpt").is_file():
            saved = "nothing was saved yet; the same command starts again"
        else:
            saved = (
                f"saved at step {self._saved_step:,} (epoch {trainer.current_epoch + 1} of {trainer.max_epochs}). "
                f"Resume with: xnorlit fit -c {config} --run.resume auto"
            )
        raise Stopped(f"{self._signal.name}: {saved}; run: {self.record.folder}")

    # --- NaN and infinite losses ------------------------------------------------------------------------------------
    @override
    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        step = torch.full_like(self._spoilt, trainer.global_step)
        self._spoilt = torch.where((self._spoilt < 0) & ~torch.isfinite(loss.detach()), step, self._spoilt)
        if pl_module.device.type == "cpu" and trainer.world_size == 1:  # Needs no wait; the weights are unchanged.
            self._refuse_non_finite(trainer, pl_module)

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._batch = None

    def _refuse_non_finite(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """End the run if a loss was NaN or infinite. Accuracy would not show it: the sign of a NaN is finite."""
        step = float(self._spoilt)
        if trainer.world_size > 1:
            step = float(trainer.strategy.reduce(torch.tensor(step, device=module.device), reduce_op="max"))
        if step >= 0:
            where = (
                _first_non_finite(trainer, module, self._batch) or "in the loss itself; every layer's output is finite"
            )
            raise UserError(self._about(f"the training loss at step {step:,.0f} is not a finite number", where))

    def _refuse_non_finite_weights(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        finite = torch.stack([torch.isfinite(weight).all() for weight in module.parameters()]).all()
        if not finite:
            where = _first_non_finite(trainer, module, None)
            raise UserError(self._about(f"a weight at step {trainer.global_step:,} is not a finite number", where))

    def _about(self, what: str, where: str | None) -> str:
        last = self.folder / "last.ckpt"
        kept = f"{last} has the state of step {self._saved_step:,}" if last.is_file() else "nothing was saved"
        return (
            f"{what}, first {where}. The run has ended; {kept}. Lower the learning rate "
            "(--model.optimizer.init_args.lr) and start afresh (--run.fresh true), or find the first bad gradient with "
            "--trainer.detect_anomaly true."
        )


def _first_non_finite(trainer: pl.Trainer, module: pl.LightningModule, batch: Any) -> str | None:
    """`in net.conv2.conv: its weights` for the first layer with a value that is not finite."""
    for name, parameter in module.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"in {name.rpartition('.')[0]}: its {name.rpartition('.')[2]} is"
    found: list[str] = []
    if batch is None:
        return None

    def watch(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not torch.isfinite(output).all():
                found.append(f"in {name}: its output is")

        return hook

    handles = [layer.register_forward_hook(watch(name)) for name, layer in module.named_modules()]
    try:
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            module(batch.images)
    finally:
        for handle in handles:
            handle.remove()
    return next(iter(found), None)
