"""Jobs run several at once. A failed job is named and the others continue. Ctrl-C ends all of them."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.runs.factory import write_run
from xnorlit.runs.place import Place
from xnorlit.sweep import Job, work

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Scripted(Job):
    """A job whose command is a few lines of Python; `LINES` are run where its run would be."""

    @property
    def command(self):
        return [sys.executable, "-c", "\n".join(self.argv), str(self.place.path)]


def jobs(root, *lines):
    """One for each, as arms a, b, ...: the lines are run with the run's folder as argument."""
    return [Scripted(Place(root, "e", "pair-0", name, 0), (text,)) for name, text in zip("abcd", lines, strict=False)]


def finishing(root, arm):
    """The lines of a job that leaves a finished run."""
    return (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; import tests.runs.factory as f\n"
        f"f.BINARIZERS[{arm!r}] = f.XNOR; f.write_run(Path({str(root)!r}), {arm!r}, experiment='e', right=640)\n"
        "print('hi')"
    )


def test_a_failing_job_is_named_and_the_others_finish(tmp_path, capsys):
    todo = jobs(
        tmp_path, finishing(tmp_path, "a"), "print('out of memory'); raise SystemExit(3)", finishing(tmp_path, "c")
    )
    assert work.run_jobs(todo, at_once=1, tag="t") == [todo[1]]
    told = capsys.readouterr().out
    assert f"done: a, seed 0, top-1 64.00 %: {tmp_path / 'e/pair-0/a/seed-0'}" in told
    assert "b, seed 0, exit status 3: out of memory" in told
    assert f"log: {todo[1].log}" in told
    assert "done: c" in told
    assert "hi" in todo[0].log.read_text()


def test_a_job_that_ends_without_a_finished_run_has_failed(tmp_path, capsys):
    todo = jobs(tmp_path, "pass")
    assert work.run_jobs(todo, at_once=1, tag="t") == todo
    assert "left no finished run" in capsys.readouterr().out


def test_finished_jobs_are_not_run_again(tmp_path):
    write_run(tmp_path, "xnor", experiment="e")
    done = Scripted(Place(tmp_path, "e", "pair-0", "xnor", 0), ("open('ran', 'w')",), tmp_path)
    assert work.run_jobs([done], at_once=1, tag="t") == []
    assert not (tmp_path / "ran").exists()


def test_two_at_once_see_each_other_and_share_the_cores(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    meet = (
        "import os, pathlib, sys, time; here = pathlib.Path({root!r})\n"
        "(here / '{me}').write_text(os.environ['OMP_NUM_THREADS'])\n"
        "for _ in range(600):\n  if (here/'{other}').exists(): break\n  time.sleep(.1)\nelse: sys.exit(1)\n"
    )
    lines = [
        meet.format(root=str(tmp_path), me=me, other=other) + finishing(tmp_path, arm)
        for me, other, arm in (("x", "y", "a"), ("y", "x", "b"))
    ]
    assert work.run_jobs(jobs(tmp_path, *lines), at_once=2, tag="t") == []
    assert (tmp_path / "x").read_text() == "3"


def test_a_run_that_another_process_trains_is_waited_for(tmp_path, capsys):
    folder = tmp_path / "e" / "pair-0" / "xnor" / "seed-0"
    folder.mkdir(parents=True)
    lock = (folder / ".lock").open("a+")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def finish():
        time.sleep(0.5)
        (folder / ".lock").unlink()
        folder.rmdir()
        write_run(tmp_path, "xnor", experiment="e")
        lock.close()

    thread = threading.Thread(target=finish)
    thread.start()
    todo = [Scripted(Place(tmp_path, "e", "pair-0", "xnor", 0), ("raise SystemExit(9)",))]
    assert work.run_jobs(todo, at_once=1, tag="t") == []
    thread.join()
    told = capsys.readouterr().out
    assert "another process that is training it" in told
    assert "finished elsewhere: xnor" in told


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_nohup_or_a_shell_ignores_does_not_end_the_runs(tmp_path, number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        todo = jobs(tmp_path, f"import os; os.kill(os.getppid(), {int(number)})\n{finishing(tmp_path, 'a')}")
        assert work.run_jobs(todo, at_once=1, tag="t") == []
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_child_is_interrupted_once_and_waited_for(tmp_path, number):
    """Either the whole group gets Ctrl-C, or only the parent gets a request to end."""
    child = (
        "import signal, time\ncount = 0\ndef note(*_):\n  global count; count += 1\n"
        "signal.signal(signal.SIGINT, note); print('on', flush=True)\nwhile not count: time.sleep(.05)\n"
        "time.sleep(1); open('saved', 'w').write(str(count))"
    )
    parent = (
        "from pathlib import Path; from xnorlit.sweep import work; from tests.sweep.test_work import jobs\n"
        f"work.run_jobs(jobs(Path('runs'), {child!r}), at_once=1, tag='t')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # A process started in the background of a shell ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    log = tmp_path / "runs" / "e" / "pair-0" / "a" / "seed-0.log"
    while not (log.is_file() and "\non\n" in log.read_text()):
        assert process.poll() is None
        time.sleep(0.1)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    assert process.wait(timeout=60) != 0
    assert (tmp_path / "saved").read_text() == "1"
