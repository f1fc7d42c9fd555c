"""Several processes, started as torchrun and Lightning do: killed, then resumed with another number of processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.faults.forked import differences
from xnorlit.runs.lock import state_of

ROOT = Path(__file__).parents[2]
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node")
LIMIT = 600  # seconds for a start, or for an end


def words(photos, root, backend, processes):
    """A training at one global batch, saved at each step."""
    line = [
        *("fit", "-c", "experiments/cifar10/base.yaml", "-c", "experiments/cifar10/float.yaml"),
        *(f"--data.source={photos}", f"--data.backend={backend}", f"--data.root={root.parent / 'data'}"),
        *("--data.workers=1", "--data.global_batch=12", f"--data.batch_size={12 // processes}"),
        *("--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0.0005", "--trainer.precision=32-true"),
        *("--trainer.sync_batchnorm=true", "--trainer.accelerator=cpu", "--trainer.max_epochs=3"),
        *(f"--run.root={root}", "--run.wandb=off", "--run.resume=auto", "--run.checkpoint_minutes=0"),
    ]
    return line if processes == 1 else [*line, f"--trainer.devices={processes}", "--trainer.strategy=ddp"]


def start(line, log, *launcher, program="xnorlit"):
    """The command, with a mark by which its processes are found: torchrun starts each in its own session."""
    mark = f"XNORLIT_MARK={time.monotonic_ns()}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **dict([mark.split("=")])}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *launcher, *(["-m"] if launcher else []), program, *line],
            cwd=ROOT, env=environment, stdout=output, stderr=output,
        )  # fmt: skip
    process.mark = mark.encode()
    return process


def living(process):
    """The command's live processes, with their ranks if they have one."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if process.mark in environment and state != "Z":
            found[int(folder.name)] = next((each[5:] for each in environment if each.startswith(b"RANK=")), None)
    return found


def steps_saved(root):
    """Steps of the newest checkpoint; 0 without one."""
    for file in root.glob("*/*/*/seed-0/checkpoints/last.ckpt"):
        try:
            return torch.load(file, weights_only=True)["global_step"]
        except (OSError, RuntimeError, EOFError):
            pass
    return 0


def wait_for_step(process, root, step, log):
    until = time.monotonic() + LIMIT
    while steps_saved(root) < step:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.01)


def wait_for_end(process, log):
    """The exit status. Soon after, no process of the command may be left."""
    try:
        status = process.wait(LIMIT)
        until = time.monotonic() + LIMIT
        while living(process):
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        return status
    finally:
        for pid in living(process):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("backend", ["folder", pytest.param("ffcv", marks=pytest.mark.ffcv)])
def test_killed_under_torchrun_then_under_lightning_then_finished_alone(backend, photos, tmp_path):
    if backend == "ffcv":
        pytest.importorskip("ffcv")

    def begin(processes, root, log, *launcher):
        """In fp64, in which the rounding of reordered sums is distinguishable from a fault."""
        line = [*words(photos, root, backend, processes), "--trainer.precision=64-true"]
        return start(line, log, *launcher, program="tests.training.exact")

    root, log = tmp_path / "runs", tmp_path / "log"
    whole = begin(1, tmp_path / "whole", tmp_path / "whole.log")
    assert wait_for_end(whole, tmp_path / "whole.log") == 0, (tmp_path / "whole.log").read_text()

    process = begin(3, root, log, *TORCHRUN, "3")
    wait_for_step(process, root, 2, log)
    (worker, *_) = (pid for pid, rank in living(process).items() if rank == b"2")
    os.kill(worker, signal.SIGKILL)
    assert wait_for_end(process, log) != 0
    assert "the connection to another process of the run is lost" in log.read_text()
    assert state_of(runs_folder(root)) == "unfinished"

    process = begin(2, root, log)
    wait_for_step(process, root, steps_saved(root) + 2, log)
    os.kill(process.pid, signal.SIGKILL)  # the launcher, which is the first process, too
    assert wait_for_end(process, log) == -signal.SIGKILL

    process = begin(1, root, log)
    assert wait_for_end(process, log) == 0, log.read_text()
    expected, found = (
        torch.load(runs_folder(each) / "checkpoints" / "last.ckpt", weights_only=True)
        for each in (tmp_path / "whole", root)
    )
    assert found["global_step"] == expected["global_step"]
    for key, value in expected["state_dict"].items():
        torch.testing.assert_close(
            found["state_dict"][key], value, rtol=0, atol=1e-11, msg=lambda text, key=key: f"{key} {text}"
        )


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_resume_to_the_same_bits_after_one_is_killed(rank, photos, tmp_path):
    """With stochastic weights: each process has its own generator."""
    drawn = "--model.binarizer={class_path: BinaryConnect, init_args: {weights: stochastic}}"

    def line(root):
        return [*words(photos, root, "folder", 2), drawn]

    whole = start(line(tmp_path / "whole"), tmp_path / "whole.log")
    assert wait_for_end(whole, tmp_path / "whole.log") == 0, (tmp_path / "whole.log").read_text()
    root, log = tmp_path / "runs", tmp_path / "log"
    process = start(line(root), log)
    wait_for_step(process, root, 4, log)
    (other,) = (pid for pid in living(process) if pid != process.pid)
    os.kill(other if rank else process.pid, signal.SIGKILL)
    assert wait_for_end(process, log) != 0
    assert state_of(runs_folder(root)) == "unfinished", "killed too late"
    process = start(line(root), log)
    assert wait_for_end(process, log) == 0, log.read_text()
    assert differences(runs_folder(tmp_path / "whole"), runs_folder(root)) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_of_two_processes_saves_and_ends_both(rank, photos, tmp_path):
    root, log = tmp_path / "runs", tmp_path / "log"
    line = [*words(photos, root, "folder", 2), "--trainer.max_epochs=1000", "--run.checkpoint_minutes=60"]
    process = start(line, log)
    wait_for_step(process, root, 3, log)  # the first epoch's
    (other,) = (pid for pid in living(process) if pid != process.pid)
    os.kill(other if rank else process.pid, signal.SIGTERM)
    assert wait_for_end(process, log) == 75, log.read_text()
    assert state_of(runs_folder(root)) == "unfinished"
    saved = steps_saved(root)
    assert f"SIGTERM: saved at step {saved:,} (epoch" in log.read_text()
    assert log.read_text().count("A second signal ends it at once") == 1, "one of them was told"


def runs_folder(root):
    (found,) = root.glob("*/*/*/seed-0")
    return found
