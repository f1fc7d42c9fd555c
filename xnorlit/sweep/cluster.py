"""Runs as submitit jobs, on SLURM or on this machine."""

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
    """The work of a submitted job: train a run, or resume it where an earlier job ended.

    Args:
        job: The run.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._ended: Future[int] = Future()
        self._process: Process | None = None
        self._lock, self._leaves = threading.RLock(), False

    def __call__(self) -> int:
        """Train, and return the command's exit status. On Ctrl-C, the training saves first."""
        # Train in a separate thread. The main thread runs signal handlers, which must not meet a lock that it holds.
        threading.Thread(target=self._train).start()
        try:
            return self._ended.result()
        except KeyboardInterrupt:
            return self._saved()

    def _train(self) -> None:
        job = self.job  # Its command depends on the current state of the run on disk.
        try:
            with self._lock:
                if not self._leaves:
                    self._process = Process(job.command, folder=job.folder, log=job.log.absolute(), threads=cores())
            self._ended.set_result(self._process.wait() if self._process else Stopped.status)
        except BaseException as error:
            self._ended.set_exception(error)

    def _saved(self) -> int:
        """Interrupt the training, wait until it has saved and ended, and return its exit status."""
        with self._lock:
            self._leaves = True
        if self._process is None:
            return Stopped.status
        self._process.interrupt()
        return self._ended.result()

    def checkpoint(self, *_: Any) -> Any:
        """Let the training save when the job times out or is preempted; submitit then requeues the job."""
        import submitit

        self._saved()
        return submitit.helpers.DelayedSubmission(Training(dataclasses.replace(self.job, again=False)))

    def __reduce__(self) -> tuple[type["Training"], tuple[Job]]:
        return Training, (self.job,)  # without the process, which ends with this job


class Submitted:
    """A submitted job, with the interface of `Process`.

    Args:
        executor: The submitit executor.
        job: The run to train.
    """

    def __init__(self, executor: Any, job: Job) -> None:
        self.log = job.log
        self._job = executor.submit(Training(job))

    def ended(self) -> int | None:
        """The job's exit status, 1 if the cluster ended it without one; None while it waits or runs."""
        return self.wait() if self._job.done() else None

    def interrupt(self) -> None:
        """Cancel the job; its training saves a checkpoint and exits."""
        if self.ended() is None:
            self._job.cancel()

    def last_line(self) -> str:
        """The last non-blank line of the log."""
        return last_line(self.log)

    def wait(self) -> int:
        """Wait until the job ends, and return its exit status."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            return int(self._job.result())
        except (FailedJobError, UncompletedJobError) as error:
            self.log.parent.mkdir(parents=True, exist_ok=True)  # The training, if it started, has made it.
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"the job ended without a result: {' '.join(str(error).split())}\n")
            return 1


def executor_for(cluster: Cluster, settings: str | None, folder: Path, name: str) -> Any:
    """A submitit executor whose jobs are signalled early enough to save.

    Args:
        cluster: `slurm`, or `local` for this machine.
        settings: Resources of a job under submitit's names: `timeout_min=720,gpus_per_node=1,slurm_partition=gpu`.
        folder: Folder for submitit's files, visible to all nodes.
        name: Name of the jobs.

    Raises:
        UserError: submitit or SLURM is not installed, or submitit does not know a setting.
    """
    # A training saves on this signal. submitit's default, SIGUSR2, would kill the training.
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"
    try:
        import submitit
    except ImportError as error:
        raise UserError(
            "--on needs submitit, which is not installed: pip install 'xnorlit[slurm]'. To train on this machine "
            "instead, omit --on."
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
    """`{"timeout_min": 720, "slurm_partition": "gpu"}` from `timeout_min=720,slurm_partition=gpu`."""
    pairs = [pair.partition("=") for pair in settings.split(",") if pair]
    return {name.strip(): int(value) if value.strip().isdecimal() else value.strip() for name, _, value in pairs}
