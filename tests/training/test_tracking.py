"""W&B may refuse, hang, answer nonsense or disappear: training starts, continues, and loses no row.

No test asserts a time: a server that hangs does so forever, so a run that waits for it exceeds pytest's limit.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
import wandb

from tests.processes import status_of
from tests.report.wandb.backend import serving
from xnorlit.commands.sync import sync
from xnorlit.errors import UserError
from xnorlit.report.wandb.upload import waiting
from xnorlit.runs import login
from xnorlit.runs.wandb import offline
from xnorlit.training import tracking
from xnorlit.training.place import RunPlace
from xnorlit.training.tracking import tracked, tracking_mode


@pytest.fixture
def account(monkeypatch):
    """A login at an address from the test, with short time limits."""
    for name, seconds in (("ANSWER_SECONDS", 1), ("BEGIN_SECONDS", 4), ("FINISH_SECONDS", 3)):
        monkeypatch.setattr(tracking, name, seconds)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)

    def at(address):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        wandb.teardown()

    yield at
    if wandb.run:  # A failed test leaves a run open; no run can be finished after the service has gone.
        wandb.finish()
    wandb.teardown()


def begin(folder, run_id="abc", mode="online"):
    folder.mkdir(parents=True, exist_ok=True)
    return tracked(RunPlace(experiment="e", arm="xnor"), folder, 0, {"model.network": "tiny"}, run_id, mode)


def log(tracker, steps):
    for step in steps:
        tracker.log_metrics({"train/loss": 1.0 / (step + 1)}, step)


def rows_of(folder):
    (run,) = offline(folder)
    return run.curves["train/loss"].step.tolist()


@pytest.fixture
def dead():
    """An address at which nothing listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def answering():
    """Start a server that accepts every connection and answers with these bytes, or not at all."""
    servers = []

    def serve(answer):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        held = []

        def accept():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                if answer:
                    connection.recv(1 << 16)
                    connection.sendall(answer)
                    connection.close()

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield serve
    for server in servers:
        server.close()


