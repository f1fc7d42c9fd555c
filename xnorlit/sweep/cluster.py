"""Runs as jobs of a cluster, through submitit: SLURM, or this machine in its place."""

import dataclasses
import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

from xnorlit.edge.processes import cores
from xnorlit.errors import Stopped, UserError
from xnorlit.sweep.job import Job
from xnorlit.sweep.process import Process, last_line

Cluster = Literal["slurm", "local"]


class Training:
    """What a job does: it trains a run, or goes on with it where an earlier job was ended.

    Args:
        job: The run.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._ended: Future[int] = Future()
        self._process: Process | None = None
        self._lock, self._leaves = threading.RLock(), False

    def __call__(self) -> int:
        """Trains; gives the command's exit status. Ctrl-C lets the training save first."""
        # In a thread of its own, so that a signal's handler, which the main thread runs, finds no lock taken by itself.
        threading.Thread(target=self._train).start()
        try:
            return self._ended.result()
        except KeyboardInterrupt:
            return self._saved()

    def _train(self) -> None:
        job = self.job  # Its command depends on what is on disk by now.
        try:
            with self._lock:
                if not self._leaves:
                    self._process = Process(job.command, folder=job.folder, log=job.log.absolute(), threads=cores())
            self._ended.set_result(self._process.wait() if self._process else Stopped.status)
        except BaseException as error:
            self._ended.set_exception(error)

    def _saved(self) -> int:
        """Interrupts the training and waits until it has saved and ended; gives its exit status."""
        with self._lock:
            self._leaves = True
        if self._process is None:
            return Stopped.status
        self._process.interrupt()
        return self._ended.result()

    def checkpoint(self, *_: Any) -> Any:
        """Lets the training save, when the job's time is up or its place is wanted; submitit then requeues the job."""
        import submitit

        self._saved()
        return submitit.helpers.DelayedSubmission(Training(dataclasses.replace(self.job, again=False)))

    def __reduce__(self) -> tuple[type["Training"], tuple[Job]]:
        return Training, (self.job,)  # Without the process, which ends with this job.


class Submitted:
    """A submitted job, with the face of `Process`.

    Args:
        executor: Of submitit.
        job: The run that it trains.
    """

    def __init__(self, executor: Any, job: Job) -> None:
        self.log = job.log
        self._job = executor.submit(Training(job))

    def ended(self) -> int | None:
        """Its exit status, 1 where the cluster ended it otherwise; None while it waits or runs."""
        return self.wait() if self._job.done() else None

    def interrupt(self) -> None:
        """Cancels the job: a training saves a checkpoint and exits."""
        if self.ended() is None:
            self._job.cancel()

    def last_line(self) -> str:
        """The last line of the log that is not blank."""
        return last_line(self.log)

    def wait(self) -> int:
        """Waits until it ends; gives its exit status."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            return int(self._job.result())
        except (FailedJobError, UncompletedJobError) as error:
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"the job ended without a result: {' '.join(str(error).split())}\n")
            return 1


def executor_for(cluster: Cluster, settings: str | None, folder: Path, name: str) -> Any:
    """An executor of submitit whose jobs end in time to save.

    Args:
        cluster: SLURM, or this machine in its place.
        settings: Of a job, as submitit names them: `timeout_min=720,gpus_per_node=1,slurm_partition=gpu`.
        folder: Where submitit keeps its files; all nodes see it.
        name: Of the jobs.

    Raises:
        UserError: submitit is not installed, SLURM is not here, or a setting is none of submitit's.
    """
    # The training itself saves at this one, too; submitit's usual one, SIGUSR2, would end it at once.
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"
    try:
        import submitit
    except ImportError as error:
        raise UserError(
            "--on needs submitit, which is not installed: pip install 'xnorlit[slurm]'. Without --on the runs are "
            "trained by this process."
        ) from error
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(name=name, **_parameters(settings or ""))
    except (AssertionError, RuntimeError, NameError, TypeError, ValueError) as error:
        raise UserError(
            f"--on {cluster}: {' '.join(str(error).split())}. Give submitit's settings as NAME=VALUE,..."
        ) from error
    return executor


def _parameters(settings: str) -> dict[str, int | str]:
    """`{"timeout_min": 720, "slurm_partition": "gpu"}` of `timeout_min=720,slurm_partition=gpu`."""
    pairs = [pair.partition("=") for pair in settings.split(",") if pair]
    return {name.strip(): int(value) if value.strip().isdecimal() else value.strip() for name, _, value in pairs}
