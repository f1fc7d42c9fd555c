"""A job knows the state of its run, including a run that another process is training."""

import fcntl

import pytest

from xnorlit.runs.place import Place
from xnorlit.sweep import Job


@pytest.fixture
def job(tmp_path):
    return Job(Place(tmp_path / "runs", "e", "pair-0", "xnor", 0), ("-c", "base.yaml"))


def test_finished_runs_are_skipped_and_stopped_ones_resumed(job):
    folder = job.place.path
    assert job.state == "missing"
    assert job.command[1:] == ["-m", "xnorlit", "fit", "-c", "base.yaml"]
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").touch()
    assert job.state == "missing"
    assert job.command[-2:] == ["--run.fresh", "true"], "it failed before it had a checkpoint"
    (folder / "checkpoints" / "last.ckpt").touch()
    assert job.state == "unfinished"
    assert job.command[-2:] == ["--run.resume", "true"]
    (folder / "summary.json").touch()
    assert job.state == "finished"
    anew = Job(job.place, job.argv, again=True)
    assert anew.state == "missing"
    assert anew.command[-2:] == ["--run.fresh", "true"]


def test_a_run_is_running_while_a_process_holds_its_lock(job):
    job.place.path.mkdir(parents=True)
    (job.place.path / "summary.json").touch()
    with (job.place.path / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert job.state == "running"
    assert job.state == "finished"


def test_the_log_lies_beside_the_run(job):
    assert job.log == job.place.path.parent / "seed-0.log"
