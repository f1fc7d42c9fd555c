"""Options of Lightning's Trainer: each works, or is refused with a reason before any data is read."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    BatchSizeFinder,
    Checkpoint,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    Timer,
)

from xnorlit.errors import UserError

Options = Mapping[str, Any]

# These work, including curves, checkpoints and resuming; tests/training/test_options.py tries them all.
WORK = {
    "accelerator", "devices", "num_nodes", "sync_batchnorm", "fast_dev_run", "min_epochs", "limit_test_batches",
    "limit_predict_batches", "num_sanity_val_steps", "log_every_n_steps", "enable_progress_bar",
    "enable_model_summary", "gradient_clip_val", "gradient_clip_algorithm", "deterministic", "benchmark",
    "inference_mode", "use_distributed_sampler", "profiler", "detect_anomaly", "enable_autolog_hparams",
}  # fmt: skip

# These are always refused. The text says what to do instead.
INSTEAD = {
    "logger": "A run always writes metrics.csv; use run.wandb to log to W&B.",
    "default_root_dir": "Runs are stored under run.root; set that instead.",
    "max_steps": "Schedules count epochs: give trainer.max_epochs, and trainer.limit_train_batches for shorter ones.",
    "min_steps": "Give trainer.min_epochs.",
    "max_time": "A run that ends by the clock cannot be repeated or paired: give trainer.max_epochs. To interrupt a "
    "run, send SIGTERM; to continue, run the same command with run.resume auto.",
    "overfit_batches": "Each epoch has its own order: give trainer.limit_train_batches, or a small data.source.",
    "enable_checkpointing": "A run without checkpoints cannot be resumed, packed or compared.",
    "barebones": "It trains without checkpoints and metrics. For a quick trial, give trainer.fast_dev_run true.",
    "plugins": "Give trainer.precision and trainer.strategy.",
    "reload_dataloaders_every_n_epochs": "A reloaded loader would start again with the first epoch's order.",
    "model_registry": "A run's checkpoints are stored in its own folder.",
}

CALLBACKS: dict[type, str] = {
    Checkpoint: "a run saves its own best.ckpt and last.ckpt (run.checkpoint_minutes)",
    Timer: "a run that ends by the clock cannot be repeated or paired",
    GradientAccumulationScheduler: "schedules assume the same number of steps in each epoch",
    BatchSizeFinder: "the batch size that it finds is not recorded; give data.batch_size",
    LearningRateFinder: "the learning rate that it finds is not recorded; give model.optimizer.init_args.lr",
}


def _epochs(epochs: Any, options: Options) -> str | None:
    return None if epochs is not None and epochs >= 1 else "Expected a whole number from 1."


def _strategy(strategy: Any, options: Options) -> str | None:
    if isinstance(strategy, str) and (strategy in ("auto", "ddp") or strategy.startswith("ddp_find_unused_parameters")):
        return None
    return "Expected auto, ddp or ddp_find_unused_parameters_true: other strategies shard or change the checkpoint."


def _precision(precision: Any, options: Options) -> str | None:
    if precision in (None, 32, "32", "32-true", "16-mixed", "bf16-mixed", "16", "bf16", 16):
        return None
    return "Expected 32-true, bf16-mixed or 16-mixed: weights and evaluation stay in fp32."


def _some(batches: Any, options: Options) -> str | None:
    return "Expected at least one batch." if batches == 0 else None


def _whole_epoch(interval: Any, options: Options) -> str | None:
    if interval is None or (isinstance(interval, float) and interval == 1.0):
        return None
    return "Checkpoints and curves expect one validation per epoch: expected 1.0."


def _every(number: Any, options: Options) -> str | None:
    if number is None or number < 1 or number > (options.get("max_epochs") or number):
        return f"Expected a whole number from 1 to trainer.max_epochs, {options.get('max_epochs')}."
    if number > 1 and any(issubclass(kind, EarlyStopping) for kind in _kinds(options)):
        return "EarlyStopping may stop at an epoch without validation: expected 1."
    return None


def _accumulated(number: Any, options: Options) -> str | None:
    return None if number >= 1 else "Expected a whole number from 1."


def _callbacks(listed: Any, options: Options) -> str | None:
    for kind in _kinds(options):
        for refused, why in CALLBACKS.items():
            if issubclass(kind, refused):
                return f"{kind.__name__} is not supported: {why}."
    return None


CHECKED: dict[str, Callable[[Any, Options], str | None]] = {
    "max_epochs": _epochs,
    "strategy": _strategy,
    "precision": _precision,
    "limit_train_batches": _some,
    "limit_val_batches": _some,
    "val_check_interval": _whole_epoch,
    "check_val_every_n_epoch": _every,
    "accumulate_grad_batches": _accumulated,
    "callbacks": _callbacks,
}


def refuse_options(options: Options) -> None:
    """Refuse options of Lightning's Trainer that would break resuming, pairing or the recorded results.

    Args:
        options: `trainer.*` of a parsed configuration.

    Raises:
        UserError: An option is given that does not work here; the message says what to do instead.
    """
    usual = {name: parameter.default for name, parameter in inspect.signature(pl.Trainer).parameters.items()}
    for name, value in options.items():
        if name in CHECKED:
            why = CHECKED[name](value, options)
        elif name in WORK or value in (None, usual.get(name)) or (name == "enable_checkpointing" and value):
            continue
        else:
            why = INSTEAD.get(name, f"It is new in Lightning {pl.__version__} and was never tested here: omit it.")
        if why:
            shown = "not given" if value is None else f"{value!r}" if name != "callbacks" else "what it is"
            raise UserError(f"trainer.{name} is {shown}. {why}")


def _kinds(options: Options) -> list[type]:
    """The classes that trainer.callbacks lists."""
    listed = options.get("callbacks") or []
    paths = [each["class_path"].rpartition(".") for each in (listed if isinstance(listed, list) else [listed])]
    return [getattr(importlib.import_module(module), name) for module, _, name in paths]
