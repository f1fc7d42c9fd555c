"""Run jobs, several at once: start each, wait for it, and report it in one line."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from xnorlit.edge.processes import cores
from xnorlit.errors import UserError
from xnorlit.runs import read
from xnorlit.sweep.cluster import Submitted
from xnorlit.sweep.display import Display
from xnorlit.sweep.job import Job
from xnorlit.sweep.process import Process, last_line

PAUSE = 0.2  # seconds between two polls


def run_jobs(
    jobs: Sequence[Job], *, at_once: int, tag: str, start: Callable[[Job], Process | Submitted] | None = None
) -> list[Job]:
    """Train the unfinished jobs, and return the failed ones. A failure does not stop the others.

    Ctrl-C or a termination request is passed on to the running jobs, which save a checkpoint, and is then raised here.
    If another process is training a run, this waits for it and does not start it twice.

    Args:
        jobs: The runs, in starting order.
        at_once: Number of runs that train at the same time; they share the cores.
        tag: The command's name, for printed lines.
        start: A function that starts a job elsewhere (default: a process on this machine).
    """

    def here(job: Job) -> Process:
        return Process(job.command, folder=job.folder, log=job.log.absolute(), threads=threads(at_once))

    work = _Work(jobs, at_once, tag, start or here)
    with _ends_as_interrupt():
        try:
            return work.done()
        except BaseException:
            work.stop()
            raise


def threads(at_once: int) -> int:
    """Cores for each of several processes, at least 1. OMP_NUM_THREADS, if set, is the total to share."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, (int(said) if said.isdecimal() and int(said) else cores()) // at_once)


class _Work:
    def __init__(
        self, jobs: Sequence[Job], at_once: int, tag: str, start: Callable[[Job], Process | Submitted]
    ) -> None:
        self.waiting = deque(job for job in jobs if job.state != "finished")
        self.count, self.number = len(self.waiting), 0
        self.at_once, self.tag, self.start = at_once, tag, start
        self.running: dict[Job, Process | Submitted] = {}
        self.elsewhere: set[Job] = set()
        self.failed: list[Job] = []
        self.display = Display(self.running)

    def done(self) -> list[Job]:
        with self.display:
            while self.waiting or self.running:
                self._begin()
                for job in [job for job, process in self.running.items() if process.ended() is not None]:
                    self._end(job, self.running.pop(job).wait())
                self.display.refresh()
                time.sleep(PAUSE)
        return self.failed

    def stop(self) -> None:
        for process in self.running.values():
            process.interrupt()
        if self.running:
            self.display.say(self.tag, f"stopping: {len(self.running)} runs are saving a checkpoint")
        for process in self.running.values():
            while True:
                try:
                    process.wait()
                    break
                except KeyboardInterrupt:
                    for each in self.running.values():
                        each.interrupt()

    def _begin(self) -> None:
        """Start waiting jobs in the free places. A run that another process trains goes to the end of the queue."""
        for _ in range(len(self.waiting)):
            if len(self.running) >= self.at_once:
                return
            job = self.waiting.popleft()
            state = job.state
            if state == "running":
                if job not in self.elsewhere:
                    self.elsewhere.add(job)
                    self.display.say(self.tag, f"{_name(job)}: waiting for another process that is training it")
                self.waiting.append(job)
                continue
            self.number += 1
            if state == "finished":
                self._tell(job, "finished elsewhere")
                continue
            does = "resumes" if state == "unfinished" else "starts"
            self.display.say(self.tag, f"{self.number}/{self.count}  {_name(job)} {does}; log: {job.log}")
            self.running[job] = self.start(job)

    def _end(self, job: Job, status: int) -> None:
        if status == 0:
            self._tell(job, "done")
            return
        self.failed.append(job)
        how = f"exit status {status}" if status > 0 else f"ended by {signal.Signals(-status).name}"
        self.display.say("failed", f"{_name(job)}, {how}: {last_line(job.log)}\nlog: {job.log}")

    def _tell(self, job: Job, what: str) -> None:
        try:
            top1 = read(job.place.path).summary.top1
        except UserError as error:
            self.failed.append(job)
            self.display.say("failed", f"{_name(job)} left no finished run: {error}\nlog: {job.log}")
            return
        self.display.say(self.tag, f"{what}: {_name(job)}, top-1 {100 * top1:.2f} %: {job.place.path}")


def _name(job: Job) -> str:
    return f"{job.place.arm}, seed {job.place.seed}"


@contextmanager
def _ends_as_interrupt() -> Iterator[None]:
    """Treat termination requests (kill, a closed terminal) as Ctrl-C in this block, so that no child is left behind."""
    if threading.current_thread() is not threading.main_thread():  # Only the main thread may set signal handlers.
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heard = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
