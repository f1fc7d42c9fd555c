"""Run a function in several processes on this machine, and collect the results."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def found_by(work: Callable[[int, Path], None], world: int, folder: Path) -> list[Any]:
    """The results that `work(rank, folder)` saves as `RANK.pt` in each of `world` processes."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=work, args=(rank, folder)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * world
    return [torch.load(folder / f"{rank}.pt") for rank in range(world)]
