"""Stored runs come first. Without any, a brief pair is trained once, in a folder of its own."""

import pytest

from tests.runs.factory import write_run
from xnorlit.errors import UserError
from xnorlit.sweep.table import brief

CODES = {"conv1": [32, 32], "conv2": [1, 1], "fc8": [32, 32]}


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """The command lines of the trained runs. Each leaves a run, except for arms that are to fail."""
    monkeypatch.chdir(tmp_path)
    for name in ("base", "float", "xnor", "bwn"):
        file = tmp_path / "experiments" / brief.RECIPE / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("run: {}\n")
    commands, failing = {}, set()

    def run_jobs(jobs, *, at_once, tag):
        missing = [job for job in jobs if job.state != "finished"]
        for job in missing:
            place = job.place
            commands[place.arm] = " ".join(job.argv)
            if place.arm not in failing:
                codes = {"codes": CODES} if place.arm == "xnor" else {}
                write_run(place.root, place.arm, experiment=place.experiment, pair=place.pair, summary=codes)
        return [job for job in missing if job.place.arm in failing]

    monkeypatch.setattr(brief, "run_jobs", run_jobs)
    return commands, failing


def test_a_stored_pair_is_taken_and_nothing_is_trained(trained, tmp_path):
    for arm in ("xnor", "float"):
        write_run(tmp_path / "runs", arm)
    assert brief.pair(tmp_path / "runs", tmp_path / "brief").experiment == "synthetic"
    assert trained[0] == {}
    assert not (tmp_path / "brief").exists()


def test_a_brief_pair_is_trained_apart_announced_and_reused(trained, tmp_path, capsys):
    commands, _ = trained
    found = brief.pair(tmp_path / "runs", tmp_path / "brief")
    assert (found.experiment, [run.place.arm for run in found.runs]) == ("brief", ["float", "xnor"])
    assert list(commands) == ["float", "xnor"]
    assert all(f"--trainer.max_epochs {brief.EPOCHS} --run.wandb off" in line for line in commands.values())
    assert not (tmp_path / "runs").exists()
    said = " ".join(capsys.readouterr().out.split())
    assert "there is no folder of runs" in said
    assert "Training float and xnor for 4 epochs" in said
    commands.clear()
    assert brief.pair(tmp_path / "runs", tmp_path / "brief") == found
    assert commands == {}
    assert "Showing the earlier ones" in capsys.readouterr().out


def test_the_newest_stored_run_with_few_bit_inputs_is_taken(trained, tmp_path):
    write_run(tmp_path / "runs", "xnor", 0, summary={"codes": CODES}, started="2026-01-02T00:00:00+00:00")
    write_run(tmp_path / "runs", "xnor", 1, summary={"codes": CODES}, started="2026-01-01T00:00:00+00:00")
    real = {"codes": {"conv2": [1, 32]}}
    write_run(tmp_path / "runs", "bwn", 0, summary=real, started="2026-01-03T00:00:00+00:00")
    found = brief.binary_run(tmp_path / "runs", tmp_path / "brief")
    assert (found.place.arm, found.place.seed) == ("xnor", 0)
    assert trained[0] == {}


def test_without_few_bit_inputs_the_brief_pairs_run_is_used(trained, tmp_path):
    write_run(tmp_path / "runs", "float")
    found = brief.binary_run(tmp_path / "runs", tmp_path / "brief")
    assert (found.place.experiment, found.place.arm) == ("brief", "xnor")


def test_a_training_that_fails_is_named(trained, tmp_path):
    trained[1].add("xnor")
    with pytest.raises(UserError, match=r"brief/pair-0/xnor/seed-0 failed"):
        brief.pair(tmp_path / "runs", tmp_path / "brief")


def test_one_more_arm_is_trained_with_the_same_words(trained, tmp_path):
    words = " ".join(brief.argv("sine", tmp_path / "brief"))
    assert words.startswith("-c experiments/synthetic/base.yaml --run.root")
    assert "--run.experiment brief --run.arm sine --trainer.max_epochs 4 --run.wandb off" in words
