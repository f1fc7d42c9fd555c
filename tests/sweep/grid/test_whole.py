"""A grid as a user runs it: from the command line, killed in the middle, restarted, two runs at once."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xnorlit.sweep import grid as ablation

pytestmark = pytest.mark.slow

XNORLIT = [str(Path(sys.executable).with_name("xnorlit"))]
RUNS = Path("runs/tiny/pair-0")
TWO = {"model.binarizer": {"values": ["Float", "XNOR"]}}


def environment():
    # Threads that wait actively would occupy a busy machine.
    threads = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    return {**os.environ, **threads, "PYTHONPATH": str(Path(__file__).parents[3]), "NO_COLOR": "1"}


def run(*words):
    return subprocess.run([*XNORLIT, "ablate", *words], env=environment(), capture_output=True, text=True)


def test_killed_and_started_again_it_redoes_only_the_unfinished_run(small):
    small({**TWO, "trainer.max_epochs": {"value": 8}})
    process = subprocess.Popen(
        [*XNORLIT, "ablate", "tiny.yaml"], env=environment(), stdout=subprocess.DEVNULL, start_new_session=True
    )
    last = RUNS / "XNOR" / "seed-0" / "checkpoints" / "last.ckpt"
    while not last.is_file():
        assert process.poll() is None
        time.sleep(0.02)
    lock = RUNS / "XNOR" / "seed-0" / ".lock"
    (child,) = re.findall(r"process (\d+)", lock.read_text())
    for number in (process.pid, int(child)):
        os.kill(number, signal.SIGKILL)
    process.wait()
    assert not (RUNS / "XNOR" / "seed-0" / "summary.json").exists(), "seven epochs were left when it was killed"
    before = (RUNS / "Float" / "seed-0" / "summary.json").stat().st_mtime_ns
    again = run("tiny.yaml")
    assert again.returncode == 0, again.stderr
    assert "1 finished, 1 unfinished" in again.stdout
    assert "1/1  XNOR, seed 0 resumes" in again.stdout
    assert "Float, seed 0 starts" not in again.stdout
    assert (RUNS / "Float" / "seed-0" / "summary.json").stat().st_mtime_ns == before
    assert "[resume]" in (RUNS / "XNOR" / "seed-0.log").read_text()
    assert len(ablation.read("tiny.yaml")) == 2


def test_one_diverges_and_the_others_are_trained_two_at_once(small):
    rates = {"values": [0.001, 1e30, 0.002]}
    small(
        {"model.binarizer": {"value": "Float"}, "model.optimizer": {"value": "Adam"}, "model.optimizer.lr": rates},
        arm="lr-{model.optimizer.lr}",
    )
    done = run("tiny.yaml", "--jobs", "2")
    assert done.returncode == 2
    assert (
        "1 of 3 runs failed:\n  runs/tiny/pair-0/lr-1e+30/seed-0: see runs/tiny/pair-0/lr-1e+30/seed-0.log"
        in done.stderr
    )
    assert "the training loss at step 1 is not a finite number" in done.stdout
    assert done.stdout.count("[ablate]  done: ") == 2
    for each in ablation.read("tiny.yaml"):
        assert each.run.environment.threads == 1, "two cores, two at once"
        assert str(each.varied["lr"]) in each.run.place.arm
    assert "| 0.001 | " in (RUNS / "ablation.md").read_text()
