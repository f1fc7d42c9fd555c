"""Each option of Lightning's Trainer works, or is refused with a reason before anything is read."""

import inspect
import re

import pytest
import pytorch_lightning as pl

from xnorlit.errors import UserError
from xnorlit.training.options import CALLBACKS, CHECKED, INSTEAD, WORK, refuse_options


def test_every_option_of_this_lightning_is_handled():
    """A new Lightning cannot add an option unnoticed."""
    known = [*WORK, *CHECKED, *INSTEAD]
    assert sorted(known) == sorted(inspect.signature(pl.Trainer).parameters)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_epochs", None), ("max_epochs", 0), ("max_epochs", -1), ("max_steps", 100), ("min_steps", 3),
        ("max_time", "00:01:00:00"), ("limit_train_batches", 0), ("limit_val_batches", 0), ("overfit_batches", 2),
        ("val_check_interval", 0.5), ("val_check_interval", 10), ("val_check_interval", 1), ("val_check_interval", 2.0),
        ("check_val_every_n_epoch", None), ("check_val_every_n_epoch", 0), ("check_val_every_n_epoch", 4),
        ("accumulate_grad_batches", 0), ("strategy", "fsdp"), ("strategy", "ddp_spawn"), ("precision", "bf16-true"),
        ("precision", "64-true"), ("logger", True), ("default_root_dir", "runs"), ("enable_checkpointing", False),
        ("barebones", True), ("plugins", ["x"]), ("model_registry", "x"),
        ("reload_dataloaders_every_n_epochs", 1), ("of_the_next_lightning", 1),
        ("callbacks", [{"class_path": "pytorch_lightning.callbacks.ModelCheckpoint"}]),
        ("callbacks", {"class_path": "pytorch_lightning.callbacks.Timer"}),
    ],
)  # fmt: skip
def test_options_that_cannot_work_are_refused_by_name(option, value):
    with pytest.raises(UserError, match=rf"^trainer\.{option} is .*\. \w"):
        refuse_options({"max_epochs": 3, option: value})


def test_lightnings_defaults_are_accepted():
    usual = {name: option.default for name, option in inspect.signature(pl.Trainer).parameters.items()}
    refuse_options({**usual, "max_epochs": 3})
    refuse_options({"max_epochs": 3, "check_val_every_n_epoch": 3, "limit_train_batches": 0.5, "precision": "16-mixed"})
    refuse_options({"max_epochs": 3, "val_check_interval": 1.0})


def test_every_refused_callback_says_why():
    for kind, why in CALLBACKS.items():
        path = f"{kind.__module__}.{kind.__qualname__}"
        with pytest.raises(UserError, match=re.escape(why)):
            refuse_options({"max_epochs": 3, "callbacks": [{"class_path": path}]})
    stopping = [{"class_path": "pytorch_lightning.callbacks.EarlyStopping"}]
    refuse_options({"max_epochs": 3, "callbacks": stopping})
    with pytest.raises(UserError, match=r"EarlyStopping.*expected 1"):
        refuse_options({"max_epochs": 3, "callbacks": stopping, "check_val_every_n_epoch": 2})
