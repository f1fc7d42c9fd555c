"""The pair's own run is completely on disk before it is uploaded, even on a busy machine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from xnorlit.report.wandb.figures import Figures
from xnorlit.report.wandb.offline import log_offline


@pytest.fixture
def busy() -> Iterator[None]:
    """Load every core with two more processes."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    yield
    for hog in hogs:
        hog.kill()
        hog.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("busy")
def test_nothing_is_added_to_the_log_once_it_is_handed_over(tmp_path):
    said = Figures("synthetic/pair-0", [{"epoch": epoch, "gap/xnor": 1.0} for epoch in range(20)], {"packed/xnor": 1.0})
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        log = log_offline(said, "me/xnorlit", folder).log
        handed_over = log.read_bytes()
        time.sleep(2)
        assert log.read_bytes() == handed_over
        assert b"gap/xnor" in handed_over
