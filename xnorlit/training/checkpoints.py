"""Checkpoints on disk: written completely or not at all, checked when read, and read as data, never as code."""

import errno
import os
import pickle
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor
from typing_extensions import override

from xnorlit.edge import atomic
from xnorlit.edge.console import say
from xnorlit.edge.processes import is_first
from xnorlit.errors import UserError
from xnorlit.runs.lock import CHECKPOINTS
from xnorlit.training.trained_on import refuse_other_classes

NETWORK = "net."  # prefix of the network's tensors in a checkpoint


class Checkpoints(TorchCheckpointIO):
    """Lightning's plug-in for writing and reading checkpoints.

    Lightning's own plug-in writes to the folder for temporary files and then moves the file. A move between two disks
    is a copy, so a full disk leaves half a file. Here each file is written beside its final place. `last.ckpt` becomes
    `previous.ckpt` once the new one is complete.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        try:
            with atomic.path(path) as scratch, scratch.open("wb") as file:
                torch.save(checkpoint, file)
                if path.name == CHECKPOINTS[0] and path.is_file():
                    _keep(path, path.with_name(CHECKPOINTS[1]))
        except (OSError, RuntimeError) as error:
            if not _disk_is_full(error):
                raise
            former = f"the previous {path.name} is intact" if path.is_file() else "no partial file was left"
            resumable = path.with_name("last.ckpt").is_file()
            remedy = "--run.resume auto to continue from the last one" if resumable else "--run.fresh true to restart"
            raise UserError(
                f"no space left in {path.parent} for the checkpoint {path.name}; {former}. Free some space, then run "
                f"the same command with {remedy}."
            ) from error

    @override
    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return load(path, weights_only=weights_only is not False)


def _keep(last: Path, previous: Path) -> None:
    """Give a checkpoint a second name; keep the first."""
    scratch = previous.with_name(f".{previous.name}.partial")
    scratch.unlink(missing_ok=True)
    try:
        os.link(last, scratch)
    except OSError:  # A file system without hard links: for a moment only the second name exists.
        last.replace(previous)
    else:
        scratch.replace(previous)


def newest(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The newest intact checkpoint of an unfinished run, and its content. Damaged ones are reported.

    Args:
        folder: The run's `checkpoints/`.

    Raises:
        UserError: All of them are damaged.
    """
    damaged: list[UserError] = []
    for name in CHECKPOINTS:
        try:
            if (folder / name).is_file():
                content = load(folder / name)
                for error in damaged:
                    if is_first():  # Otherwise the next save would replace the intact one with it.
                        (folder / CHECKPOINTS[0]).replace(folder / "damaged.ckpt")
                    say("damaged", f"{error}\nUsing the previous one: {folder / name}, {where(content)}")
                return folder / name, content
        except UserError as error:
            damaged.append(error)
    raise UserError("\n".join(map(str, damaged)) + "\nNo checkpoint can be resumed. Start afresh: --run.fresh true.")


def where(checkpoint: dict[str, Any]) -> str:
    """`at step 1,200, in epoch 3`: where training continues after a checkpoint."""
    batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"]
    progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
    within = batches and progress["started"] > progress["processed"]
    return f"at step {checkpoint['global_step']:,}, in epoch {checkpoint['epoch'] + (1 if within else 2)}"


def load(path: str | Path, *, weights_only: bool = True) -> dict[str, Any]:
    """A checkpoint's content, on the CPU.

    Args:
        path: The file.
        weights_only: Whether to refuse a file that contains code. If False, loading runs that code.

    Raises:
        UserError: There is no such file, it is not a checkpoint, or it contains more than data.
    """
    path = Path(path)
    trusting = " If you trust the file as you trust a program: --weights_only false."
    content = _content(path, weights_only, trusting)
    if not isinstance(content, dict) or not {"state_dict", "pytorch-lightning_version"} <= content.keys():
        raise _no_checkpoint(path)
    return content


def load_weights(path: str | Path, classes: Sequence[str] = ()) -> dict[str, Tensor]:
    """The network's tensors by name, from a run's checkpoint or from a plain state dict.

    Args:
        path: A RUN/checkpoints/*.ckpt, or a state dict written by `torch.save`.
        classes: The classes on which a run's checkpoint must have been trained; default: any.

    Raises:
        UserError: There is no such file, it is neither of these, it contains code, or it was trained on other classes.
    """
    path = Path(path)
    content = _content(path, True, " Save the state dict alone: torch.save(model.state_dict(), FILE).")
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise _no_checkpoint(path)
    if classes and (made := content.get("xnorlit")):
        remedy = "To start from its weights anyway, save the state dict alone: torch.save(state_dict, FILE)."
        refuse_other_classes(made["classes"], classes, str(path), remedy)
    if state is content:
        return {str(key): value for key, value in state.items()}
    return {key.removeprefix(NETWORK): value for key, value in state.items() if key.startswith(NETWORK)}


def _content(path: Path, weights_only: bool, remedy: str) -> Any:
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}. Expected RUN/checkpoints/best.ckpt or last.ckpt.")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:  # torch writes a CRC-32 of each tensor but does not check it.
                    raise _no_checkpoint(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Warnings about pickle formats that are refused below.
            return torch.load(path, map_location="cpu", weights_only=weights_only)
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error):
            raise _no_checkpoint(path) from error
        raise UserError(
            f"{path} contains code besides weights, and loading it would run that code. Expected plain data, as in "
            f"xnorlit's RUN/checkpoints/*.ckpt.{remedy}"
        ) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # raised by zipfile for a truncated file
            raise
        raise _no_checkpoint(path) from error
    except MemoryError:
        raise
    except Exception as error:  # torch's reader may raise anything for bytes that it did not write.
        raise _no_checkpoint(path) from error


def _no_checkpoint(path: Path) -> UserError:
    return UserError(
        f"{path} is not a checkpoint of a training run, or it is damaged ({path.stat().st_size:,} bytes). Expected "
        "RUN/checkpoints/best.ckpt or last.ckpt."
    )


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk caused the error, which torch wraps in its own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False
