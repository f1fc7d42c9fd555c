"""A login on a localhost server, and a pair whose runs that server may have."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import wandb

from tests.report.wandb.backend import Backend, serving
from tests.runs.factory import write_run

IDS = {(arm, seed): f"{arm}{seed}" for arm in ("xnor", "float") for seed in (0, 1)}


@contextmanager
def logged_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """A server with a login and without runs."""
    with serving() as backend:
        monkeypatch.delenv("WANDB_MODE", raising=False)
        monkeypatch.setenv("WANDB_BASE_URL", backend.address)
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        wandb.teardown()  # which forgets what it read from the environment before
        yield backend
        wandb.teardown()


def write_pair(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds of two arms under ./runs, which were logged to W&B; the folder is the current one then."""
    monkeypatch.chdir(folder)
    rng = np.random.default_rng(0)
    for (arm, seed), run_id in IDS.items():
        right = rng.random(1000) < (0.65 if arm == "xnor" else 0.8)
        write_run(Path("runs"), arm, seed, right=right, summary={"wandb": {"id": run_id, "offline": True}})


def receive_pair(backend: Backend) -> None:
    """The server has the runs of the pair."""
    backend.runs |= {run_id: {"history": [], "summary": {}, "config": "{}"} for run_id in IDS.values()}


@pytest.fixture
def server(monkeypatch) -> Iterator[Backend]:
    with logged_in(monkeypatch) as backend:
        yield backend


@pytest.fixture
def pair(tmp_path, monkeypatch) -> Path:
    write_pair(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def uploaded(server: Backend, pair: Path) -> Backend:
    receive_pair(server)
    return server