NO_SERVER = [None, b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 503 Gone\r\nContent-Length: 0\r\n\r\n"]


@pytest.mark.parametrize("answer", NO_SERVER, ids=["refused", "hangs", "nonsense", "503"])
def test_without_a_real_server_the_run_is_logged_offline(account, dead, answering, tmp_path, capsys, answer):
    account(dead if answer is None else answering(answer))
    tracker = begin(tmp_path)
    assert tracker.record == {"id": "abc", "offline": True}
    assert "logging offline: the server cannot be reached" in capsys.readouterr().out
    log(tracker, range(5))
    tracker.finalize("success")
    assert rows_of(tmp_path) == list(range(5))


def test_an_endless_name_lookup_is_not_waited_for(account, monkeypatch, tmp_path):
    account("http://somewhere.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: threading.Event().wait())
    tracker = begin(tmp_path)
    assert tracker.offline
    tracker.finalize("success")


def test_with_a_refused_key_the_run_is_logged_offline(account, tmp_path, capsys):
    with serving() as backend:
        backend.refuses = lambda path, body: 401 if path == "/graphql" else None
        account(backend.address)
        tracker = begin(tmp_path)
        assert tracker.offline
        assert "the server refuses the key" in capsys.readouterr().out
        tracker.finalize("success")


def test_a_fully_sent_run_leaves_nothing_to_upload(account, tmp_path):
    with serving() as backend:
        account(backend.address)
        tracker = begin(tmp_path)
        assert tracker.record == {"id": "abc", "offline": False}
        log(tracker, range(5))
        assert len(waiting(tmp_path)[0]) == 1, "until it has ended"
        tracker.finalize("success")
        assert [row["trainer/global_step"] for row in backend.runs["abc"]["history"]] == list(range(5))
    assert waiting(tmp_path) == ([], [])


@pytest.mark.parametrize("failure", [0, 500])
def test_a_server_that_dies_during_a_run_is_not_waited_for_and_the_rest_is_uploaded_later(
    account, tmp_path, capsys, failure
):
    with serving() as backend:
        account(backend.address)
        tracker = begin(tmp_path)
        log(tracker, range(5))
        backend.refuses = lambda path, body: failure
        log(tracker, range(5, 200))
        tracker.finalize("success")
        assert "the upload is incomplete" in capsys.readouterr().out
        wandb.teardown()
        (part,), _ = waiting(tmp_path)
        assert (part.run, part.id) == (tmp_path, "abc")
        backend.refuses = lambda path, body: None
        sync(tmp_path)
        steps = [row["trainer/global_step"] for row in backend.runs["abc"]["history"]]
        assert sorted(set(steps)) == list(range(200))
    assert waiting(tmp_path) == ([], [])


def test_a_run_that_was_killed_is_uploaded_later(account, tmp_path):
    with serving() as backend:
        account(backend.address)

        def killed():
            log(begin(tmp_path), range(5))
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGKILL)

        assert status_of(killed) == -signal.SIGKILL
        assert [part.id for part in waiting(tmp_path)[0]] == ["abc"]


def test_a_service_that_dies_ends_the_logging_and_not_the_training(account, tmp_path, capsys, monkeypatch):
    account("http://127.0.0.1:9")
    tracker = begin(tmp_path, mode="offline")

    def broken(*_, **__):
        raise BrokenPipeError("the service is gone")

    monkeypatch.setattr(tracker.experiment, "log", broken)
    log(tracker, range(3))
    said = capsys.readouterr().out
    assert said.count("logging stopped (the service is gone)") == 1
    tracker.finalize("success")


def test_under_an_agent_the_run_has_the_agents_id_and_records_it(account, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "agents")
    account("http://127.0.0.1:9")
    tracker = begin(tmp_path, "ours", mode="offline")
    assert tracker.record == {"id": "agents", "offline": True}
    tracker.finalize("success")
    assert [run.id for run in offline(tmp_path)] == ["agents"]


def test_the_project_of_the_environment_is_used(account, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    account("http://127.0.0.1:9")
    tracker = begin(tmp_path, mode="offline")
    assert tracker.experiment.settings.project == "mine"
    tracker.finalize("success")


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_failed_run_is_not_reported_as_finished(account, tmp_path, status):
    account("http://127.0.0.1:9")
    tracker = begin(tmp_path, mode="offline")
    log(tracker, range(2))
    tracker.finalize(status)
    (run,) = offline(tmp_path)
    assert run.state == "unfinished"
    assert "exit code 1" in run.reason


@pytest.mark.parametrize("wanted", ["auto", "online", "offline"])
def test_an_unknown_mode_is_refused_by_name(monkeypatch, wanted):
    monkeypatch.setenv("WANDB_MODE", "bogus")
    with pytest.raises(UserError, match=r"WANDB_MODE is 'bogus'\. Expected online, run, .*unset it"):
        tracking_mode(wanted)
    assert tracking_mode("off") == "off"


def test_a_near_miss_of_a_mode_is_named(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(UserError, match="Did you mean offline"):
        login.wandb_mode()


@pytest.mark.parametrize(("said", "mode"), [("true", "off"), ("1", "off"), ("false", "offline")])
def test_wandb_disabled_is_off(monkeypatch, said, mode):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DISABLED", said)
    assert tracking_mode("auto") == mode


@pytest.mark.parametrize(("name", "value"), [("WANDB_API_KEY", "short"), ("WANDB_BASE_URL", "bogus")])
def test_an_unknown_wandb_setting_is_refused_by_name(name, value):
    code = (
        "from xnorlit.runs.login import wandb_mode\nfrom xnorlit.errors import UserError\n"
        "try:\n    wandb_mode()\nexcept UserError as error:\n    print(error)"
    )
    kept = {key: text for key, text in os.environ.items() if not key.startswith("WANDB_")}
    environment = {**kept, "WANDB_API_KEY": "a" * 40, name: value}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "W&B's settings are invalid" in done.stdout, done.stderr
    assert "--run.wandb off" in done.stdout
