"""Trainings as forks of a process that has imported everything. They start at once and can be killed at any time."""

import contextlib
import csv
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

import xnorlit.commands.fit  # as `forked.xnorlit` to the tests
import xnorlit.models.alexnet
from tests.one_parser import built, share_parser
from xnorlit.commands.main import main
from xnorlit.models.network import Block, Network

# If the first backward of a process comes after a torch.compile, autograd keeps threads, and refuses to compute in a
# forked child, which lacks them. This one comes before any test.
torch.zeros((), requires_grad=True).backward()
built()

TINY = Network(
    name="tiny",
    image_size=32,
    source="a network of a test, whose steps take milliseconds; it has dropout, which draws from torch's generator",
    blocks=(
        Block("conv1", "conv norm relu pool", 4, kernel=3, stride=2, padding=1, pool=(4, 4), binary=False),
        Block("conv2", "norm conv", 8, kernel=3, padding=1, eps=1e-4),
        Block("fc3", "flatten norm linear", 8, eps=1e-4),
        Block("fc4", "norm relu dropout linear", binary=False),
    ),
)

Prepare = Callable[[], None]


def words(photos: Path, root: Path, **options: Any) -> list[str]:
    """An `xnorlit fit` of the tiny network with stochastic weights: dropout and binarizer draw from torch's generator.

    Args:
        photos: A folder of images.
        root: Where the run goes.
        options: Settings, dots as double underscores; None leaves one out.
    """
    given = {
        "data__source": photos,
        "data__backend": "folder",
        "data__batch_size": 4,
        "data__workers": 0,
        "model__network": "tiny",
        "model__binarizer": "{class_path: BinaryConnect, init_args: {weights: stochastic}}",
        "model__optimizer": "{class_path: torch.optim.Adam, init_args: {lr: 0.01}}",
        "model__schedule": "{class_path: xnorlit.training.schedule.WarmupCosine, init_args: {warmup: 1}}",
        "run__root": root,
        "run__wandb": "off",
        "run__resume": "auto",
        "trainer__max_epochs": 3,
        "trainer__accelerator": "cpu",
        "trainer__log_every_n_steps": 1,
        **options,
    }
    return ["fit", *(f"--{key.replace('__', '.')}={value}" for key, value in given.items() if value is not None)]


class Training:
    """A command in a forked child; what it says goes to a file.

    Args:
        line: Words of the command line.
        log: Where its output goes.
        prepare: Called in the child before the command, to put a fault in its way.
    """

    def __init__(self, line: list[str], log: Path, prepare: Prepare | None = None) -> None:
        self.log, self.began = log, time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._child(line, prepare)

    def _child(self, line: list[str], prepare: Prepare | None) -> None:
        status = 70
        try:
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            torch.set_num_threads(1)
            xnorlit.models.alexnet.TINY = TINY  # where `networks()` finds it
            share_parser()
            if prepare:
                prepare()
            status = main(line)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def send(self, number: int) -> None:
        """Send the process a signal; do nothing if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, limit: float = 120.0) -> int:
        """The exit status, negative for a signal. After `limit` seconds the process is killed."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.seconds = time.monotonic() - self.began
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        self.send(signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"it did not end within {limit} s:\n{self.said}")

    @property
    def said(self) -> str:
        """All of its output."""
        return self.log.read_text() if self.log.is_file() else ""


def train(line: list[str], log: Path, prepare: Prepare | None = None) -> Training:
    """A training that ended successfully."""
    training = Training(line, log, prepare)
    assert training.wait() == 0, training.said
    return training


def folder(root: Path) -> Path:
    """The one run below a root."""
    (found,) = root.glob("*/*/*/seed-*/")
    return found


def differences(one: Path, other: Path) -> list[str]:
    """The differences of two finished runs, bit for bit: weights, optimizer, generators, predictions, metrics."""
    found = []
    for name in ("last.ckpt", "best.ckpt"):
        left, right = (torch.load(run / "checkpoints" / name, weights_only=True) for run in (one, other))
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "random", "epoch", "global_step", "train_sums"):
            if not _same(left[key], right[key]):
                found.append(f"{name}: {key}")
    if not _same(*(_predictions(run / "predictions.safetensors") for run in (one, other))):
        found.append("predictions")
    rows = [sorted(map(str, _rows(run))) for run in (one, other)]
    if rows[0] != rows[1]:
        found += [f"metrics: {row}" for row in sorted({*rows[0]} ^ {*rows[1]})] or ["metrics: a row twice"]
    summaries = [_summary(run) for run in (one, other)]
    found += [f"summary: {key}" for key in summaries[0] if summaries[0][key] != summaries[1].get(key)]
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    return one == other


def _predictions(file: Path) -> dict[str, Any]:
    with safe_open(file, "pt") as opened:
        return {"metadata": opened.metadata(), **{key: opened.get_tensor(key) for key in opened.keys()}}  # noqa: SIM118


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def _summary(run: Path) -> dict[str, Any]:
    found = json.loads((run / "summary.json").read_text())
    return {key: value for key, value in found.items() if "seconds" not in key}
