"""Processes with the same work in one folder do it one after another."""

import subprocess
import sys
import threading

import pytest

from xnorlit.edge.lock import held

WORK = """
import sys, time
from pathlib import Path
from xnorlit.edge.lock import held

folder, log = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(20):
    with held(folder, lambda: None), log.open("a") as file:
        for word in ("begin", "end"):
            file.write(f"{word} {sys.argv[3]}\\n")
            file.flush()
            time.sleep(0.001)
"""


def never():
    pytest.fail("nobody else holds it")


def test_blocks_of_several_processes_never_overlap(tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", WORK, str(tmp_path / "folder"), str(log)]
    workers = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0, 0]
    lines = log.read_text().splitlines()
    assert len(lines) == 3 * 20 * 2
    for begin, end in zip(lines[::2], lines[1::2], strict=True):
        assert (begin.split()[0], end.split()[0]) == ("begin", "end")
        assert begin.split()[1] == end.split()[1]
    assert not list(tmp_path.glob("folder/*"))


def test_who_waits_says_so_once_and_goes_on_when_the_other_has_ended(tmp_path):
    said, order = [], []
    waiting, entered = threading.Event(), threading.Event()

    def second():
        with held(tmp_path, lambda: (said.append("waits"), waiting.set())):
            order.append("second")
        entered.set()

    with held(tmp_path, never):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(30)
        order.append("first")
    assert entered.wait(30)
    thread.join()
    assert (said, order) == (["waits"], ["first", "second"])
    assert not list(tmp_path.iterdir())


def test_a_killed_process_holds_nothing(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from xnorlit.edge.lock import held\n"
        "with held(Path(sys.argv[1]), None): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    with held(tmp_path, never):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_there_stays_and_an_empty_new_one_goes_even_after_an_error(tmp_path):
    for folder, stays in ((tmp_path, True), (tmp_path / "new" / "one", False)):
        with pytest.raises(ZeroDivisionError), held(folder, never):
            raise ZeroDivisionError
        assert folder.exists() == stays


def test_what_a_folder_holds_already_can_be_used_without_writing_there(tmp_path, monkeypatch):
    def read_only(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.open", read_only)
    with held(tmp_path, never):
        assert not list(tmp_path.iterdir())
