"""Submitit jobs, on its local executor: they train, fail, are interrupted and requeued like local processes."""

import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.sweep.test_work import Scripted, finishing, jobs
from xnorlit.errors import UserError
from xnorlit.runs.place import Place
from xnorlit.sweep import work
from xnorlit.sweep.cluster import Submitted, Training, executor_for

pytestmark = pytest.mark.skipif(not find_spec("submitit"), reason="needs the extra slurm")
# A training that saves when it is stopped, and finishes when it is started again.
SAVING = """
import pathlib, signal, sys, time
saved = pathlib.Path(sys.argv[1] + ".saved")
if saved.exists():
    print("goes on"); {finish}
else:
    def save(*_):
        saved.touch(); print("saved", flush=True); sys.exit(75)
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, save)
    print("trains", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def start(tmp_path):
    executor = executor_for("local", "timeout_min=5", tmp_path / "submitit", "grid")
    return lambda job: Submitted(executor, job)


def wait_for(log, word):
    until = time.monotonic() + 300
    while not (log.is_file() and word in log.read_text().splitlines()):
        assert time.monotonic() < until, log.read_text() if log.is_file() else "no log"
        time.sleep(0.05)


@pytest.mark.slow
def test_jobs_are_trained_and_a_failed_one_is_named(tmp_path, start, capsys):
    todo = jobs(tmp_path, finishing(tmp_path, "a"), "print('out of memory'); raise SystemExit(3)")
    assert work.run_jobs(todo, at_once=2, tag="t", start=start) == [todo[1]]
    told = capsys.readouterr().out
    assert f"done: a, seed 0, top-1 64.00 %: {tmp_path / 'e/pair-0/a/seed-0'}" in told
    assert "b, seed 0, exit status 3: out of memory" in told


@pytest.mark.slow
def test_a_preempted_job_saves_and_resumes(tmp_path, start):
    job = Scripted(Place(tmp_path, "e", "pair-0", "a", 0), (SAVING.format(finish="sys.exit(0)"),))
    submitted = start(job)
    wait_for(job.log, "trains")
    controller = submitted._job._process.pid
    task = int(Path(f"/proc/{controller}/task/{controller}/children").read_text())
    os.kill(task, signal.SIGUSR1)  # as SLURM does
    assert submitted.wait() == 0
    said = [line for line in job.log.read_text().splitlines() if line in ("trains", "saved", "goes on")]
    assert said == ["trains", "saved", "goes on"]


def test_a_job_that_ends_before_it_starts_fails_alone(tmp_path, capsys):
    from submitit.core.utils import UncompletedJobError

    class Lost:
        def done(self):
            return True

        def result(self):
            raise UncompletedJobError("has not produced any output (state: NODE_FAIL)")

    class Executor:
        def submit(self, _):
            return Lost()

    todo = jobs(tmp_path, "", "")
    assert work.run_jobs(todo, at_once=2, tag="t", start=lambda job: Submitted(Executor(), job)) == todo
    assert "a, seed 0, exit status 1: the job ended without a result: has not produced" in capsys.readouterr().out


def test_a_job_cancelled_before_it_starts_trains_nothing(tmp_path):
    training = Training(Scripted(Place(tmp_path, "e", "pair-0", "a", 0), ("print('begun')",)))
    training.checkpoint()
    assert training() == 75
    assert not training.job.log.exists()


@pytest.mark.slow
def test_an_interrupted_job_saves_and_ends(tmp_path, start):
    job = Scripted(Place(tmp_path, "e", "pair-0", "a", 0), (SAVING.format(finish="sys.exit(0)"),))
    submitted = start(job)
    wait_for(job.log, "trains")
    submitted.interrupt()
    assert submitted.wait() == 75
    assert "saved" in job.log.read_text()


def test_a_setting_that_submitit_does_not_know_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--on local: .*gpu_per_node"):
        executor_for("local", "gpu_per_node=1", tmp_path, "grid")


def test_missing_slurm_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"--on slurm: .*srun"):
        executor_for("slurm", None, tmp_path, "grid")
