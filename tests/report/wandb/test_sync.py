"""Offline runs are uploaded once, part by part. A failed upload is reported and loses nothing."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xnorlit.commands.main import main
from xnorlit.commands.sync import sync
from xnorlit.errors import UserError
from xnorlit.report.wandb.upload import parts, upload, waiting

RUNS = Path("runs/synthetic/pair-0")

# As in training: xnor stopped after its last checkpoint at step 149 and was resumed; float ran in one piece.
WRITER = """
import sys, time
import wandb
def log(folder, id, rows, status):
    run = wandb.init(project="xnorlit", id=id, mode="offline", dir=folder, group="synthetic/pair-0", config={"arm": id},
                     resume="allow", settings=wandb.Settings(silent=True, console="off", x_disable_stats=True))
    for step, top1 in rows:
        run.log({"trainer/global_step": step, "val/top1": top1})
    run.finish(exit_code=status)
log(sys.argv[1], "xnor0", [(99, 0.3), (149, 0.4), (199, 0.45)], 1)
log(sys.argv[2], "float0", [(99, 0.5), (199, 0.7)], 0)
time.sleep(1.1)  # wandb names a directory by the second
log(sys.argv[1], "xnor0", [(199, 0.5), (299, 0.6)], 0)
"""


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("logged")
    folders = [root / RUNS / arm / "seed-0" for arm in ("xnor", "float")]
    for folder in folders:
        folder.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", WRITER, *map(str, folders)], check=True, capture_output=True)
    return root


@pytest.fixture
def runs(logged, tmp_path, monkeypatch) -> Path:
    shutil.copytree(logged, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return RUNS


def rows(server, run: str) -> list[tuple[int, int, float]]:
    return [(row["_step"], row["trainer/global_step"], row["val/top1"]) for row in server.runs[run]["history"]]


def contents(folder: Path) -> dict[Path, bytes]:
    """What the runs hold; links lead to the logs of wandb's service, which processes of one second share."""
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    return {file: file.read_bytes() for file in files if file.suffix != ".synced"}


def test_the_parts_of_a_resumed_run_become_one_run_uploaded_once(server, runs, capsys):
    before = contents(Path("runs"))
    sync(dry_run=True)
    assert capsys.readouterr().out.count("would upload runs/synthetic/pair-0/") == 3
    assert server.asked == []
    sync()
    said = capsys.readouterr().out
    assert [f"{n}/3  {RUNS}/{arm}/seed-0" in said for n, arm in ((1, "float"), (2, "xnor"), (3, "xnor"))] == [True] * 3
    assert "2 runs uploaded" in said
    assert rows(server, "float0") == [(0, 99, 0.5), (1, 199, 0.7)]
    # At step 199 there are both values; that of the resumed weights comes last.
    assert rows(server, "xnor0") == [(0, 99, 0.3), (1, 149, 0.4), (2, 199, 0.45), (3, 199, 0.5), (4, 299, 0.6)]
    assert [note.stat().st_size for note in Path("runs").rglob("*.synced") if "latest-run" not in str(note)] == [0] * 3
    server.asked.clear()
    sync()
    assert "done: runs has no offline run to upload" in capsys.readouterr().out
    assert server.asked == []
    assert contents(Path("runs")) == before


def test_a_connection_lost_during_an_upload_is_reported_and_the_next_call_continues(server, runs, capsys):
    before = contents(Path("runs"))

    def gone_after_the_first(path: str, body: str) -> int | None:
        return 0 if "xnor0" in server.runs else None

    server.refuses = gone_after_the_first
    with pytest.raises(UserError) as told:
        sync()
    message = str(told.value)
    assert message.startswith("1 of 3 uploaded. Not uploaded, and unchanged:\n")
    assert message.count(f"  {RUNS}/xnor/seed-0 (started ") == 2
    assert "Reason: the server cannot be reached." in message
    assert message.endswith("Run the same command again to continue.")
    assert f"1/3  {RUNS}/float/seed-0" in capsys.readouterr().out
    assert contents(Path("runs")) == before
    server.refuses = lambda path, body: None
    sync()
    assert "2/2" in capsys.readouterr().out
    assert rows(server, "xnor0")[-2:] == [(3, 199, 0.5), (4, 299, 0.6)]


def test_a_key_that_expires_during_an_upload_is_reported(server, runs):
    server.refuses = lambda path, body: 401 if "float0" in server.runs and "xnor0" in body else None
    with pytest.raises(
        UserError, match=r"(?s)1 of 3 uploaded\. .*Reason: the server refuses the key: .*wandb login --relogin"
    ):
        sync()
    assert [part.note.exists() for part in parts(RUNS / "xnor" / "seed-0")] == [False, False]


def test_an_expired_key_and_a_missing_connection_are_reported_before_any_upload(server, runs, monkeypatch):
    server.refuses = lambda path, body: 401
    with pytest.raises(UserError, match=r"refuses the key: .*\nNothing was uploaded\. Waiting in runs: 2 runs"):
        sync()
    server.refuses = lambda path, body: 0
    with pytest.raises(UserError, match=r"cannot be reached\. .*\nNothing was uploaded\. Waiting in runs: 2 runs"):
        sync()
    assert server.runs == {}


def test_without_a_login_one_line_says_what_to_do(server, runs, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_API_KEY")
    assert main(["sync"]) == 2
    error = capsys.readouterr().err
    assert "error: W&B was not contacted because there is no login: log in once (wandb login" in error
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main(["sync"]) == 2
    assert "because WANDB_MODE is offline: unset it" in capsys.readouterr().err


def test_running_and_abandoned_runs_are_not_uploaded(runs, capsys):
    (RUNS / "float" / "seed-0").rename(RUNS / "float" / "seed-0.until-20260101-000000")
    with (RUNS / "xnor" / "seed-0" / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code = "from pathlib import Path; from xnorlit.commands.sync import sync; sync()"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=True
        )
    assert "xnor/seed-0 is still training; run the same command again when it has ended" in done.stdout
    assert "done: runs has no other offline run" in done.stdout
    found, under_way = waiting(Path("runs"))
    assert ([part.run for part in found], under_way) == ([RUNS / "xnor" / "seed-0"] * 2, [])


@pytest.mark.parametrize("kept", [b"not a log of W&B at all", b""])
def test_a_damaged_log_is_named_and_the_others_are_uploaded(server, runs, kept):
    first, _ = parts(RUNS / "xnor" / "seed-0")
    first.log.write_bytes(kept)
    with pytest.raises(UserError, match=r"(?s)1 of 3 uploaded\. .*xnor/seed-0 .*Reason: ") as told:
        sync()
    assert "cannot be reached" not in str(told.value)
    assert list(server.runs) == ["float0"]


def test_an_interrupted_upload_leaves_no_note(runs, monkeypatch):
    def interrupted(words: list[str], **_: object) -> None:
        Path(words[-1]).with_suffix(".wandb.synced").touch()  # wandb may have thought that it was done
        raise KeyboardInterrupt

    monkeypatch.setattr("xnorlit.report.wandb.upload.subprocess.run", interrupted)
    (part,) = parts(RUNS / "float" / "seed-0")
    with pytest.raises(KeyboardInterrupt):
        upload(part)
    assert not part.note.exists()


def test_a_missing_folder_is_reported():
    with pytest.raises(UserError, match=r"none is not a folder\. Expected a folder of runs"):
        sync(Path("none"))
