"""The sbatch file, with an srun and scontrol that only record calls: it saves, requeues, resumes and ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "experiments" / "slurm" / "train.sbatch"
SRUN = """#!/usr/bin/env bash
echo $$ > "$FAKE/pid"
SLURM_PROCID=0 SLURM_LOCALID=0 exec "$@"
"""
SCONTROL = """#!/usr/bin/env bash
echo "$@" >> "$FAKE/asked"
"""
JOB = {
    "SLURM_JOB_ID": "42", "SLURM_JOB_NAME": "xnorlit", "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_JOB_NUM_NODES": "1", "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost",
}  # fmt: skip


@pytest.fixture
def job(tmp_path):
    """Start the script with some arguments, as SLURM would."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def start(*words, program=f"{sys.executable} -m xnorlit"):
        environment = {
            **os.environ, **JOB, "FAKE": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "XNORLIT": program, "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled",
        }  # fmt: skip
        return subprocess.Popen(
            ["bash", SCRIPT, *words],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    start.asked = tmp_path / "asked"
    start.pid = tmp_path / "pid"
    return start


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (75, True), (2, False), (137, False)])
def test_only_a_run_that_can_go_on_is_requeued(job, tmp_path, status, requeued):
    ends = tmp_path / "ends"
    ends.write_text(f"#!/usr/bin/env bash\nexit {status}\n")
    ends.chmod(0o755)
    process = job("fit", program=str(ends))
    process.communicate(timeout=60)
    assert process.returncode == status
    assert job.asked.is_file() is requeued
    if requeued:
        assert job.asked.read_text() == "requeue 42\n"


@pytest.mark.slow
def test_a_run_that_reaches_its_time_limit_saves_is_requeued_and_resumes(job, tmp_path):
    words = [
        *("fit", "-c", "experiments/synthetic/base.yaml", "-c", "experiments/synthetic/xnor.yaml"),
        *(
            f"--run.root={tmp_path / 'runs'}",
            "--run.wandb=off",
            "--trainer.max_epochs=2",
            "--trainer.precision=32-true",
        ),
        "--trainer.limit_train_batches=40",
    ]
    process = job(*words)
    curves = tmp_path / "runs" / "synthetic" / "pair-0" / "xnor" / "seed-0" / "config.yaml"
    until = time.monotonic() + 200
    while not curves.is_file():
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    time.sleep(1)
    os.kill(int(job.pid.read_text()), signal.SIGUSR1)
    told, _ = process.communicate(timeout=200)
    assert process.returncode == 75, told
    assert job.asked.read_text() == "requeue 42\n"
    again = job(*words)  # as the requeued job does
    told, _ = again.communicate(timeout=400)
    assert again.returncode == 0, told
    assert job.asked.read_text() == "requeue 42\n"
    assert (curves.parent / "summary.json").is_file()
