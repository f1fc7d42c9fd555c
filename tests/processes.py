"""Run a function in other processes on this machine: in several with results, or in a fork with a status."""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterable
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


def status_of(work: Callable[[], object]) -> int:
    """The exit status of a function in a fork, which needs no seconds to import torch; negative for a signal."""
    sys.stdout.flush()
    sys.stderr.flush()
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        torch.set_num_threads(1)  # The fork has none of the parent's threads and would wait for them for ever.
        work()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else status
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def forget(missing: Iterable[str]) -> None:
    """In a fork: let our modules be imported again, in a place where other modules or packages are not installed."""
    for name in [name for name in sys.modules if name.startswith("xnorlit.")]:
        del sys.modules[name]
    for absent in missing:
        for name in [name for name in sys.modules if name == absent or name.startswith(f"{absent}.")]:
            del sys.modules[name]
        sys.modules[absent] = None  # type: ignore[assignment]
