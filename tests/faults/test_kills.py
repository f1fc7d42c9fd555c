"""A run that is killed at any moment and resumed ends like an uninterrupted one, bit for bit, with one command."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults import forked
from xnorlit.training.loggers import MetricsFile
from xnorlit.training.record import RunRecord
from xnorlit.training.saving import Saving

OFTEN = 0.003  # minutes between two checkpoints within an epoch: some are saved in each


def killed_at(event, number):
    """Send SIGKILL before or after the `number`-th call of a function."""

    def prepare():
        where, name, before = EVENTS[event]
        real, calls = getattr(where, name), []

        def deadly(*args, **kwargs):
            calls.append(None)
            if before and len(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **kwargs)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(where, name, deadly)

    return prepare


EVENTS = {
    "a file is whole and has no name yet": (Path, "replace", True),
    "a file has just got its name": (Path, "replace", False),
    "the former checkpoint gets its second name": (os, "link", True),
    "the former checkpoint has its second name": (os, "link", False),
    "metrics are written": (MetricsFile, "save", True),
    "what is to be validated is saved": (Saving, "on_validation_start", False),
    "validation begins": (RunRecord, "on_validation_epoch_start", True),
    "validation is half done": (RunRecord, "on_validation_batch_end", False),
    "validation is over": (RunRecord, "on_validation_end", False),
    "an epoch is saved": (Saving, "_save_epoch", False),
    "training is over": (Saving, "on_train_end", False),
    "the summary is to be written": (RunRecord, "on_fit_end", True),
    "the summary is written": (RunRecord, "on_fit_end", False),
}


def finish(line, root, whole, most=4):
    """Start the same command until it succeeds, and compare the run with the uninterrupted one."""
    for _ in range(most):
        training = forked.Training(line, root / "log")
        if training.wait() == 0:
            break
    else:
        raise AssertionError(training.said)
    run = forked.folder(root)
    assert forked.differences(whole.folder, run) == []
    assert sorted(file.name for file in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert not list(root.rglob("*.partial"))


@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("event", EVENTS)
def test_a_kill_where_something_is_written_or_measured_changes_nothing(event, number, photos, whole, tmp_path):
    line = forked.words(photos, tmp_path, run__checkpoint_minutes=OFTEN)
    training = forked.Training(line, tmp_path / "log", killed_at(event, number))
    status = training.wait()
    assert status == -signal.SIGKILL or (number == 2 and status == 0), training.said
    finish(line, tmp_path, whole)


@pytest.mark.parametrize("event", ["validation is half done", "validation is over"])
def test_a_kill_in_a_validation_that_was_saved_before_it_measures_once_more(event, photos, whole, tmp_path):
    line = forked.words(photos, tmp_path, run__checkpoint_minutes=0)
    training = forked.Training(line, tmp_path / "log", killed_at(event, 2))
    assert training.wait() == -signal.SIGKILL, training.said
    finish(line, tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(int(os.environ.get("XNORLIT_KILLS", "50"))))
def test_kills_at_random_moments_change_nothing(seed, photos, whole, tmp_path):
    """Kill one to three times, at any moment from the first second to the last, mostly with SIGKILL."""
    generator = random.Random(seed)
    line = forked.words(photos, tmp_path, run__checkpoint_minutes=generator.choice([0.0, OFTEN, 15.0]))
    for _ in range(generator.randint(1, 3)):
        training = forked.Training(line, tmp_path / "log")
        time.sleep(generator.uniform(0.2, 1.1) * whole.seconds)
        training.send(generator.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        training.wait()
    finish(line, tmp_path, whole)
