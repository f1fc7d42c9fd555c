"""W&B's record of a run equals the record of its directory: merged by id, with incomplete runs named."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.runs.factory import write_run
from xnorlit.errors import UserError
from xnorlit.runs import LoggedRun, read
from xnorlit.runs.wandb import offline, online

CONFIG = {"pair_id": "cifar10/pair-0", "arm": "xnor", "seed": 1, "model.network": "alexnet-small"}

# A process of its own for each part, as a run and its resumption are.
WRITER = """
import json, os, sys
import wandb
steps, config = json.loads(sys.argv[2]), json.loads(sys.argv[3])
run = wandb.init(project="xnorlit", id="abc123", mode="offline", dir=sys.argv[1], group="cifar10/pair-0",
                 job_type="xnor", config=config, resume="allow", settings=wandb.Settings(silent=True, console="off"))
for step, epoch, top1 in steps:
    run.log({"trainer/global_step": step, "epoch": epoch, "val/top1": top1})
run.finish(exit_code=int(sys.argv[4]))
"""


def write(folder: Path, steps: list, status: int) -> None:
    import json

    folder.mkdir(parents=True, exist_ok=True)
    words = [str(folder), json.dumps(steps), json.dumps(CONFIG), str(status)]
    subprocess.run([sys.executable, "-c", WRITER, *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """A run that stopped after step 199, past its last checkpoint at 149, and was resumed."""
    root = tmp_path_factory.mktemp("offline")
    write(root / "seed-1", [(99, 0, 0.3), (149, 1, 0.4), (199, 1, 0.45)], 1)
    write(root / "seed-1", [(199, 1, 0.5), (299, 2, 0.6)], 0)
    return root


def test_the_parts_of_a_resumed_run_are_one_record(parts):
    (run,) = offline(parts)
    assert (run.id, run.pair, run.arm, run.seed, run.state, run.reason) == (
        "abc123", "cifar10/pair-0", "xnor", 1, "finished", ""
    )  # fmt: skip
    top1 = run.curves["val/top1"]
    assert top1.step.tolist() == [99, 149, 199, 299]
    assert top1.epoch.tolist() == [0, 1, 1, 2]
    assert top1.value.tolist() == [0.3, 0.4, 0.5, 0.6]  # at 199, the value of the resumed weights
    assert run.config == CONFIG
    assert set(run.curves.series) == {"val/top1"}


def test_a_killed_run_is_listed_with_what_it_logged(parts, tmp_path):
    first, _ = sorted(parts.rglob("*.wandb"))
    cut = tmp_path / "wandb" / "offline-run-x" / first.name
    cut.parent.mkdir(parents=True)
    whole = first.read_bytes()
    cut.write_bytes(whole[: whole.rfind(b"val/top1")])
    (run,) = offline(tmp_path)
    assert run.state == "unfinished"
    assert "has no exit code: the run is still training or was killed" in run.reason
    assert 0 < len(run.curves["val/top1"].step) < 3


def test_a_run_that_failed_is_unfinished(parts, tmp_path):
    first, _ = sorted(parts.rglob("*.wandb"))
    (tmp_path / first.name).write_bytes(first.read_bytes())
    (run,) = offline(tmp_path)
    assert (run.state, len(run.curves["val/top1"].step)) == ("unfinished", 3)
    assert "has exit code 1" in run.reason


@pytest.mark.parametrize("content", [b"", b"not a log of W&B at all"])
def test_a_damaged_log_is_listed_with_the_reason(tmp_path, content):
    (tmp_path / "run-abc.wandb").write_bytes(content)
    (run,) = offline(tmp_path)
    assert run.state == "damaged"
    assert "run-abc.wandb cannot be read" in run.reason
    assert run.curves.series == {}


def test_no_folder_is_an_error(tmp_path):
    assert offline(tmp_path) == []
    with pytest.raises(UserError, match="there is no folder"):
        offline(tmp_path / "none")


class FakeRun:
    id, group = "abc123", "cifar10/pair-0"
    path = ("me", "xnorlit", "abc123")

    def __init__(self, state="finished", job_type="xnor"):
        self.state, self.job_type = state, job_type
        self.config = {**CONFIG, "_wandb": {}}

    def scan_history(self):
        yield {"_step": 0, "trainer/global_step": 99, "epoch": 0, "val/top1": 0.3, "val/loss": "NaN"}
        yield {"_step": 1, "trainer/global_step": 120, "lr-Adam": 0.003, "note": "text"}
        yield {"_step": 2, "trainer/global_step": 199, "epoch": 1, "val/top1": 0.5}
        yield {"_step": 3, "system": 1}


class FakeApi:
    def __init__(self, *runs, error=None):
        self.found, self.error = runs, error

    def runs(self, path):
        assert path == "me/xnorlit"
        if self.error:
            raise self.error
        return iter(self.found)


def test_a_servers_run_is_the_same_record():
    finished, crashed = online(FakeApi(FakeRun(), FakeRun("crashed")), "me/xnorlit")
    assert (finished.origin, finished.pair, finished.arm, finished.seed) == (
        "me/xnorlit/abc123", "cifar10/pair-0", "xnor", 1
    )  # fmt: skip
    assert finished.state == "finished"
    assert finished.curves["val/top1"].value.tolist() == [0.3, 0.5]
    assert np.isnan(finished.curves["val/loss"].value).tolist() == [True]
    assert set(finished.curves.series) == {"val/top1", "val/loss", "lr-Adam"}
    assert finished.curves["lr-Adam"].epoch.tolist() == [1], "the monitor logs without an epoch, before the epoch"
    assert finished.config == CONFIG
    assert (crashed.state, crashed.reason) == ("unfinished", "W&B reports the run as crashed.")


def test_the_pairs_own_comparison_on_the_server_is_no_arm_of_it():
    (run,) = online(FakeApi(FakeRun(job_type="comparison"), FakeRun()), "me/xnorlit")
    assert run.arm == "xnor"


def test_a_server_that_does_not_answer_is_reported():
    with pytest.raises(UserError, match=r"cannot read the runs of me/xnorlit from W&B: API key expired\. Log in"):
        online(FakeApi(error=ValueError("API key expired")), "me/xnorlit")


def test_a_run_directory_gives_the_same_record(tmp_path):
    run = LoggedRun.of(read(write_run(tmp_path, "xnor", 2, right=650)))
    assert (run.pair, run.arm, run.seed, run.state) == ("synthetic/pair-0", "xnor", 2, "finished")
    assert run.curves["val/top1"].value[-1] == 0.65
    assert run.config["model.network"] == "alexnet-small"
