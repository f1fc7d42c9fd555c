"""Refuse settings that parse but cannot work, before any data is read or written."""

from pathlib import Path
from typing import Any

from xnorlit.errors import UserError
from xnorlit.training.checkpoints import load_weights
from xnorlit.training.options import refuse_options
from xnorlit.training.place import RunPlace, checkpoint_of

_LARGEST_SEED = 2**32 - 1  # numpy's


def refuse(command: str, config: Any) -> None:
    """Refuse a parsed configuration that would fail later or produce no result.

    Args:
        command: fit, validate, test or predict.
        config: The command's namespace.

    Raises:
        UserError: A setting is out of range, or a checkpoint is missing.
    """
    seed = config.seed_everything
    if isinstance(seed, bool) or not 0 <= seed <= _LARGEST_SEED:
        raise UserError(
            f"the seed is {str(seed).lower()}. Expected a whole number from 0 to {_LARGEST_SEED} "
            "(--seed N; of xnorlit fit, --seed_everything N); it is part of the run's name."
        )
    if config.ckpt_path is not None and not Path(config.ckpt_path).is_file():
        raise UserError(f"there is no checkpoint {config.ckpt_path}. Expected RUN/checkpoints/best.ckpt or last.ckpt.")
    if command != "fit":
        packed = config.get("packed")
        if packed is not None and config.ckpt_path is not None:
            raise UserError("--packed and --ckpt_path were both given. Expected one of them.")
        if packed is None and config.ckpt_path is None:
            raise UserError(
                f"{command} needs a checkpoint and its configuration: -c RUN/config.yaml --ckpt_path "
                "RUN/checkpoints/best.ckpt."
            )
        return
    if config.model.init_from is not None and config.run.resume is False:
        run = RunPlace(**config.run.as_dict()).at(seed)
        load_weights(checkpoint_of(str(config.model.init_from), run, role="model.init_from"))
    refuse_options(config.trainer.as_dict())
    if config.run.checkpoint_minutes < 0:
        raise UserError(
            f"run.checkpoint_minutes is {config.run.checkpoint_minutes}. Expected 0 (save at each step) or more."
        )
