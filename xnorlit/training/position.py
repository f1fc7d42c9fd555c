"""The position of a training: Lightning's counters, and the state of every random generator."""

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch


def mark_position(checkpoint: dict[str, Any], epochs: int, batches: int, validate: bool) -> None:
    """Set Lightning's counters to `epochs` finished epochs and `batches` of the next, as between two of its hooks.

    Args:
        checkpoint: The checkpoint; changed in place.
        epochs: Number of trained and validated epochs.
        batches: Number of trained batches of the current epoch; 0 between epochs.
        validate: Whether these are all batches of the epoch, and its validation is missing.
    """
    # As in Lightning's checkpoints: the index of the current epoch or, between epochs, of the last one.
    checkpoint["epoch"] = epochs if batches else epochs - 1
    fit = checkpoint["loops"]["fit_loop"]
    fit["state_dict"].pop("combined_loader", None)  # The data module saves the position of its loader.
    count = epochs + bool(batches)
    for part in ("total", "current"):
        fit["epoch_progress"][part].update(ready=count, started=count, processed=epochs, completed=epochs)
    if batches:
        progress = fit["epoch_loop.batch_progress"]
        progress["is_last_batch"] = validate
        for part in ("total", "current"):
            count = progress[part]["completed"]
            progress[part].update(ready=count, started=count, processed=count)
        if validate:
            for counts in (fit["epoch_loop.val_loop.batch_progress"][part] for part in ("total", "current")):
                counts.update(ready=1, started=1, processed=0, completed=0)  # Lightning's mark of a started epoch.


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of every random generator of this process, as plain data."""
    _, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global one, which a user's own code may draw from
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [torch.from_numpy(keys.astype(np.int64)), *rest],
        "python": [version, list(internal), gauss],
    }


def restore(states: list[dict[str, Any]], rank: int, step: int, device: torch.device) -> None:
    """Set the random generators of this process. Additional processes seed theirs by rank."""
    if rank >= len(states):
        pl.seed_everything((torch.initial_seed() + 1_000_003 * rank + step) % 2**32, verbose=False)
        return
    mine = states[rank]
    torch.set_rng_state(mine["torch"])
    if mine["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(mine["cuda"], device)
    keys, *rest = mine["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = mine["python"]
    random.setstate((version, tuple(internal), gauss))
